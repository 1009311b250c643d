"""Finds the passages that answer a question: words in common, the rarer the better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demo.reading import Passage
from demo.words import stems

ENOUGH = 0.45  # the share of the question's weight that a passage must hold to count as an answer


@dataclass(frozen=True, slots=True)
class Hit:
    passage: Passage
    score: float
    index: int


def weigh(question: str, earlier: str = "") -> dict[str, float]:
    """The question's words. A short one borrows from what was asked before: "and to Ireland?" """
    weights = dict.fromkeys(stems(question), 1.0)
    if len(weights) <= 2:
        for word in stems(earlier):
            weights.setdefault(word, 0.4)
    return weights


def search(question: Mapping[str, float], passages: Sequence[Passage]) -> list[Hit]:
    """The passages that answer, best first. A passage's title counts, and what a pair asks counts most."""
    texts = [Counter(stems(p.text)) for p in passages]
    heads = [set(stems(f"{p.title} {p.asks}")) for p in passages]
    spread = Counter(word for text, head in zip(texts, heads, strict=True) for word in set(text) | head)
    rarity = {word: math.log(1 + (len(passages) + 1) / (1 + spread[word])) * share for word, share in question.items()}
    whole = sum(rarity.values())
    hits = []
    for index, (passage, text, head) in enumerate(zip(passages, texts, heads, strict=True)):
        covered = sum(weight for word, weight in rarity.items() if word in text or word in head)
        new = any(share == 1.0 and (word in text or word in head) for word, share in question.items())
        if not new or covered / whole < ENOUGH:
            continue
        depth = sum(weight * text[word] / (text[word] + 1.5) for word, weight in rarity.items() if text[word])
        headed = sum(weight for word, weight in rarity.items() if word in head)
        focus = headed / (len(head) + 2) if head else 0.0
        hits.append(Hit(passage, covered / whole + depth / whole + 0.8 * headed / whole + focus, index))
    return sorted(hits, key=lambda hit: (-hit.score, hit.index))
