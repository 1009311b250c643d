"""The journal of every answer: what was said, in order, for whoever watches, from wherever they left off.

An answer is a job, not a connection. Its runner writes events here; the events go into a Redis Stream first and then
to the followers in this process, so that nobody sees text which a resume could not replay. One greenlet, the scribe,
writes for all answers of the process in one pipeline; while it waits, text that arrives is merged, so that the number
of writes falls by itself when there is much to write.

Followers in other workers hold a mirror: a copy of the log, filled from the stream and kept fresh by letters from the
owner. Event ids are `<epoch>-<n>` without gaps, so a mirror that missed something knows it and reads the stream again.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event

from parlance import events, ids
from parlance.errors import Fenced, StoreUnavailable
from parlance.observe.logs import log as tell
from parlance.store import keys
from parlance.store.client import Store
from parlance.store.mailbox import Letter, Mailbox

HEARTBEAT_S = 12.0
BEHIND_AGAIN_S = 0.5
MIRROR_S = 15.0  # an owner forgets a mirror that has not announced itself for so long
ANNOUNCE_S = 5.0
PACE_S = 0.006  # between two writes of the scribe
HURRY_S = 0.001  # the same, where an answer says its first word

# log, place, event id, frame without its id
_Entry = tuple["Log", int, str, bytes]

_NOTE = b"note: "
_EPOCH = 1 << 32  # an event's place in order: epoch * _EPOCH + number


def _place(event_id: str) -> int:
    epoch, number = ids.parse_event(event_id)
    return epoch * _EPOCH + number


class Log:
    """One turn's events as this process knows them. `epoch` is the one that it writes in, None where it only reads."""

    __slots__ = (
        "arrived", "ended", "epoch", "fenced", "followers", "frames", "in_flight", "last", "mirrors", "notes", "number",
        "pending", "places", "queued", "settled", "site", "spoken", "stream", "turn",
        "unwatched_since", "updated",
    )  # fmt: skip

    def __init__(self, site: str, turn: str, now: float) -> None:
        self.site = site
        self.turn = turn
        self.stream = keys.events(site, turn)
        self.frames: list[bytes] = []
        self.places: list[int] = []  # of the frames
        self.last = -1  # the place of the newest entry known
        self.notes: list[tuple[int, bytes]] = []  # with their places: for whoever takes the turn over
        self.ended = False
        self.arrived = Event()
        self.followers = 0
        self.unwatched_since = now
        self.updated = now
        self.mirrors: dict[str, float] = {}  # worker -> when to forget it
        # for the writer
        self.epoch: int | None = None
        self.number = 0
        self.pending: list[str | bytes] = []  # str: text still to be framed
        self.spoken = False
        self.queued = False  # the scribe knows that there is something to take
        self.in_flight = 0  # taken by the scribe, not yet in the store
        self.fenced = False
        self.settled = Event()

    def take(self, place: int, frame: bytes) -> None:
        """Add a frame (with its id) that the journal has, and wake the followers."""
        self.last = place
        self.places.append(place)
        self.frames.append(frame)
        if events.is_last(frame, frame.index(b"\n") + 1):
            self.ended = True
        self.wake()

    def between(self, start: int, end: int) -> list[bytes]:
        """The frames after one place, up to another."""
        return self.frames[bisect_right(self.places, start) : bisect_right(self.places, end)]

    def let_go(self) -> None:
        """End here without a last event: followers' clients resume, and learn where the turn is, or that it is not."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        arrived, self.arrived = self.arrived, Event()
        arrived.set()


class Journal:
    """`clock` is monotonic seconds; `lag` is told how long each write took, in seconds."""

    def __init__(
        self,
        store: Store,
        mailbox: Mailbox,
        lag: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lag = lag
        self._store = store
        self._mailbox = mailbox
        self._clock = clock
        self._logs: dict[str, Log] = {}
        self._dirty: list[Log] = []
        self._wake = Event()
        self._hurry = Event()
        self._scribe: gevent.Greenlet | None = None
        self._wrote_at = clock()
        self._behind: list[tuple[Log, int, str, bytes]] = []  # shown to followers, not yet in the store
        mailbox.on("watch", self._on_watch)
        mailbox.on("frame", self._on_frame)
        mailbox.on("poke", self._on_poke)

    # -- writing ---------------------------------------------------------------------------------------------------

    def open(self, site: str, turn: str, epoch: int, first: bytes) -> Log:
        """The log of a turn that this process is about to answer. `first` is the frame that admission (epoch 0: the
        start event) or the takeover (the reset) has just put into the stream."""
        log = self._logs.get(turn) or self._logs.setdefault(turn, Log(site, turn, self._clock()))
        log.epoch, log.fenced, log.unwatched_since = epoch, False, self._clock()
        log.number = 1 if epoch == 0 else 0
        if epoch == 0:
            log.take(1, events.with_id("0-1", first))
        else:
            self._sync(log)
        return log

    def write(self, log: Log, event: str, data: dict[str, object]) -> None:
        """Append an event. Does not wait: the scribe takes it from here."""
        log.pending.append(events.frame(event, data))
        if not log.queued:
            self._queue(log)

    def note(self, log: Log, text: str) -> None:
        """Append a note that no follower sees: what a worker that takes the turn over has to know."""
        log.pending.append(_NOTE + text.encode())
        if not log.queued:
            self._queue(log)

    def text(self, log: Log, text: str) -> None:
        """Append text; merges with text that the scribe has not taken yet."""
        pending = log.pending
        if not log.spoken:
            log.spoken = True
            self._hurry.set()
        if pending and type(pending[-1]) is str:
            pending[-1] += text
        else:
            pending.append(text)
        if not log.queued:
            self._queue(log)

    def settle(self, log: Log) -> str:
        """Wait until everything written so far is in the store; return the id that the turn's next event will have.

        Raises Fenced where a later epoch owns the turn, StoreUnavailable during an outage.
        """
        while (log.pending or log.in_flight) and not log.fenced:
            if self._behind and not log.pending:  # all of it has been shown
                raise StoreUnavailable("the journal waits for the store")
            log.settled.clear()
            log.settled.wait()
        if log.fenced:
            raise Fenced(log.turn)
        return self.next_id(log)

    def next_id(self, log: Log) -> str:
        return ids.event(log.epoch or 0, log.number + 1)

    def close(self, log: Log, event_id: str, frame: bytes) -> None:
        """Show the last event, which the store has (or, in an outage, will have) from `finish`."""
        log.take(_place(event_id), events.with_id(event_id, frame))
        self._send_to_mirrors([(log, event_id, frame)])
        self._forget(log)

    def abandon(self, log: Log) -> None:
        """This process no longer writes the turn: what it knows becomes a mirror of what the next owner writes."""
        log.fenced, log.epoch = True, None
        log.pending.clear()
        log.settled.set()
        self._forget(log)

    def _queue(self, log: Log) -> None:
        log.queued = True
        self._dirty.append(log)
        self._wake.set()

    def _write_on(self) -> None:
        """The scribe's life. A mistake in one write must not silence every answer of the process."""
        while True:
            self._wake.wait()
            self._pace()
            self._wake.clear()
            self._hurry.clear()
            self._wrote_at = self._clock()
            try:
                self._write_down()
            except Exception as error:
                tell("scribe_failed", level="error", error=error)

    def _pace(self) -> None:
        """Alone, a word goes out at once; in a crowd, what comes within PACE_S goes out together, but first words."""
        early = self._wrote_at + PACE_S - self._clock()
        if early > 0 and not self._hurry.wait(early):
            return
        early = self._wrote_at + HURRY_S - self._clock()
        if early > 0:
            gevent.sleep(early)

    def _write_down(self) -> None:
        """What all answers have to say, into the store and then to the followers."""
        batch, self._dirty = self._dirty, []
        entries = [entry for log in batch for entry in self._take(log)]
        if self._behind:
            self._fall_behind(entries)
            return
        try:
            self._commit(entries, self._append(entries))
            self._lag(self._clock() - self._wrote_at)
        except StoreUnavailable:
            self._fall_behind(entries)
            gevent.spawn(self._catch_up)

    def _fall_behind(self, entries: list[_Entry]) -> None:
        """Those who watch go on reading; the journal is caught up when the store is back."""
        self._behind += entries
        self._show(entries)
        for log, *_ in entries:
            log.settled.set()

    def _take(self, log: Log) -> list[_Entry]:
        """What a log has to write, framed and numbered."""
        pending, log.pending, log.queued = log.pending, [], False
        if log.fenced or log.epoch is None:
            return []
        entries: list[_Entry] = []
        for item in pending:
            log.number += 1
            frame = events.text_frame(item) if isinstance(item, str) else item
            entries.append((log, log.epoch * _EPOCH + log.number, f"{log.epoch}-{log.number}", frame))
        log.in_flight += len(entries)
        return entries

    def _append(self, entries: list[_Entry]) -> list[bool]:
        return self._store.append([(log.stream, event_id, frame) for log, _, event_id, frame in entries])

    def _commit(self, entries: list[_Entry], written: list[bool]) -> None:
        for entry, fine in zip(entries, written, strict=True):
            if not fine:
                entry[0].fenced = True
        self._show(entries)
        self._land(entries)

    def _show(self, entries: list[_Entry]) -> None:
        now = self._clock()
        for log, place, event_id, frame in entries:
            if not log.fenced and not frame.startswith(_NOTE):
                log.updated = now
                log.take(place, events.with_id(event_id, frame))
        self._send_to_mirrors([(log, at, frame) for log, _, at, frame in entries if log.mirrors and not log.fenced])

    def _land(self, entries: list[_Entry]) -> None:
        for log, *_ in entries:
            log.in_flight -= 1
            if log.fenced or not (log.in_flight or log.pending):
                log.settled.set()

    def _catch_up(self) -> None:
        """Write what was shown during an outage. An entry may have been written by an attempt whose reply was lost, so
        a refusal alone is no fence: the stream's last epoch decides; or that there is no stream any more."""
        while self._behind:
            gevent.sleep(BEHIND_AGAIN_S)
            entries = list(self._behind)
            try:
                for (log, *_), fine in zip(entries, self._append(entries), strict=True):
                    log.fenced = log.fenced or (not fine and self._outranked(log))
            except StoreUnavailable:
                continue
            del self._behind[: len(entries)]
            self._land(entries)

    def _outranked(self, log: Log) -> bool:
        newest = self._store.do("XREVRANGE", log.stream, "+", "-", "COUNT", 1)
        return not newest or log.epoch is None or ids.parse_event(newest[0][0].decode())[0] > log.epoch

    # -- following -------------------------------------------------------------------------------------------------

    def follow(self, site: str, turn: str, after: str = "") -> Iterator[bytes]:
        """The bytes of a turn's stream after event `after` ("" for all), live to its end, with heartbeats.

        The subscription is made before the first event is asked for, so that nobody counts as not watching.
        Raises StoreUnavailable where the turn is not of this process and the store is away.
        """
        log = self._logs.get(turn)
        if log is None:
            log = self._mirror(site, turn)
        return self._following(log, _place(after) if after else -1)

    def _following(self, log: Log, place: int) -> Iterator[bytes]:
        log.followers += 1
        return _Following(self, log, bisect_right(log.places, place))

    def _leave(self, log: Log) -> None:
        log.followers -= 1
        if not log.followers:
            log.unwatched_since = self._clock()
            self._forget(log)

    def _forget(self, log: Log) -> None:
        """Drop a log that nobody needs: nobody follows it, and nobody here writes it."""
        if not log.followers and (log.ended or log.epoch is None) and self._logs.get(log.turn) is log:
            del self._logs[log.turn]

    def _mirror(self, site: str, turn: str) -> Log:
        log = Log(site, turn, self._clock())
        self._sync(log)
        if not log.ended:
            log = self._logs.setdefault(turn, log)
            self._announce(log)
        return log

    def _sync(self, log: Log) -> None:
        """Read from the stream what this log does not have; of a stream that is gone (its visitor was erased, or the
        store lost it) nothing will come any more."""
        start = "-" if log.last < 0 else f"({log.last // _EPOCH}-{log.last % _EPOCH}"
        entries, there = self._store.many([("XRANGE", log.stream, start, "+"), ("EXISTS", log.stream)])
        for raw_id, fields in entries:
            place, frame = _place(raw_id.decode()), fields[b"f"]
            if place > log.last and not frame.startswith(_NOTE):
                log.take(place, b"id: " + raw_id + b"\n" + frame)
            elif place > log.last:
                log.last = place
                log.notes.append((place, frame.removeprefix(_NOTE)))
        log.updated = self._clock()
        if not there:
            log.let_go()

    def _announce(self, log: Log) -> None:
        owner = self._store.do("HGET", keys.turn(log.site, log.turn), "owner")
        self._store.do("SET", keys.watched(log.site, log.turn), 1, "EX", int(MIRROR_S))
        if owner:
            self._mailbox.send([(owner.decode(), Letter("watch", log.site, log.turn, self._mailbox.worker))])

    def watched_elsewhere(self, log: Log) -> bool:
        """Whether a follower in another worker has announced itself lately."""
        return bool(self._store.do("EXISTS", keys.watched(log.site, log.turn)))

    # -- letters ---------------------------------------------------------------------------------------------------

    def _send_to_mirrors(self, shown: list[tuple[Log, str, bytes]]) -> None:
        letters = [
            (worker, Letter("frame", log.site, log.turn, event_id, frame))
            for log, event_id, frame in shown
            for worker, until in log.mirrors.items()
            if until > self._clock()
        ]
        if letters:
            self._mailbox.send(letters)

    def _on_watch(self, letter: Letter) -> None:
        log = self._logs.get(letter.turn)
        if log and log.epoch is not None:
            log.mirrors[letter.note] = self._clock() + MIRROR_S
            poke = Letter("poke", letter.site, letter.turn)
            gevent.spawn(self._mailbox.send, [(letter.note, poke)])

    def _on_frame(self, letter: Letter) -> None:
        log = self._logs.get(letter.turn)
        if not log or log.epoch is not None:
            return
        place = _place(letter.note)
        if place == log.last + 1:
            log.updated = self._clock()
            if letter.payload.startswith(_NOTE):
                log.last = place
                log.notes.append((place, letter.payload.removeprefix(_NOTE)))
            else:
                log.take(place, events.with_id(letter.note, letter.payload))
        elif place > log.last:
            gevent.spawn(self._try_sync, log)

    def _on_poke(self, letter: Letter) -> None:
        log = self._logs.get(letter.turn)
        if log and log.epoch is None:
            gevent.spawn(self._try_sync, log)

    def _try_sync(self, log: Log) -> None:
        try:
            self._sync(log)
        except StoreUnavailable:
            return  # the next beat tries again

    # -- the process's life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._scribe is None:
            self._scribe = gevent.spawn(self._write_on)

    def stop(self) -> None:
        if self._scribe is not None:
            self._scribe.kill()
            self._scribe = None

    def beat(self) -> list[Log]:
        """Once a second: heartbeats, and mirrors kept honest. Returns the mirrors, whose owners may have died."""
        now = self._clock()
        mirrors = [log for log in list(self._logs.values()) if log.epoch is None]
        for log in list(self._logs.values()):
            if log.followers and now - log.updated > HEARTBEAT_S:
                log.wake()
        for log in mirrors:
            if now - log.updated > 1.0:
                self._try_sync(log)
            if int(now) % int(ANNOUNCE_S) == 0:
                try:
                    self._announce(log)
                except StoreUnavailable:
                    break
        return [log for log in mirrors if not log.ended]

    def let_go(self) -> None:
        """End every follower's response without a last event: the visitors' clients resume at another worker."""
        for log in list(self._logs.values()):
            log.let_go()


class _Following(Iterator[bytes]):
    """One follower's place in a log. Closing it is leaving."""

    __slots__ = ("_at", "_journal", "_left", "_log", "_said")

    def __init__(self, journal: Journal, log: Log, at: int) -> None:
        self._journal, self._log, self._at = journal, log, at
        self._said = journal._clock()
        self._left = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        log = self._log
        while True:
            frames = log.frames
            if self._at < len(frames):
                chunk = frames[self._at] if self._at + 1 == len(frames) else b"".join(frames[self._at :])
                self._at = len(frames)
                self._said = self._journal._clock()
                return chunk
            if log.ended:
                self.close()
                raise StopIteration
            log.arrived.wait()
            if self._at == len(log.frames) and not log.ended and self._journal._clock() - self._said > HEARTBEAT_S:
                self._said = self._journal._clock()
                return events.HEARTBEAT

    def close(self) -> None:
        if not self._left:
            self._left = True
            self._journal._leave(self._log)

    def __del__(self) -> None:
        self.close()
