"""What was asked of the demo: a record of each request, for tests. Keys are not kept."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SECRET = ("authorization", "x-api-key", "cookie")


@dataclass(slots=True)
class Call:
    """One request. Times are seconds of the demo's clock; `left`: the client went before the answer's end."""

    id: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    started: float
    ended: float | None = None
    status: int = 0
    usage: dict[str, Any] | None = None
    left: bool = False
    sent: int = 0  # frames

    def dump(self) -> dict[str, Any]:
        return asdict(self)


class Calls:
    """The latest calls, at most `limit`; none with 0."""

    def __init__(self, limit: int) -> None:
        self._kept: deque[Call] = deque(maxlen=limit)
        self._lock = threading.Lock()

    def __iter__(self) -> Any:
        with self._lock:
            return iter(list(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, call: Call) -> Call:
        with self._lock:
            self._kept.append(call)
        return call

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


def headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """The request's headers, without what opens doors."""
    sent = {name[5:].lower().replace("_", "-"): str(environ[name]) for name in environ if name.startswith("HTTP_")}
    return {name: value for name, value in sent.items() if name not in SECRET}
