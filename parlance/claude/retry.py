"""When to ask the same model again. The SDK's own retries are off: they know no deadline and obey any `retry-after`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from parlance.claude.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds. `attempts` counts all calls to one model; a `retry-after` beyond `patience` is not waited for: the
    visitor is better served by another model, or by an honest word."""

    attempts: int = 3
    base: float = 0.5
    most: float = 4.0
    patience: float = 8.0
    jitter: Callable[[], float] = random.random

    def delay(self, attempts: int, error: UpstreamError, left: float) -> float | None:
        """How long to wait before asking again, after `attempts` calls; None: do not. `left` is until the deadline."""
        if not error.again or attempts >= self.attempts:
            return None
        wait = min(self.base * 2 ** (attempts - 1), self.most) * (0.75 + 0.25 * self.jitter())
        if error.retry_after is not None:
            # a little later than told, each a little different, so that all do not come back at once
            wait = error.retry_after + 0.25 * self.jitter()
        return wait if wait <= min(self.patience, left) else None
