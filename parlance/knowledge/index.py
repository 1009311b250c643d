"""Search in one library: SQLite FTS5 finds, `ranking` puts the best first.

FTS5 looks for the sections that hold the question's more telling words and hands back the best hundred by its own BM25;
the question's common words have their say when these are ranked. So the time that a question takes depends neither on
how long it is nor much on how large the library.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Self

from parlance.knowledge.language import Language, fold
from parlance.knowledge.ranking import TITLE, Candidate, rank, rarity
from parlance.knowledge.spelling import Spelling
from parlance.knowledge.split import Section

CANDIDATES = 100  # sections that are ranked
MATCHES = 1000  # occurrences that FTS5 weighs to find these, a millisecond's worth
TERMS = 32  # of a question that are looked for: the rarest, where a visitor pastes a page
BATCH = 32  # sections read before others may run, a few milliseconds' worth

# Terms are letters and digits in quotes: none of FTS5's syntax is the visitor's.
_FIND = f"""
    WITH found AS (
        SELECT rowid AS number, bm25(section, {TITLE}, 1.0) AS score FROM section WHERE section MATCH ? LIMIT ?
    ),
    best AS (SELECT number FROM found ORDER BY score LIMIT ?)
    SELECT section.rowid, title, body FROM best JOIN section ON section.rowid = number
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A section that was found. `score` orders the hits of one question and says nothing beside another question's.

    `covers` does: the share of the question's words that stand in the section, from 0 to 1, each weighing as much as it
    is rare. Of a question about what the library does not know, every section covers little.
    """

    section: Section
    score: float
    covers: float


class Index:
    """The sections of one library. It never changes after `build`; any number of greenlets or threads may search it."""

    def __init__(self, locale: str) -> None:
        self._language = Language(locale)
        self._spelling = Spelling({}, {})
        self._sections: list[Section] = []
        self._having: Counter[str] = Counter()  # by term, how many sections have it
        self._length = 0  # terms of all sections
        self._one_at_a_time = threading.Lock()
        self._rows = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._rows.execute("CREATE VIRTUAL TABLE section USING fts5(title, body, tokenize='ascii')")

    @classmethod
    def build(cls, sections: Iterable[Section], locale: str, breathe: Callable[[], object] = bool) -> Self:
        """An index of these sections, read in the language of `locale` (`de`, `pt-BR`).

        `breathe` is called after each batch of sections, so that a server may do something else in between.
        """
        index, rest = cls(locale), iter(sections)
        while batch := list(islice(rest, BATCH)):
            index._add(batch)
            breathe()
        index._spelling = Spelling(index._language.forms(), index._having)
        return index

    def __len__(self) -> int:
        return len(self._sections)

    def search(self, question: str, k: int = 8) -> list[Hit]:
        """The best `k` sections for a question in anybody's words, best first. Any text is safe."""
        with self._one_at_a_time:
            terms, unknown = self._terms(question)
            weights = {term: rarity(self._having[term], len(self)) for term in terms}
            candidates = [Candidate.read(*row, weights) for row in self._candidates(weights)]
        asked = sum(weights.values()) + unknown * rarity(0, len(self))
        ranked = rank(candidates, terms, weights, len(self), self._length / max(1, len(self)))
        return [
            Hit(self._sections[best.number - 1], score, sum(weights[term] for term in best.places) / asked)
            for score, best in ranked[:k]
        ]

    def _terms(self, question: str) -> tuple[list[str], int]:
        """The question's terms in their order, as far as the library has them, and how many words it has not."""
        found, unknown = [], 0
        for word in self._language.asked(question):
            terms = self._known(word)
            found += terms
            unknown += not terms
        rarest = set(sorted(dict.fromkeys(found), key=self._having.__getitem__)[:TERMS])
        return [term for term in found if term in rarest], unknown

    def _known(self, word: str) -> list[str]:
        term = self._language.stemmed(word)
        return [term] if term in self._having else self._spelling.meant(fold(word))

    def _candidates(self, weights: Iterable[str]) -> list[tuple[int, str, str]]:
        """Row, title and body of the sections worth ranking, by the rarer of these terms.

        Where every term is all over the library, sections that have the rarest in their title go first.
        """
        rarest = sorted(weights, key=self._having.__getitem__)
        matches = accumulate(self._having[term] for term in rarest)
        telling = [f'"{term}"' for term, total in zip(rarest, matches, strict=True) if total <= MATCHES]
        common = [f'title : "{term}"' for term in rarest[:1]] + [f'"{term}"' for term in rarest[:1]]
        for sought in [" OR ".join(telling)] if telling else common:
            if rows := self._rows.execute(_FIND, (sought, MATCHES, CANDIDATES)).fetchall():
                return rows
        return []

    def _add(self, batch: Sequence[Section]) -> None:
        rows = []
        for section in batch:
            title, body = self._language.terms(section.heading), self._language.terms(section.text)
            self._having.update({*title, *body})
            self._length += len(title) + len(body)
            rows.append((" ".join(title), " ".join(body)))
        with self._rows:
            self._rows.execute("BEGIN")
            self._rows.executemany("INSERT INTO section (title, body) VALUES (?, ?)", rows)
        self._sections += batch
