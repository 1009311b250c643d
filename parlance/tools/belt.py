"""The tools of one turn: what is offered to Claude, and how its calls are carried out.

Calls that come together run together. A call is known by its key, made of the turn, the tool and the arguments: a
worker that takes a turn over finds its predecessor's results under it, and a service finds it in `Idempotency-Key`.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gevent

from parlance import events
from parlance.observe.logs import log
from parlance.tools.schema import canonical, complaints
from parlance.tools.tool import Context, Result, Tool

ROUNDS = 8  # of calls in one turn, then Claude has to answer with what it has
AT_ONCE = 8  # calls in one round

RUNNING, DONE, FAILED = "running", "done", "failed"

Block = Mapping[str, Any]


class Belt:
    """`tell(event, data)` shows the visitor something. `remember(place, result)` keeps a result where `recall(place)`
    finds it again, in another worker too; it returns when the result is safe. Of two tools with one name, the later
    counts: a site's own takes the place of ours. `clock` is monotonic seconds."""

    def __init__(
        self,
        tools: Iterable[Tool],
        *,
        tell: Callable[[str, dict[str, Any]], None],
        recall: Callable[[str], Result | None] = lambda place: None,
        remember: Callable[[str, Result], None] = lambda place, result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._tell, self._recall, self._remember, self._clock = tell, recall, remember, clock
        self._rounds = 0
        self._failures: Counter[str] = Counter()

    def definitions(self) -> list[dict[str, Any]]:
        """The `tools` of a request, always in the same order; [] for none."""
        return [tool.definition() for tool in self._tools.values()]

    @property
    def spent(self) -> bool:
        """Whether the rounds of this turn are used up: what is called from now on is not carried out."""
        return self._rounds >= ROUNDS

    def call(self, blocks: Sequence[Block], context: Context) -> list[dict[str, Any]]:
        """Carry out the `tool_use` blocks of one answer; the `tool_result` blocks for them, in their order.

        What a tool does wrong is a result. What `remember`, `recall` and `tell` raise comes out here, and whoever kills
        the caller stops all of its calls."""
        uses = [block for block in blocks if block.get("type") == "tool_use"]
        too_late, self._rounds = self.spent, self._rounds + 1
        running: dict[str, gevent.Greenlet[..., Result]] = {}
        answers: list[Result | str] = [
            _TOO_LATE if too_late else self._refusal(use) or self._begin(use, context, running) for use in uses
        ]
        try:
            gevent.joinall(list(running.values()))
        finally:
            gevent.killall(list(running.values()), block=False)
        results = [answer if isinstance(answer, Result) else running[answer].get() for answer in answers]
        self._failures.update(key for key, call in running.items() if call.get().is_error)
        return [_block(use, result) for use, result in zip(uses, results, strict=True)]

    def _refusal(self, use: Block) -> Result | None:
        """Why a call is not carried out, in words by which Claude can mend it."""
        tool = self._tools.get(use["name"])
        if tool is None:
            names = ", ".join(self._tools)
            return Result.failed(f"There is no tool `{use['name']}`.", f"There are: {names}.")
        try:
            wrong = complaints(tool.input_schema, use.get("input"))
        except Exception as error:  # of the schema itself, such as a reference that leads nowhere or in circles
            log("tool_broke", level="error", error=error, tool=tool.name)
            return _BROKEN
        return Result.failed(f"The arguments do not fit: {'; '.join(wrong)}.", _MEND) if wrong else None

    def _begin(self, use: Block, context: Context, running: dict[str, gevent.Greenlet[..., Result]]) -> Result | str:
        """Start a call, unless the same one has just been started; the key by which its result will be found."""
        tool = self._tools[use["name"]]
        key = call_key(context.turn, tool.name, use["input"])
        if key not in running:
            if len(running) >= AT_ONCE:
                return _TOO_MANY
            running[key] = gevent.spawn(self._carry_out, tool, use, replace(context, call=key))
        return key

    def _carry_out(self, tool: Tool, use: Block, context: Context) -> Result:
        """One call: its recorded result, or a new one, recorded before anyone is told of it."""
        place = self._place(context.call)
        result = self._recall(place)
        if result is None:
            self._show(tool, use, context, RUNNING)
            result = self._run(tool, use["input"], context)
            self._remember(place, result)
        self._show(tool, use, context, FAILED if result.is_error else DONE)
        for event, data in result.shows:
            self._tell(event, data)
        return result

    def _place(self, key: str) -> str:
        """Where a result is recorded. A success is for the whole turn; after a failure Claude may try the same call
        again, and each try has a place of its own, so that a takeover goes the same way once more."""
        return f"{key}.{self._failures[key]}"

    def _run(self, tool: Tool, arguments: Mapping[str, Any], context: Context) -> Result:
        began = self._clock()
        try:
            result = tool.run(arguments, context)
        except Exception as error:
            log("tool_broke", level="error", error=error, **_names(tool, context))
            result = _BROKEN
        took = round((self._clock() - began) * 1000)
        log("tool_called", failed=result.is_error, duration_ms=took, **_names(tool, context))
        return result

    def _show(self, tool: Tool, use: Block, context: Context, state: str) -> None:
        if label := tool.label_for(context.locale):
            self._tell(events.TOOL, {"id": use["id"], "label": label, "state": state})


def call_key(turn: str, tool: str, arguments: Any) -> str:
    """The same for the same call of the same turn, for ever; nobody can tell the arguments from it."""
    return hashlib.sha256(canonical([turn, tool, arguments]).encode()).hexdigest()[:32]


_BROKEN = Result.failed("The tool does not work at the moment.")
_MEND = "Mend them and call again; if something is missing, ask the visitor for it."
_TOO_LATE = Result.failed(
    "No more tools in this answer.", "Answer with what you have, and say what you could not find out."
)
_TOO_MANY = Result.failed(f"Not carried out: at most {AT_ONCE} calls at once.", "Call again if it is still needed.")


def _block(use: Block, result: Result) -> dict[str, Any]:
    error = {"is_error": True} if result.is_error else {}
    return {"type": "tool_result", "tool_use_id": use["id"], "content": result.content, **error}


def _names(tool: Tool, context: Context) -> dict[str, Any]:
    return {
        "site": context.site,
        "conversation": context.conversation,
        "turn": context.turn,
        "tool": tool.name,
        "key": context.call,
    }
