"""The rate-limit headers: what each key has used in the current minute. The demo tells; it does not enforce."""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from collections.abc import Callable

LIMITS = {"requests": 4_000, "input-tokens": 4_000_000, "output-tokens": 800_000}


class Quota:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minute = -1
        self._used: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def use(self, key: str, **amounts: int) -> None:
        """Adds to what `key` has used; the names are those of LIMITS with underscores."""
        with self._lock:
            self._turn()
            for name, amount in amounts.items():
                self._used[key, name.replace("_", "-")] += amount

    def headers(self, key: str) -> list[tuple[str, str]]:
        """limit, remaining and reset for each of the four kinds."""
        with self._lock:
            self._turn()
            used = {name: self._used[key, name] for name in LIMITS}
        rows = {name: (limit, used[name]) for name, limit in LIMITS.items()}
        rows["tokens"] = (
            LIMITS["input-tokens"] + LIMITS["output-tokens"], used["input-tokens"] + used["output-tokens"]
        )  # fmt: skip
        reset = datetime.datetime.fromtimestamp((self._minute + 1) * 60, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return [
            (f"anthropic-ratelimit-{name}-{what}", str(value))
            for name, (limit, spent) in rows.items()
            for what, value in (("limit", limit), ("remaining", max(0, limit - spent)), ("reset", reset))
        ]

    def _turn(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
