"""Which of the sections found answers best: BM25 of the question's words, and how near these stand to each other.

Pure. The sequential dependence model of Metzler and Croft (2005): BM25 of all the words, plus a little for neighbours
in the question that are neighbours in the section too, and less for those that merely stand near each other there.
"Gift card" so prefers the section on gift cards to one with a gift and a card.

Every figure is a textbook's, none was fitted to a collection:

- BM25 with k1 1.2 and b 0.75, its inverse document frequency without a floor at 1: as in FTS5 itself (SQLite's manual).
- 0.85, 0.10 and 0.05 for words, neighbours and near ones, and a window of 8 words: the model's published weights.
- Neighbours are weighed as words are, by how few sections have them. These few are counted among the candidates, which
  are the sections where the question's words meet.
- A title's words count twice.

Feedback from the first results (RM3, Rocchio, Bo1) is left out on purpose. It is known to find more; when it was tried,
it left the best ten as they were or worse, and an answer uses only a handful.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

K1, B = 1.2, 0.75
TITLE = 2.0  # how many times a word of the title counts
WORDS, NEIGHBOURS, NEAR = 0.85, 0.10, 0.05
WINDOW = 8  # words

_APART = [""] * WINDOW  # nothing in a title is near anything in the text

Pair = tuple[str, str]


def rarity(having: int, total: int) -> float:
    """Inverse document frequency: what it says of a section that it is one of `having` among `total`."""
    return max(1e-6, math.log((total - having + 0.5) / (having + 0.5)))


@dataclass(slots=True)
class Candidate:
    """A section that was found, read for the question's terms: where each stands, the title's `head` terms first."""

    number: int
    head: int
    length: int
    places: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, number: int, title: str, body: str, wanted: Container[str]) -> Candidate:
        head, text = title.split(), body.split()
        candidate = cls(number, len(head), len(head) + len(text))
        for at, term in [each for each in enumerate(head + _APART + text) if each[1] in wanted]:
            candidate.places.setdefault(term, []).append(at)
        return candidate

    def frequency(self, term: str) -> float:
        places = self.places[term]
        return len(places) + (TITLE - 1) * bisect(places, self.head - 1)

    def meetings(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[int, int]]:
        """The pairs that meet within the window: how often the second comes right after the first, and how often the
        two are near at all."""
        places, met = self.places, {}
        for pair in pairs:
            if pair[0] in places and pair[1] in places:
                gaps = [there - here for here in places[pair[0]] for there in places[pair[1]]]
                if near := sum(-WINDOW < gap < WINDOW and gap != 0 for gap in gaps):
                    met[pair] = (gaps.count(1), near)
        return met


def rank(
    candidates: Sequence[Candidate], terms: Sequence[str], weights: Mapping[str, float], total: int, average: float
) -> list[tuple[float, Candidate]]:
    """The candidates with their scores, best first. `terms` are the question's in their order, `weights` their rarity;
    the library has `total` sections of `average` terms."""
    times, pairs = Counter(terms), set(pairwise(terms))
    met = [each.meetings(pairs) for each in candidates]
    following = Counter(pair for each in met for pair, (follow, _) in each.items() if follow)
    nearing = Counter(pair for each in met for pair in each)
    scored = []
    for candidate, together in zip(candidates, met, strict=True):
        slack = K1 * (1 - B + B * candidate.length / average)
        score = 0.0
        for term in candidate.places:
            score += WORDS * times[term] * weights[term] * _saturated(candidate.frequency(term), slack)
        for pair, (follow, near) in together.items():
            score += NEIGHBOURS * rarity(following[pair], total) * _saturated(follow, slack)
            score += NEAR * rarity(nearing[pair], total) * _saturated(near, slack)
        scored.append((score, candidate))
    return sorted(scored, key=lambda each: (-each[0], each[1].number))


def _saturated(frequency: float, slack: float) -> float:
    """The second time a word is met says less than the first."""
    return frequency * (K1 + 1) / (frequency + slack)
