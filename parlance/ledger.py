"""The ledger: one row per upstream call, written off the visitor's path and never lost.

A row goes to a file of this process first (the spool), then to the store; the spool is emptied when the store has
everything. What a killed process left in its spool, the next process writes. Rows are keyed by call id, so writing one
twice changes nothing. A row's cost is spent from its site's budgets in the step that writes it: the two cannot differ.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import gevent
import msgspec
from gevent.event import Event

from parlance.errors import StoreUnavailable
from parlance.observe.logs import log
from parlance.store import keys
from parlance.store.client import Store

AGAIN_S = 0.5
AT_ONCE = 100  # rows that one script books: it keeps everyone waiting
LOST = "worker_lost"  # the error class of a call that somebody else had to book; book.lua knows it
GATHER_S = 0.05  # rows of many answers go to the store together


@dataclass(frozen=True, slots=True)
class Row:
    """One upstream call. Money in nano-dollars; durations in ms, -1 where it did not come so far; `retries` counts the
    attempts before this one. `estimated` where the provider's own figures were cut off with the call."""

    call: str
    at: str  # RFC 3339 UTC, when the call began
    site: str
    conversation: str
    turn: str
    model: str
    voice_version: int
    input_tokens: int = 0  # not cached
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    first_token_ms: int = -1
    duration_ms: int = -1
    stop_reason: str = ""
    retries: int = 0
    error_class: str = ""
    upstream_request_id: str = ""
    estimated: bool = False

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Row:
        """A row as it was written; columns that are new since have their defaults."""
        data = json.loads(text)
        return cls(**{name: data[name] for name in COLUMNS if name in data})


COLUMNS = tuple(field.name for field in fields(Row))


class Ledger:
    """`pending` is told how many rows wait for the store, after each change."""

    def __init__(
        self, store: Store, spool: Path, worker: str, pending: Callable[[int], None] = lambda count: None
    ) -> None:
        self._store = store
        self._folder = spool
        self._worker = worker
        self._pending = pending
        self._queue: list[Row] = []
        self._wake = Event()
        self._file: IO[str] | None = None
        self._writer: gevent.Greenlet | None = None

    def record(self, row: Row) -> None:
        """Take a row. Does not wait for the store; and a full disk costs the spool's safety, never an answer."""
        try:
            self._spool(row)
        except OSError as error:
            log("ledger_spool_failed", level="error", error=error, call=row.call)
        self._queue.append(row)
        self._pending(len(self._queue))
        self._wake.set()

    @property
    def waiting(self) -> int:
        """How many rows the store does not have yet."""
        return len(self._queue)

    def rows(self, site: str, since: str = "") -> Iterator[dict[str, Any]]:
        """The rows of a site as they were recorded, by time, from `since` (RFC 3339 or a date) on."""
        days = sorted(day.decode() for day in self._store.do("SMEMBERS", keys.ledger_days(site)))
        for day in days:
            if day >= since[:10]:
                rows = (json.loads(text) for text in self._day(site, day))
                yield from sorted((row for row in rows if row["at"] >= since), key=lambda row: (row["at"], row["call"]))

    def _day(self, site: str, day: str) -> Iterator[bytes]:
        cursor: Any = 0
        seen: set[bytes] = set()
        while True:
            cursor, part = self._store.do("HSCAN", keys.ledger(site, day), cursor, "COUNT", 1000)
            for call, text in part.items():
                if call not in seen:
                    seen.add(call)
                    yield text
            if int(cursor) == 0:
                return

    def flush(self) -> None:
        """Write what waits. Raises StoreUnavailable, with everything still waiting."""
        while self._queue:
            rows = list(self._queue)
            self._write(rows)
            del self._queue[: len(rows)]
            self._pending(len(self._queue))
        self._clear_spool()

    def _write(self, rows: Iterable[Row]) -> None:
        """Write rows and settle the money that was held for them. The holds are looked up first, for a row does not say
        whose it is: the ledger knows no visitors."""
        lots = list(_lots(rows))
        holds = self._store.many([("HMGET", keys.holds(site), *(row.call for row in lot)) for site, lot in lots])
        for (site, lot), held in zip(lots, holds, strict=True):
            self._book(site, lot, held)

    def _book(self, site: str, rows: Sequence[Row], holds: Sequence[bytes | None]) -> None:
        places, args = [keys.purse(site), keys.holds(site), keys.ledger_days(site)], []
        for row, hold in zip(rows, holds, strict=True):
            day, visitor = row.at[:10], hold.decode().split("|")[4] if hold else ""
            places += [keys.ledger(site, day), keys.visitor_purse(site, visitor) if visitor else keys.purse(site)]
            args += [row.call, day, row.to_json()]
        self._store.run("book", places, args)

    # -- the spool -------------------------------------------------------------------------------------------------

    def _spool(self, row: Row) -> None:
        if self._file is None:
            self._file = self._open_spool()
        self._file.write(row.to_json() + "\n")
        self._file.flush()

    def _open_spool(self) -> IO[str]:
        """A file that is locked and still there: in the moment before the lock, it looked like a dead process's."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = (self._folder / f"{self._worker}.jsonl").open("a", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    def _clear_spool(self) -> None:
        if self._file is not None and not self._queue:
            self._file.truncate(0)

    def _adopt(self) -> None:
        """Write what dead processes left: a spool that nobody holds a lock on."""
        for path in sorted(self._folder.glob("*.jsonl")):
            if path.stem == self._worker:
                continue
            with path.open("a+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                file.seek(0)
                self._write(_read_spool(file))
                path.unlink(missing_ok=True)

    # -- the process's life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._writer is None:
            self._writer = gevent.spawn(self._write_on)

    def stop(self) -> None:
        """Write the rest; what the store does not take stays in the spool for the next process."""
        if self._writer is not None:
            self._writer.kill()
            self._writer = None
        try:
            self.flush()
        except StoreUnavailable:
            return
        if self._file is not None:
            os.unlink(self._file.name)
            self._file.close()
            self._file = None

    def _write_on(self) -> None:
        adopted = False
        while True:
            try:
                if not adopted:
                    self._adopt()
                    adopted = True
                self.flush()
            except StoreUnavailable:
                gevent.sleep(AGAIN_S)
                continue
            self._wake.wait()
            gevent.sleep(GATHER_S)
            self._wake.clear()


def _lots(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows by site, at most so many together."""
    by_site: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_site[row.site].append(row)
    for site, theirs in by_site.items():
        for start in range(0, len(theirs), AT_ONCE):
            yield site, theirs[start : start + AT_ONCE]


def _read_spool(lines: Iterable[str]) -> Iterator[Row]:
    """The whole rows of a spool; a last line that its writer did not finish is no row."""
    for line in lines:
        try:
            yield Row.from_json(line)
        except ValueError:
            continue
