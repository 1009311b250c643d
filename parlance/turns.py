"""ONE VISITOR MESSAGE, from its admission to its last event. docs/walk.md walks along here.

`begin` is called by the door: it admits the message and starts the turn. `_run` is what the turn does, in a greenlet of
its own: recall, ask, write every event into the journal, finish. Whoever watches, from wherever, reads the journal.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import gevent

from parlance import events, ids
from parlance.booking import Booking
from parlance.budgets import Allowance, Budgets
from parlance.claude.loop import UNLIMITED, Call, Claude, Ended, Opening, Reset, Source, Text, Unlimited
from parlance.claude.models import UnknownPrice
from parlance.conversations import ASSISTANT, VISITOR, Conversations, Message, Receipt, remembered, stamp
from parlance.endings import Endings
from parlance.errors import Fenced, MessageTooLong, NotFound, StoreUnavailable, Unavailable
from parlance.journal import Journal
from parlance.knowledge.unanswered import UnansweredQuestions
from parlance.limits import Limits
from parlance.limits import Message as Asking
from parlance.observe.logs import log
from parlance.observe.metrics import Metrics
from parlance.questions import Questions
from parlance.runner import CANCELLED, FENCED, HANDOVER, Runner, Task
from parlance.site import Site
from parlance.sites.library import Library
from parlance.store import keys
from parlance.store.client import Store
from parlance.toolbox import Toolbox
from parlance.visitors import Session

LAST_EPOCH = 4  # a turn that has outlived so many workers is not begun again: it may be what kills them
CANCEL_S = 2.0  # how long a cancel waits to see the end that it caused
CANCEL_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Begun:
    """An admitted message: its turn, the header fields that tell of limits, and the answer's stream."""

    turn: str
    headers: Mapping[str, str]
    stream: Iterator[bytes]


class Turns:
    """`clock` is monotonic seconds, `wall` seconds since the epoch."""

    def __init__(
        self,
        *,
        store: Store,
        sites: Library,
        conversations: Conversations,
        limits: Limits,
        journal: Journal,
        runner: Runner,
        questions: Questions,
        toolbox: Toolbox,
        unanswered: UnansweredQuestions,
        claude: Claude,
        booking: Booking,
        endings: Endings,
        budgets: Budgets,
        metrics: Metrics,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._sites, self._conversations = store, sites, conversations
        self._limits, self._journal, self._runner = limits, journal, runner
        self._questions, self._claude, self._booking, self._endings = questions, claude, booking, endings
        self._toolbox, self._unanswered = toolbox, unanswered
        self._budgets, self._metrics = budgets, metrics
        self._deadline_s, self._clock, self._wall = deadline_s, clock, wall
        runner.adopt = self._adopt

    # -- from the door ---------------------------------------------------------------------------------------------

    def begin(
        self,
        site: Site,
        session: Session,
        *,
        conversation: str,
        id: str,
        text: str,
        ip: str,
        page: Mapping[str, str] | None,
    ) -> Begun:
        """Admit a visitor's message and start its turn; or join the turn that the same message id began before.

        The answer's first event is in the journal when this returns, and nothing has been asked of Claude yet.
        Raises MessageTooLong, SessionExpired, NotFound, Busy, RateLimited, BudgetExhausted, Unavailable (the model has
        no price today), StoreUnavailable.
        """
        if len(text) > site.limits.message_chars:
            raise MessageTooLong(f"{len(text)} characters of {site.limits.message_chars}")
        began = self._clock()
        turn, answer = ids.turn(), ids.message()
        said = Message(id, VISITOR, text, stamp(self._wall()), turn=turn, page=page)
        start = events.frame(events.START, {"turn": turn, "conversation": conversation, "message": answer})
        call = ids.call() if site.budgets.any else ""
        record: dict[str, str | int] = {
            "visitor": session.visitor,
            "conversation": conversation,
            "question": id,
            "answer": answer,
            "locale": session.locale,
            "epoch": 0,
            "state": events.RUNNING,
            "owner": self._runner.worker,
        }
        asking = Asking(
            visitor=session.visitor,
            issued_ms=session.issued_ms,
            conversation=conversation,
            id=id,
            ip=ip,
            stored=said.to_json(),
            start=start,
            turn=turn,
            record=record,
            call=call,
            **self._holds(site, {"text": text, "page": page}),
        )
        admitted = self._limits.admit(site, asking)
        if admitted.joined:
            return Begun(admitted.turn, {}, self._replay(site.key, session.visitor, admitted.turn))
        record |= {"id": turn, "soft": int(admitted.soft)}
        held = {call: asking.soft_hold if admitted.soft else asking.hold} if call else {}
        task = self._task(site, {name: str(value) for name, value in record.items()}, start, began, held)
        task.remembered = remembered(admitted.remembered)
        self._runner.start_task(task, self._run)
        return Begun(turn, admitted.headers, self._journal.follow(site.key, turn))

    def _holds(self, site: Site, message: object) -> dict[str, int]:
        """What the first call holds, and what it holds in the soft stage; nothing where there is no budget."""
        try:
            now = self._wall()
            if not site.budgets.any:
                self._questions.check_prices(site, now)
                return {}
            return {
                "hold": self._questions.most(site, message, now),
                "soft_hold": self._questions.most(site, message, now, soft=True),
            }
        except UnknownPrice as error:
            raise Unavailable(str(error)) from error

    def events(self, site: str, visitor: str, turn: str, after: str) -> Iterator[bytes]:
        """A turn's stream after an event id ("" for all of it). Raises NotFound, StoreUnavailable."""
        self._check(site, visitor, turn)
        if not self._store.do("EXISTS", keys.events(site, turn)):
            raise NotFound("the turn ended long ago; the transcript has its answer")
        return self._journal.follow(site, turn, after)

    def cancel(self, site: str, visitor: str, turn: str) -> str:
        """Stop a turn, and return the state that it ended in; `running` where its worker takes its time.

        Raises NotFound, StoreUnavailable.
        """
        state = self._check(site, visitor, turn)
        if state == events.RUNNING:
            self._runner.cancel(site, turn)
            give_up = self._clock() + CANCEL_S
            while state == events.RUNNING and self._clock() < give_up:
                gevent.sleep(CANCEL_LOOK_S)
                state = self._check(site, visitor, turn)
        return state

    def erase(self, site: str, visitor: str) -> Receipt:
        """Erase a visitor, what is being answered to them included: it is stopped first, and leaves nothing."""
        current = self._conversations.current(site, visitor)
        if current and current.turn:
            self.cancel(site, visitor, current.turn)
        receipt = self._conversations.erase(site, visitor)
        left = self._toolbox.erase(site, visitor) + self._unanswered.erase(site, visitor)
        return replace(receipt, left=left)

    def _check(self, site: str, visitor: str, turn: str) -> str:
        """The state of a turn of this visitor's. Raises NotFound for any other."""
        owner, state = self._store.do("HMGET", keys.turn(site, turn), "visitor", "state")
        if owner is None or owner.decode() != visitor:
            raise NotFound("no such turn of this visitor")
        return str(state.decode())

    def _replay(self, site: str, visitor: str, turn: str) -> Iterator[bytes]:
        """The stream that a repeated message joins: the journal, or, when that is gone, what the transcript kept."""
        if self._store.do("EXISTS", keys.events(site, turn)):
            return self._journal.follow(site, turn)
        conversation = self._conversations.current(site, visitor)
        for message in conversation.messages if conversation else ():
            if message.turn == turn and message.role == ASSISTANT and conversation:
                return iter(_retold(message, conversation.id))
        raise NotFound("the turn is not kept any more")

    # -- the turn --------------------------------------------------------------------------------------------------

    def _task(
        self, site: Site, record: dict[str, str], frame: bytes, began: float, held: dict[str, int] | None = None
    ) -> Task:
        """`held` is what admission holds for the first call. Who takes a turn over holds anew: the money of a worker
        that died stays with what that worker may have spent."""
        return Task(
            site=site.key,
            turn=record["id"],
            epoch=int(record["epoch"]),
            log=self._journal.open(site.key, record["id"], int(record["epoch"]), frame),
            deadline=began + self._deadline_s,
            unwatched_s=site.privacy.unwatched_seconds,
            record=record,
            began=began,
            allowance=self._allowance(site, record, held or {}),
        )

    def _allowance(self, site: Site, record: dict[str, str], held: dict[str, int]) -> Allowance | Unlimited:
        if not site.budgets.any:
            return UNLIMITED
        return Allowance(self._budgets, site, record["id"], int(record["epoch"]), record["visitor"], held)

    def _adopt(self, site_key: str, record: dict[str, str], frame: bytes) -> None:
        """Go on with a turn that was taken over from a worker that died, or gave it up."""
        self._metrics.takeover()
        site = self._sites.get(site_key)
        self._runner.start_task(self._task(site, record, frame, self._clock()), self._run)

    def _run(self, task: Task) -> None:
        """A turn's life. Whatever happens, the turn ends: with its answer, with an error event, or in other hands."""
        site = self._sites.get(task.site)
        try:
            ended = self._ended(site, task)
            if ended.stop_reason == HANDOVER:
                self._runner.release(task)
                self._journal.abandon(task.log)
            else:
                self._endings.finish(site, task, ended)
        except Fenced:
            self._journal.abandon(task.log)

    def _ended(self, site: Site, task: Task) -> Ended:
        """How the turn ended, our own faults included."""
        try:
            self._booking.close_lost(task)
            return self._answer(site, task)
        except Fenced:
            raise
        except (StoreUnavailable, UnknownPrice):
            return _failed("unavailable")
        except Exception as error:
            log("turn_failed", level="error", error=error, **task.names)
            return _failed("interrupted")

    def _answer(self, site: Site, task: Task) -> Ended:
        """Ask Claude, and write what happens into the journal as it happens."""
        if task.epoch > LAST_EPOCH:
            return _failed("interrupted")
        for step in self._claude.answer(self._questions.put(site, task), task.stop):
            if isinstance(step, Text):
                self._journal.text(task.log, step.text)
                if task.heard is not task.call:
                    gevent.spawn(self._note_first_text, task, *self._heard(task))
            elif isinstance(step, Reset):
                self._journal.write(task.log, events.RESET, {"reason": step.reason})
            elif isinstance(step, Source):
                self._journal.write(task.log, events.SOURCE, step.data())
            elif isinstance(step, Opening):
                self._booking.open(site, task, step.call)
                if step.call.retries or task.epoch:
                    self._make_sure(task)
            elif isinstance(step, Call):
                self._booking.close(site, task, step)
            else:
                return _worth_keeping(step)
        raise AssertionError("an answer without an end")

    def _make_sure(self, task: Task) -> None:
        """Wait until it is noted that a call is made, so that no death of this worker leaves it unbooked. The first
        call does not wait: it is what the visitor waits for, and its note is on its way before the request is."""
        with contextlib.suppress(StoreUnavailable):
            self._journal.settle(task.log)

    def _heard(self, task: Task) -> tuple[Call, bool, float]:
        """The call that has said its first word, whether it is the turn's first too, and how long that took."""
        assert task.call is not None
        first, task.heard = task.heard is None and task.epoch == 0, task.call
        return task.call, first, self._clock() - task.began

    def _note_first_text(self, task: Task, call: Call, first: bool, took: float) -> None:
        """Beside the answer, so that its first word does not wait for it."""
        self._booking.update(task, call)
        if first:
            self._metrics.first_text(task.site, took)
            if call.retries == 0:
                self._metrics.added_latency(max(0.0, took - call.first_token))


def _failed(code: str) -> Ended:
    return Ended("", "error", complete=False, code=code, retry=True)


def _worth_keeping(ended: Ended) -> Ended:
    """An answer that was broken off before its first word is none; unless it was the visitor who wanted no more."""
    if ended.text or ended.code or ended.stop_reason in (CANCELLED, HANDOVER, FENCED):
        return ended
    return _failed("interrupted")


def _retold(message: Message, conversation: str) -> Iterator[bytes]:
    """A finished answer as a stream, from what the transcript kept of it."""
    start = {"turn": message.turn, "conversation": conversation, "message": message.id}
    done = {"message": message.id, "state": message.state, "stop_reason": "end_turn", "text": message.text}
    sources = [events.frame(events.SOURCE, source) for source in message.sources]
    frames = [events.frame(events.START, start), events.text_frame(message.text), *sources]
    for number, frame in enumerate([*frames, events.frame(events.DONE, done)], start=1):
        yield events.with_id(f"0-{number}", frame)
