"""What an upstream call leaves behind: its ledger row, its figures, its log line; and, while it runs, a note in the
turn's record, from which a takeover can book the call of a worker that died."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import gevent

from parlance import events
from parlance.claude.loop import LETTERS_A_TOKEN, Call
from parlance.claude.models import Catalogue, Usage
from parlance.conversations import stamp
from parlance.errors import StoreUnavailable
from parlance.ledger import Ledger, Row
from parlance.limits import TURN_S
from parlance.observe.logs import log
from parlance.observe.metrics import Metrics
from parlance.runner import Task
from parlance.site import Site
from parlance.store import keys
from parlance.store.client import Store

LOST = "worker_lost"


class Booking:
    """`wall` is seconds since the epoch."""

    def __init__(
        self, store: Store, ledger: Ledger, models: Catalogue, metrics: Metrics, worker: str, wall: Callable[[], float]
    ) -> None:
        self._store, self._ledger, self._models, self._metrics = store, ledger, models, metrics
        self._worker, self._wall = worker, wall

    def open(self, site: Site, task: Task, call: Call) -> None:
        """A call is about to be made."""
        task.call, task.voice_version = call, site.version
        self._note(task, call)

    def update(self, task: Task, call: Call) -> None:
        """Its first word has come, and with it what the input cost."""
        self._note(task, call)

    def close(self, site: Site, task: Task, call: Call) -> None:
        """A call has ended, one way or another."""
        row = self._row(task, call, site.version)
        self._ledger.record(row)
        self._count(row, call)

    def close_lost(self, site: Site, task: Task) -> None:
        """Book the call that the turn's former owner did not live to book: its input as far as it was told, its output
        by what the journal has of it. Marked as estimated."""
        noted = task.record.pop("call", "")
        if not noted:
            return
        row = Row(**json.loads(noted))
        written = map(events.parse_sent, task.log.frames)
        said = sum(len(data["text"]) for event, data in written if event == events.TEXT) // LETTERS_A_TOKEN
        usage = Usage(
            row.input_tokens,
            row.cache_write_5m_tokens,
            row.cache_write_1h_tokens,
            row.cache_read_tokens,
            max(row.output_tokens, said),
        )
        cost = self._models.find(row.model).cost(usage, self._wall())
        self._ledger.record(
            replace(row, output_tokens=usage.output, cost_nano_usd=cost, error_class=LOST, estimated=True)
        )

    def _note(self, task: Task, call: Call) -> None:
        """Into the turn's record, and not waited for: the call does not begin later for it."""
        noted = self._row(task, call, task.voice_version).to_json()
        gevent.spawn(self._keep, keys.turn(task.site, task.turn), noted)

    def _keep(self, place: str, noted: str) -> None:
        try:
            # A record that was erased meanwhile must not come back for good.
            self._store.many([("HSET", place, "call", noted), ("EXPIRE", place, TURN_S, "NX")])
        except StoreUnavailable:
            return  # then a crash in this very outage books the call without its figures

    def _row(self, task: Task, call: Call, voice_version: int) -> Row:
        usage = call.usage
        return Row(
            call=call.id,
            at=stamp(call.at),
            site=task.site,
            conversation=task.record["conversation"],
            turn=task.turn,
            model=call.model.id,
            voice_version=voice_version,
            input_tokens=usage.input,
            cache_write_5m_tokens=usage.write_5m,
            cache_write_1h_tokens=usage.write_1h,
            cache_read_tokens=usage.read,
            output_tokens=usage.output,
            cost_nano_usd=call.model.cost(usage, call.at),
            first_token_ms=_ms(call.first_token),
            duration_ms=_ms(call.duration),
            stop_reason=call.stop_reason,
            retries=call.retries,
            error_class=call.error,
            upstream_request_id=call.request_id,
            estimated=call.estimated,
        )

    def _count(self, row: Row, call: Call) -> None:
        site, model = row.site, row.model
        tokens = {
            "input": row.input_tokens,
            "cache_write_5m": row.cache_write_5m_tokens,
            "cache_write_1h": row.cache_write_1h_tokens,
            "cache_read": row.cache_read_tokens,
            "output": row.output_tokens,
        }
        for kind, count in tokens.items():
            if count:
                self._metrics.tokens(site, model, kind, count)
        self._metrics.cost(site, model, row.cost_nano_usd)
        self._metrics.upstream_call(model, row.error_class or row.stop_reason, call.duration)
        if row.error_class and call.error not in ("cancelled", "unwatched", "fenced", "handover"):
            self._metrics.upstream_error(model, row.error_class)
        log(
            "upstream_call",
            level="warning" if row.error_class else "info",
            worker=self._worker,
            **{name: value for name, value in asdict(row).items() if value not in ("", -1)},
        )


def _ms(seconds: float) -> int:
    return -1 if seconds < 0 else round(seconds * 1000)
