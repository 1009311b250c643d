"""The tools of a turn: ours and the site's, tied to the turn's journal, which remembers their results.

A result goes into the journal before Claude hears of it. So a worker that takes the turn over finds it there, and a
tool that has run is not run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from parlance.conversations import stamp
from parlance.errors import StoreUnavailable
from parlance.journal import Journal
from parlance.knowledge.library import Shelf
from parlance.observe.logs import log
from parlance.runner import Task
from parlance.site import Site
from parlance.store import keys
from parlance.store.client import Store
from parlance.tools import ask_for_person, http, leave_message, search, suggest_replies
from parlance.tools.belt import Belt
from parlance.tools.inbox import Inbox
from parlance.tools.tool import Context, Result, Tool
from parlance.voice.render import left_out
from parlance.web.outbound import Outbound

NOTE = b"tool "  # `tool <place> <result as JSON>`


class Toolbox:
    """`secret(name)` resolves the name in a `${secret:NAME}`. `wall` is seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        shelf: Shelf,
        outbound: Outbound,
        secret: Callable[[str], str | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._shelf, self._outbound, self._secret, self._wall = journal, shelf, outbound, secret, wall
        self.leads, self.wishes = Inbox(store, keys.leads), Inbox(store, keys.wishes)
        self._tools: dict[tuple[str, int], list[Tool]] = {}

    def tools(self, site: Site) -> list[Tool]:
        """What a site's answers may use, made once for each version: the definitions begin the cached prompt. The
        search is among them where the library is too large to stand in the prompt."""
        version = (site.key, site.version)
        if version not in self._tools:
            self._tools = {kept: tools for kept, tools in self._tools.items() if kept[0] != site.key}
            self._tools[version] = [*self._ours(site), *http.declared(site, self._outbound, self._secret)]
        return self._tools[version]

    def _ours(self, site: Site) -> list[Tool]:
        everywhere = [leave_message.tool(self.leads), ask_for_person.tool(self.wishes), suggest_replies.tool()]
        if not left_out(site):
            return everywhere
        return [search.tool(lambda question, k: self._shelf.best(site, question, k)), *everywhere]

    def definitions(self, site: Site) -> list[dict[str, Any]]:
        return [tool.definition() for tool in self.tools(site)]

    def lay_out(self, site: Site, task: Task) -> InUse:
        """The tools for one turn, with the results that a former owner of the turn has left."""
        return InUse(self.tools(site), self._journal, site, task, stamp(self._wall()))

    def erase(self, site: str, visitor: str) -> int:
        """Remove what a visitor has left; how much that was. To be called when the visitor's record is gone."""
        return self.leads.erase(site, visitor) + self.wishes.erase(site, visitor)


class InUse:
    """The tools of one turn, as the loop sees them. Its belt knows nothing of it: in a circle of the two, the turn's
    whole log would outlive the turn until the next garbage collection."""

    def __init__(self, tools: Sequence[Tool], journal: Journal, site: Site, task: Task, at: str) -> None:
        results = dict(_recorded(note) for _, note in task.log.notes if note.startswith(NOTE))
        self._belt = Belt(
            tools,
            tell=partial(journal.write, task.log),
            recall=results.get,
            remember=partial(_remember, journal, task, results),
        )
        self._context = Context(
            site=site.key,
            turn=task.turn,
            conversation=task.record["conversation"],
            visitor=task.record["visitor"],
            locale=task.record["locale"] or site.locale,
            at=at,
            deadline=task.deadline,
        )

    @property
    def spent(self) -> bool:
        return self._belt.spent

    def definitions(self) -> Sequence[dict[str, Any]]:
        return self._belt.definitions()

    def use(self, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._belt.call(blocks, self._context)


def _remember(journal: Journal, task: Task, results: dict[str, Result], place: str, result: Result) -> None:
    """Into the journal, and wait until it is there. In an outage the turn goes on without: its viewers wait."""
    results[place] = result
    journal.note(task.log, f"{NOTE.decode()}{place} {result.to_json()}")
    try:
        journal.settle(task.log)
    except StoreUnavailable as error:
        log("tool_result_not_kept", level="warning", error=error, **task.names)


def _recorded(note: bytes) -> tuple[str, Result]:
    place, _, text = note.removeprefix(NOTE).partition(b" ")
    return place.decode(), Result.from_json(text)
