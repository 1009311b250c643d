"""How a turn ends: the last event, the transcript's message, the freed lease, all in one step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import gevent

from parlance import events, phrases
from parlance.claude.loop import Ended
from parlance.conversations import ASSISTANT, NOTICE, Message, stamp
from parlance.errors import Fenced, StoreUnavailable
from parlance.journal import Journal
from parlance.knowledge.library import Shelf
from parlance.knowledge.unanswered import Found, Unanswered, UnansweredQuestions
from parlance.limits import ENDED_JOURNAL_S
from parlance.observe.logs import log
from parlance.observe.metrics import Metrics
from parlance.runner import CANCELLED, FENCED, Task
from parlance.site import Site
from parlance.store import keys
from parlance.store.client import Store

FINISH_AGAIN_S = 0.5
NO_MODEL = ("overloaded", "unavailable")
PASSAGES = 3
PASSAGE_CHARS = 600
LISTED = 3
QUESTION_WORDS = 3  # less is a greeting or thanks
COVERED = 0.3  # of the question's words, by weight: below that, the site's texts do not speak of it


class Endings:
    """`clock` is monotonic seconds, `wall` seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        metrics: Metrics,
        shelf: Shelf,
        unanswered: UnansweredQuestions,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._journal, self._metrics = store, journal, metrics
        self._shelf, self._unanswered = shelf, unanswered
        self._clock, self._wall = clock, wall

    def finish(self, site: Site, task: Task, ended: Ended) -> None:
        """The last event, the transcript and the freed lease, in one step; again and again while the store is away."""
        if task.stop.reason == FENCED:
            raise Fenced(task.turn)
        state, event, data, message = self._outcome(site, task, ended)
        frame = events.frame(event, data)
        shown = False
        while True:
            try:
                event_id = self._journal.settle(task.log)
                finished = self._write_end(site, task, state, event_id, frame, message)
                break
            except StoreUnavailable:
                if not shown:  # who watches need not wait for the store
                    shown = True
                    self._journal.close(task.log, self._journal.next_id(task.log), frame)
                gevent.sleep(FINISH_AGAIN_S)
        if not shown:
            if not finished:
                raise Fenced(task.turn)
            self._journal.close(task.log, event_id, frame)
        if len(task.asked.split()) >= QUESTION_WORDS and (site.knowledge or site.voice.faqs):
            self._note_unanswered(site, task)
        self._metrics.turn_ended(state)
        if state != events.COMPLETE:
            log("turn_ended", state=state, code=ended.code or ended.stop_reason, **task.names)

    def _outcome(self, site: Site, task: Task, ended: Ended) -> tuple[str, str, dict[str, object], Message]:
        """How a turn ended, in the four forms that somebody needs: state, event, its data, the transcript's message."""
        answer, now = task.record["answer"], stamp(self._wall())
        if ended.code:
            detail = phrases.sentence(
                ended.words or ended.code,
                fallbacks=site.fallbacks,
                site_locale=site.locale,
                language=task.record["locale"],
                name=site.name,
                retry_after=None,
            )
            data: dict[str, object] = {"code": ended.code, "detail": detail, "retry": ended.retry}
            if ended.retry_after is not None:
                data["retry_after"] = math.ceil(ended.retry_after)
            if ended.code in NO_MODEL and (passages := self._passages(site, task)):
                data["passages"] = passages
            notice = Message(answer, NOTICE, detail, now, turn=task.turn, code=ended.code)
            return events.FAILED, events.ERROR, data, notice
        state = _state(ended)
        data = {"message": answer, "state": state, "stop_reason": ended.stop_reason, "text": ended.text}
        sources = tuple(source.data() for source in ended.sources)
        said = Message(answer, ASSISTANT, ended.text, now, state=state, turn=task.turn, sources=sources)
        return state, events.DONE, data, said

    def _passages(self, site: Site, task: Task) -> list[dict[str, str]]:
        """What the site's own texts say about a question that no model has answered."""
        found = self._shelf.best(site, task.asked, PASSAGES) if task.asked else []
        return [
            {"title": passage.title, "text": _short(passage.text)} | ({"url": passage.url} if passage.url else {})
            for passage in found
        ]

    def _note_unanswered(self, site: Site, task: Task) -> None:
        """Keep a question of which the site's texts know little: its owner may want to write about it."""
        hits = self._shelf.search(site, task.asked, LISTED)
        if max((hit.covers for hit in hits), default=0.0) >= COVERED:
            return
        question = Unanswered(
            at=int(self._wall() * 1000),
            visitor=task.record["visitor"],
            conversation=task.record["conversation"],
            message=task.record["question"],
            text=task.asked,
            language=task.record["locale"],
            searched=(task.asked,),
            found=tuple(Found.of(hit) for hit in hits),
        )
        with contextlib.suppress(StoreUnavailable):
            self._unanswered.record(site.key, question, site.privacy.retain_days)

    def _write_end(self, site: Site, task: Task, state: str, event_id: str, frame: bytes, message: Message) -> bool:
        record, key = task.record, site.key
        place = [
            keys.turn(key, task.turn),
            keys.events(key, task.turn),
            keys.leases(key),
            keys.conversation(key, record["conversation"]),
            keys.messages(key, record["conversation"]),
            keys.message_order(key, record["conversation"]),
            keys.visitor_asked(key, record["visitor"]),
            keys.feedback(key, record["conversation"]),
        ]
        args = [
            task.turn,
            task.epoch,
            state,
            event_id,
            frame,
            ENDED_JOURNAL_S,
            site.privacy.retain_days * 86_400,
            message.id,
            message.to_json(),
            record["question"],
            int(state == events.FAILED),
        ]
        return bool(self._store.run("finish", place, args))


def _state(ended: Ended) -> str:
    if ended.complete:
        return events.COMPLETE
    return events.CANCELLED if ended.stop_reason == CANCELLED else events.INTERRUPTED


def _short(text: str) -> str:
    """The beginning of a passage, up to the end of a word."""
    return text if len(text) <= PASSAGE_CHARS else text[:PASSAGE_CHARS].rsplit(None, 1)[0] + " …"
