"""Finds the passages that answer a question: words in common, the rarer the better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from demo.reading import Passage
from demo.words import WEAK, stems

# The share of the question's weight that a passage must hold to count as an answer: in its body alone, or if it is
# under a heading or a question that has some of it too.
ENOUGH, ENOUGH_HEADED = 0.6, 0.4
UNKNOWN = 2.0  # the weight of a word that no passage has: about that of a middling one
BORROWED = 0.4


@dataclass(frozen=True, slots=True)
class Hit:
    passage: Passage
    score: float
    index: int


class Shelf:
    """Passages, with their words counted once."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages
        self._texts = [Counter(stems(passage.text)) for passage in passages]
        self._heads = [set(stems(passage.asks or passage.title)) for passage in passages]
        spread = Counter(word for text, head in zip(self._texts, self._heads, strict=True) for word in set(text) | head)
        self._rarity = {word: math.log(1 + (len(passages) + 1) / (1 + count)) for word, count in spread.items()}

    def search(self, question: Mapping[str, float]) -> list[Hit]:
        """The passages that answer, best first. What is borrowed only decides between those that hold the rest."""
        most = max(question.values(), default=0.0)
        own = {word: self._weight(word) for word, share in question.items() if share == most}
        weights = {word: share * self._weight(word) for word, share in question.items()}
        hits = (self._hit(index, weights) for index in range(len(self.passages)) if self._answers(index, own))
        return sorted(hits, key=lambda hit: (-hit.score, hit.index))

    def _answers(self, index: int, own: Mapping[str, float]) -> bool:
        text, head = self._texts[index], self._heads[index]
        covered = sum(weight for word, weight in own.items() if word in text or word in head)
        enough = ENOUGH_HEADED if any(word in head for word in own) else ENOUGH
        return covered > 0 and covered / sum(own.values()) >= enough

    def _hit(self, index: int, weights: Mapping[str, float]) -> Hit:
        text, head, whole = self._texts[index], self._heads[index], sum(weights.values())
        covered = sum(weight for word, weight in weights.items() if word in text or word in head)
        headed = sum(weight for word, weight in weights.items() if word in head)
        depth = sum(weight * text[word] / (text[word] + 1.5) for word, weight in weights.items() if text[word])
        meant = (
            headed / sum(self._weight(word) for word in head) if headed else 0.0
        )  # how much of the heading was asked
        asked = 0.2 if self.passages[index].asks and headed else 0.0
        return Hit(self.passages[index], (covered + 0.4 * depth + 0.4 * headed) / whole + meant + asked, index)

    def _weight(self, word: str) -> float:
        return self._rarity.get(word, UNKNOWN) * (0.3 if word in WEAK else 1.0)


@lru_cache(maxsize=32)
def shelf(passages: tuple[Passage, ...]) -> Shelf:
    """A site's passages seldom change, and counting them takes longer than looking."""
    return Shelf(passages)


def weigh(question: str, earlier: str = "") -> dict[str, float]:
    """The question's words. A short one borrows from what was said before: "and to Ireland?" """
    weights = dict.fromkeys(stems(question), 1.0)
    if sum(word not in WEAK for word in weights) <= 1:
        for word in stems(earlier):
            weights.setdefault(word, BORROWED)
    return weights
