"""Questions that the library could not answer: what its owner should write next.

Each is kept with what was searched for and what was found, the latest thousand of a site, for as long as the site
keeps conversations. It is a visitor's text, so it goes when the visitor asks to be forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from parlance.knowledge.index import Hit
from parlance.store import keys
from parlance.store.client import Store

KEPT = 1000  # of a site
TEXT_CHARS = 1000
LISTED = 5  # sections named of what was found
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Found:
    """A section that came up. `covers` is how much of the question it spoke of, from 0 to 1."""

    heading: str
    url: str
    covers: float

    @classmethod
    def of(cls, hit: Hit) -> Found:
        return cls(hit.section.heading, hit.section.url, round(hit.covers, 3))


@dataclass(frozen=True, slots=True)
class Unanswered:
    """One question. `at` is milliseconds since 1970; `searched` are the words that the library was asked for."""

    at: int
    visitor: str
    conversation: str
    message: str
    text: str
    language: str = ""
    searched: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()

    def to_json(self) -> str:
        short = {"text": self.text[:TEXT_CHARS], "searched": [words[:TEXT_CHARS] for words in self.searched]}
        return json.dumps({**asdict(self), **short, "found": [asdict(each) for each in self.found[:LISTED]]})

    @classmethod
    def from_json(cls, text: str | bytes) -> Unanswered:
        data = json.loads(text)
        found = tuple(Found(**each) for each in data["found"])
        return cls(**{**data, "searched": tuple(data["searched"]), "found": found})


class UnansweredQuestions:
    """Every method may raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, site: str, question: Unanswered, retain_days: int) -> None:
        """Keeps one; what is too old or too much by now goes. Nothing is kept of who has been erased: `erase` is
        called when the visitor's record is gone, so it finds what was written before, and who writes later sees it."""
        place, life, row = keys.unanswered(site), retain_days * _DAY_MS, question.to_json()
        *_, there = self._store.many(
            [
                ("ZADD", place, question.at, row),
                ("ZREMRANGEBYSCORE", place, "-inf", f"({question.at - life}"),
                ("ZREMRANGEBYRANK", place, 0, -KEPT - 1),
                ("PEXPIRE", place, life),
                ("EXISTS", keys.visitor(site, question.visitor)),
            ]
        )
        if not there:
            self._store.do("ZREM", place, row)

    def latest(self, site: str, count: int = 100, skip: int = 0) -> list[Unanswered]:
        """The newest first."""
        rows = self._store.do("ZREVRANGE", keys.unanswered(site), skip, skip + count - 1)
        return [Unanswered.from_json(row) for row in rows]

    def erase(self, site: str, visitor: str) -> int:
        """Removes what a visitor asked; how many that were."""
        rows: Sequence[bytes] = self._store.do("ZRANGE", keys.unanswered(site), 0, -1)
        theirs = [row for row in rows if Unanswered.from_json(row).visitor == visitor]
        return int(self._store.do("ZREM", keys.unanswered(site), *theirs)) if theirs else 0
