"""The simulated prompt cache: what a request reads from it, what it writes to it, and for how long that is kept.

A mark asks for the prefix up to it to be kept. A request finds the longest kept prefix by looking back from each of
its marks over at most 20 blocks. A prefix below the model's minimum is not kept, silently, as in the real thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from demo.models import Model
from demo.prompt import Block

LOOK_BACK = 20
SECONDS = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True)
class Input:
    """How the input tokens of one request are billed. The three kinds add up to the whole prompt."""

    uncached: int
    written: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SECONDS, 0))
    read: int = 0
    keeps: tuple[tuple[bytes, str], ...] = ()  # prefixes to keep once the answer begins

    def usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.uncached,
            "cache_creation_input_tokens": sum(self.written.values()),
            "cache_read_input_tokens": self.read,
            "cache_creation": {f"ephemeral_{ttl}_input_tokens": count for ttl, count in self.written.items()},
        }


class Cache:
    """Kept prefixes, each under the key that wrote it. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[tuple[str, bytes], float] = {}

    def look_up(self, key: str, row: list[Block], model: Model) -> Input:
        """What this prompt reads and writes. Nothing is kept yet: an entry can be read once an answer has begun."""
        sums = list(accumulate(block.tokens for block in row))
        marks = [index for index, block in enumerate(row) if block.mark]
        hit = max((found for mark in marks if (found := self._behind(key, row, mark)) is not None), default=-1)
        read = edge = sums[hit] if hit >= 0 else 0
        written = dict.fromkeys(SECONDS, 0)
        keeps = [(row[hit].digest, row[hit].mark or "5m")] if hit >= 0 else []
        for mark in marks:
            ttl = row[mark].mark
            if ttl and sums[mark] >= model.min_cacheable:
                keeps.append((row[mark].digest, ttl))
                written[ttl] += max(0, sums[mark] - edge)
                edge = max(edge, sums[mark])
        return Input((sums[-1] if sums else 0) - edge, written, read, tuple(keeps))

    def keep(self, key: str, input: Input) -> None:
        """Keeps what the request wrote and refreshes what it read."""
        now = self._clock()
        self._until = {name: until for name, until in self._until.items() if until > now}
        for digest, ttl in input.keeps:
            until = self._until.get((key, digest), 0.0)
            self._until[key, digest] = max(until, now + SECONDS[ttl])

    def _behind(self, key: str, row: list[Block], mark: int) -> int | None:
        """The nearest kept prefix at or before a mark, within the look-back."""
        now = self._clock()
        for index in range(mark, max(-1, mark - LOOK_BACK), -1):
            if self._until.get((key, row[index].digest), 0.0) > now:
                return index
        return None
