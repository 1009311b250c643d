"""Where answers run: one greenlet a turn, held by a lease, apart from any connection.

Once a second the beat renews the leases of this process's turns, stops those that are overdue, unwatched, cancelled or
owned by somebody else by now, and takes over those whose owner has died: at once where somebody here watches, by the
sweep where nobody does.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event
from gevent.hub import get_hub

from parlance import events
from parlance.claude.loop import Allowance, Call, Stopped, Unlimited
from parlance.conversations import Remembered
from parlance.errors import StoreUnavailable
from parlance.journal import Journal, Log
from parlance.limits import LEASE_MS, RUNNING_JOURNAL_S, TURN_S
from parlance.observe.logs import log
from parlance.store import keys
from parlance.store.client import Store
from parlance.store.mailbox import Letter, Mailbox

BEAT_S = 1.0
SWEEP_BEATS = 2
HANDOVER_S = 3.0  # kept of the grace time for giving up what has not finished

CANCELLED, UNWATCHED, OVERDUE, FENCED, HANDOVER = "cancelled", "unwatched", "deadline", "fenced", "handover"


class StopSignal:
    """A turn's abort signal. `set` interrupts the turn where it waits for Claude or a tool, and nowhere else: an
    interrupted store call would leave it unknown whether it was done."""

    def __init__(self) -> None:
        self.reason = ""
        self._waiter: Any = None
        self._thrown = False

    def set(self, reason: str) -> None:
        """Stop the turn. The first reason stays; only a fence outranks it."""
        if self.reason and reason != FENCED:
            return
        self.reason = reason
        if self._waiter is not None and not self._thrown:
            self._thrown = True
            get_hub().loop.run_callback(self._waiter.throw, Stopped(reason))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        if self.reason:
            raise Stopped(self.reason)
        self._waiter, self._thrown = gevent.getcurrent(), False
        try:
            yield
        except Stopped:
            self._thrown = False
            raise
        finally:
            self._waiter = None
            self._absorb()

    def sleep(self, seconds: float) -> None:
        with self.interruptible():
            gevent.sleep(seconds)

    def _absorb(self) -> None:
        """A signal that was on its way when the wait ended arrives at the next switch: let it arrive here."""
        while self._thrown:
            try:
                gevent.sleep(0)
            except Stopped:
                self._thrown = False


@dataclass(eq=False, slots=True)
class Task:
    """A turn that this process answers. `began` and `deadline` are on the runner's clock; `record` is the turn's hash
    as admission or takeover left it; the rest is where the answer stands."""

    site: str
    turn: str
    epoch: int
    log: Log
    deadline: float
    unwatched_s: float
    record: dict[str, str]
    began: float
    allowance: Allowance = field(default_factory=Unlimited)
    stop: StopSignal = field(default_factory=StopSignal)
    call: Call | None = None  # the one that is being made
    remembered: Remembered | None = None  # of the conversation, where admission brought it along
    asked: str = ""  # the visitor's question
    heard: Call | None = None  # the last one that has said something
    voice_version: int = 0

    @property
    def names(self) -> dict[str, Any]:
        """What joins the log lines of a turn."""
        return {"site": self.site, "turn": self.turn, "conversation": self.record["conversation"]}


class Runner:
    """`answer(task)` runs a turn to its end; `adopt(site, record, frame)` starts one that was taken over.
    `site_keys()` lists the sites whose leases to sweep; `free_holds(sites)` then frees what their dead turns held."""

    def __init__(
        self,
        store: Store,
        mailbox: Mailbox,
        journal: Journal,
        site_keys: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
        free_holds: Callable[[Iterable[str]], object] = lambda sites: None,
    ) -> None:
        self._free_holds = free_holds
        self._store = store
        self._journal = journal
        self._mailbox = mailbox
        self._site_keys = site_keys
        self._clock = clock
        self._tasks: dict[str, Task] = {}
        self._idle = Event()
        self._idle.set()
        self._hold_off = 0.0  # no takeovers before this: an outage lapses everybody's leases at once
        self._draining = False
        self._heart: gevent.Greenlet | None = None
        self._beats = 0
        self.adopt: Callable[[str, dict[str, str], bytes], None] = lambda site, record, frame: None
        mailbox.on("cancel", self._on_cancel)

    @property
    def worker(self) -> str:
        return self._mailbox.worker

    @property
    def running(self) -> int:
        return len(self._tasks)

    def start_task(self, task: Task, answer: Callable[[Task], None]) -> None:
        """Answer a turn in a greenlet of its own."""
        self._tasks[task.turn] = task
        self._idle.clear()
        gevent.spawn(self._run, task, answer)

    def _run(self, task: Task, answer: Callable[[Task], None]) -> None:
        try:
            answer(task)
        finally:
            if self._tasks.get(task.turn) is task:
                del self._tasks[task.turn]
            if not self._tasks:
                self._idle.set()

    # -- stopping --------------------------------------------------------------------------------------------------

    def cancel(self, site: str, turn: str) -> None:
        """Stop a turn, wherever it runs: here at once, elsewhere by letter, and by its record should that be lost."""
        if turn in self._tasks:
            self._tasks[turn].stop.set(CANCELLED)
            return
        place = keys.turn(site, turn)
        # Should it have been erased in this moment, its record must not come back for good.
        wish = [("HSET", place, "cancel", 1), ("EXPIRE", place, TURN_S, "NX")]
        owner, *_ = self._store.many([("HGET", place, "owner"), *wish])
        if owner:
            self._mailbox.send([(owner.decode(), Letter("cancel", site, turn))])

    def release(self, task: Task) -> None:
        """Give a turn up, for another worker to take over at once. Where the store is away, its lease just lapses."""
        try:
            self._store.run(
                "release", [keys.leases(task.site), keys.turn(task.site, task.turn)], [task.turn, task.epoch]
            )
        except StoreUnavailable as error:
            log("turn_not_released", level="warning", error=error, site=task.site, turn=task.turn)

    def _on_cancel(self, letter: Letter) -> None:
        if letter.turn in self._tasks:
            self._tasks[letter.turn].stop.set(CANCELLED)

    # -- the beat --------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        self._beats += 1
        mirrors = self._journal.beat()
        for task in list(self._tasks.values()):
            self._look_after(task)
        try:
            self._renew()
            if not self._draining and self._clock() >= self._hold_off:
                self._take_over_mirrored(mirrors)
                if self._beats % SWEEP_BEATS == 0:
                    self._sweep()
        except StoreUnavailable:
            self._hold_off = self._clock() + LEASE_MS / 1000 + BEAT_S

    def _look_after(self, task: Task) -> None:
        now = self._clock()
        if now >= task.deadline:
            task.stop.set(OVERDUE)
        elif not task.log.followers and now - task.log.unwatched_since >= task.unwatched_s:
            try:
                if self._journal.watched_elsewhere(task.log):
                    task.log.unwatched_since = now
                else:
                    task.stop.set(UNWATCHED)
            except StoreUnavailable:
                return

    def _renew(self) -> None:
        by_site: dict[str, list[Task]] = defaultdict(list)
        for task in self._tasks.values():
            by_site[task.site].append(task)
        for site, tasks in by_site.items():
            args = [LEASE_MS] + [value for task in tasks for value in (task.turn, task.epoch)]
            words = self._store.run("renew", [keys.leases(site), *(keys.turn(site, task.turn) for task in tasks)], args)
            for task, word in zip(tasks, words, strict=True):
                if word == b"fenced":
                    task.stop.set(FENCED)
                elif word == b"cancel":
                    task.stop.set(CANCELLED)

    def _take_over_mirrored(self, mirrors: list[Log]) -> None:
        leases = self._store.many([("ZSCORE", keys.leases(log.site), log.turn) for log in mirrors])
        now_ms = self._now_ms() if mirrors else 0
        for mirror, lapses in zip(mirrors, leases, strict=True):
            if lapses is None and not self._store.do("EXISTS", keys.turn(mirror.site, mirror.turn)):
                mirror.let_go()  # erased
            elif lapses is not None and float(lapses) <= now_ms:
                self.take_over(mirror.site, mirror.turn)

    def _sweep(self) -> None:
        sites, now_ms = list(self._site_keys()), self._now_ms()
        lapsed = self._store.many(
            [("ZRANGEBYSCORE", keys.leases(site), "-inf", now_ms, "LIMIT", 0, 20) for site in sites]
        )
        for site, turns in zip(sites, lapsed, strict=True):
            for turn in turns:
                self.take_over(site, turn.decode())
        self._free_holds(sites)

    def _now_ms(self) -> int:
        seconds, micros = self._store.do("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def take_over(self, site: str, turn: str) -> bool:
        """Answer a turn whose owner has died. The script decides; of several who try, one gets it."""
        if turn in self._tasks:
            return False
        frame = events.frame(events.RESET, {"reason": "taken_over"})
        reply = self._store.run(
            "takeover",
            [keys.leases(site), keys.turn(site, turn), keys.events(site, turn)],
            [turn, self._mailbox.worker, LEASE_MS, frame, RUNNING_JOURNAL_S],
        )
        if not reply:
            return False
        fields = [text.decode() for text in reply]
        record = dict(zip(fields[::2], fields[1::2], strict=True)) | {"id": turn}
        log("turn_taken_over", site=site, turn=turn, conversation=record.get("conversation"), epoch=record.get("epoch"))
        self.adopt(site, record, frame)
        return True

    # -- the process's life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._heart is None:
            self._heart = gevent.spawn(self._live)

    def _live(self) -> None:
        while True:
            gevent.sleep(BEAT_S)
            try:
                self.beat()
            except Exception as error:  # the heart must go on: without it every lease of this process lapses
                log("beat_failed", level="error", error=error)

    def drain(self, grace_s: float) -> None:
        """Let running answers finish; give up those that have not after the grace time, for others to take over."""
        if self._draining:
            self._idle.wait(grace_s)
            return
        self._draining = True
        if not self._idle.wait(max(0.0, grace_s - HANDOVER_S)):
            for task in list(self._tasks.values()):
                task.stop.set(HANDOVER)
            self._idle.wait(HANDOVER_S - 1.0)
        self._journal.let_go()

    def stop(self) -> None:
        if self._heart is not None:
            self._heart.kill()
            self._heart = None
