"""Words that stand nowhere in a library, and what the visitor may have meant by them.

Pure. A word counts as a slip for a known one where one letter is missing, too many or wrong, or two have changed places
(Damerau's four, which make up most typing errors), or where two known words were run together. Short words are left
alone: at three letters nearly everything is one letter away from something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

SHORT = 4  # letters that a word has at least before it is corrected
HALF = 3  # letters of each half of a word that is taken apart
LONG = 32  # nobody means a known word by more
ALPHABET = 64  # letters that may have been forgotten; what is rarer belongs to scripts with thousands


class Spelling:
    """The known words. `known` maps each to its term, `weight` says how common a term is."""

    def __init__(self, known: Mapping[str, str], weight: Mapping[str, int]) -> None:
        self._known = known
        self._weight = weight
        letters = Counter(letter for word in known for letter in word)
        self._alphabet = [letter for letter, _ in letters.most_common(ALPHABET)]

    def meant(self, word: str) -> list[str]:
        """The terms that a word stands for: its own, the commonest one a slip away, or two that were run together."""
        if word in self._known:
            return [self._known[word]]
        if not SHORT <= len(word) <= LONG or not word.isalpha():
            return []
        near = {self._known[slip] for slip in self._slips(word) if slip in self._known}
        if near:
            return [max(sorted(near), key=lambda term: self._weight.get(term, 0))]
        return next(self._halves(word), [])

    def _slips(self, word: str) -> Iterator[str]:
        for at in range(len(word) + 1):
            head, tail = word[:at], word[at:]
            yield head + tail[1:]
            yield head + tail[1:2] + tail[:1] + tail[2:]
            for letter in self._alphabet:
                yield head + letter + tail
                yield head + letter + tail[1:]

    def _halves(self, word: str) -> Iterator[list[str]]:
        for at in range(HALF, len(word) - HALF + 1):
            if word[:at] in self._known and word[at:] in self._known:
                yield [self._known[word[:at]], self._known[word[at:]]]
