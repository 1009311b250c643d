"""What an upstream call leaves behind: its ledger row, its figures, its log line; and, while it runs, a note in the
turn's journal, from which a takeover can book the call of a worker that died."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from parlance import events
from parlance.claude.loop import LETTERS_A_TOKEN, Call
from parlance.claude.models import Catalogue, Usage
from parlance.conversations import stamp
from parlance.journal import Journal
from parlance.ledger import LOST, Ledger, Row
from parlance.observe.logs import log
from parlance.observe.metrics import Metrics
from parlance.runner import Task
from parlance.site import Site

NOTE = b"call "  # `call <row as JSON>`


class Booking:
    """`wall` is seconds since the epoch."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        models: Catalogue,
        metrics: Metrics,
        worker: str,
        wall: Callable[[], float],
    ) -> None:
        self._journal, self._ledger, self._models, self._metrics = journal, ledger, models, metrics
        self._worker, self._wall = worker, wall

    def open(self, site: Site, task: Task, call: Call) -> None:
        """A call is about to be made."""
        task.call, task.voice_version = call, site.version
        self.update(task, call)

    def update(self, task: Task, call: Call) -> None:
        """What is known of a call by now: at its first word, what the input cost."""
        self._journal.note(task.log, NOTE.decode() + self._row(task, call, task.voice_version).to_json())

    def close(self, site: Site, task: Task, call: Call) -> None:
        """A call has ended, one way or another."""
        row = self._row(task, call, site.version)
        self._ledger.record(row)
        self._count(row, call)

    def close_lost(self, task: Task) -> None:
        """Book the calls that former owners of the turn began. What they lived to book themselves stays as it is; of
        the rest, the input is as far as they were told, the output by what the journal has of it."""
        begun: dict[str, tuple[int, Row]] = {}  # by call: where it began, and what was known of it last
        for place, note in task.log.notes:
            if not note.startswith(NOTE):
                continue
            row = Row.from_json(note.removeprefix(NOTE))
            begun[row.call] = begun.get(row.call, (place, row))[0], row
        ends = [*(place for place, _ in begun.values()), task.log.last]
        for (place, row), end in zip(begun.values(), ends[1:], strict=True):
            self._ledger.record(self._lost(row, task.log.between(place, end)))
        task.log.notes[:] = [note for note in task.log.notes if not note[1].startswith(NOTE)]

    def _lost(self, row: Row, frames: Iterable[bytes]) -> Row:
        written = map(events.parse_sent, frames)
        said = sum(len(data["text"]) for event, data in written if event == events.TEXT) // LETTERS_A_TOKEN
        usage = Usage(
            row.input_tokens,
            row.cache_write_5m_tokens,
            row.cache_write_1h_tokens,
            row.cache_read_tokens,
            max(row.output_tokens, said),
        )
        cost = self._models.find(row.model).cost(usage, self._wall())
        return replace(row, output_tokens=usage.output, cost_nano_usd=cost, error_class=LOST, estimated=True)

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
