"""How a text becomes terms: what is indexed and what is looked for.

A word loses its case, its ending and its accents, in this order, because the stemmers know a language's accents.
Scripts that put no spaces between words (and Korean, whose words carry their particles) become overlapping pairs of
characters, the usual way to search them without a dictionary. Languages are data, in `languages.toml`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]

WORD_CHARS = 64  # what is longer is no word, and is cut

_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}])*")
_UNMARKED = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+")


class Language:
    """One site's way of reading. It remembers every word that it has read, so it belongs to one index."""

    def __init__(self, locale: str) -> None:
        known = _languages().get(locale.lower().replace("_", "-").split("-")[0], {})
        self._stem = _stemmer(known.get("stemmer", ""))
        self._stop = frozenset(known.get("stop", "").split())
        self._terms: dict[str, str] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of a text in their order, stop words left out."""
        stop, term = self._stop, self.term
        return [term(word) for word in words(text) if word not in stop]

    def asked(self, question: str) -> list[str]:
        """The words of a question that say what it is about."""
        return [word for word in words(question) if word not in self._stop]

    def term(self, word: str) -> str:
        """What a word is indexed as."""
        term = self._terms.get(word)
        if term is None:
            term = self._terms[word] = self._reduced(word)
        return term

    def stemmed(self, word: str) -> str:
        """As `term`, but not remembered: visitors may say anything, and go on saying it for months."""
        return self._terms.get(word) or self._reduced(word)

    def forms(self) -> dict[str, str]:
        """Every word read so far, without its accents, and its term. Terms are words too: a text may have only the
        plural of what a visitor misspells, and not all stemmers give a word and its stem the same term."""
        return {term: term for term in self._terms.values()} | {fold(word): term for word, term in self._terms.items()}

    def _reduced(self, word: str) -> str:
        return fold(self._stem(word)) or word


def words(text: str) -> Iterator[str]:
    """The words of a text, without case: `"Größe 42?"` gives `grösse`, `42`."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    for match in _WORD.finditer(text.casefold()):
        word = match[0]
        if word.isascii() or not _UNSPACED.search(word):
            yield word[:WORD_CHARS]
        else:
            yield from _pieces(word)


def fold(word: str) -> str:
    """A word without accents and other marks: `grösse` gives `grosse`."""
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFKD", word.translate(_UNMARKED))
    return unicodedata.normalize("NFC", "".join(char for char in parts if not unicodedata.combining(char)))


def _pieces(word: str) -> Iterator[str]:
    """Pairs of the unspaced parts, and whatever stands between these as it is: `iPhone用` gives `iphone`, `用`."""
    at = 0
    for run in _UNSPACED.finditer(word):
        if run.start() > at:
            yield word[at : run.start()][:WORD_CHARS]
        yield from _pairs(run[0])
        at = run.end()
    if at < len(word):
        yield word[at:][:WORD_CHARS]


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for first, second in pairwise(run):
        yield first + second


def _stemmer(algorithm: str) -> Callable[[str], str]:
    return snowballstemmer.stemmer(algorithm).stemWord if algorithm else str


@cache
def _languages() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files("parlance.knowledge").joinpath("languages.toml").read_text("utf-8"))
