"""What workers tell one another, over one pub/sub channel each.

Nothing depends on a letter arriving: every letter only makes something happen sooner that a periodic look at the
store would bring about anyway. So a lost connection costs time, never text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import redis

from parlance.errors import StoreUnavailable
from parlance.store import keys
from parlance.store.client import Store

AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Letter:
    kind: str  # watch | frame | poke | cancel
    site: str
    turn: str
    note: str = ""  # a worker, an event id or a reason
    payload: bytes = b""

    def packed(self) -> bytes:
        return f"{self.kind} {self.site} {self.turn} {self.note}\n".encode() + self.payload

    @classmethod
    def unpacked(cls, data: bytes) -> Letter:
        head, _, payload = data.partition(b"\n")
        kind, site, turn, note = head.decode().split(" ", 3)
        return cls(kind, site, turn, note, payload)


class Mailbox:
    """`worker` is this process's id, the address under which others reach it."""

    def __init__(self, store: Store, worker: str) -> None:
        self.worker = worker
        self._store = store
        self._handlers: dict[str, Callable[[Letter], None]] = {}
        self._reader: gevent.Greenlet | None = None

    def on(self, kind: str, handler: Callable[[Letter], None]) -> None:
        """Call `handler` with every letter of this kind. It runs in the reader's greenlet: it must not wait."""
        self._handlers[kind] = handler

    def send(self, letters: list[tuple[str, Letter]]) -> None:
        """Post letters to workers; silently lost where the store is away or the worker is gone."""
        try:
            self._store.many([("PUBLISH", keys.worker_channel(worker), letter.packed()) for worker, letter in letters])
        except (StoreUnavailable, redis.RedisError):
            return

    def start(self) -> None:
        if self._reader is None:
            self._reader = gevent.spawn(self._read)

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.kill()
            self._reader = None

    def _read(self) -> None:
        while True:
            pubsub: Any = None
            try:
                pubsub = self._store.listen()
                pubsub.subscribe(keys.worker_channel(self.worker))
                for message in pubsub.listen():
                    self._deliver(message["data"])
            except (redis.RedisError, OSError):
                gevent.sleep(AGAIN_S)
            finally:
                if pubsub is not None:
                    pubsub.close()

    def _deliver(self, data: bytes) -> None:
        letter = Letter.unpacked(data)
        handler = self._handlers.get(letter.kind)
        if handler:
            handler(letter)
