"""Whether the store is fit for use: reachable, and forbidden to evict what was promised to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from parlance.errors import ParlanceError


class Answers(Protocol):
    def do(self, *command: Any) -> Any: ...


def store_problems(store: Answers) -> dict[str, str | None]:
    """What is wrong with the store, by the name of the check; None where all is well. Details are for the log."""
    try:
        policies = _policies(store.do("INFO", "memory"))
    except ParlanceError as error:
        return {"store": str(error), "eviction policy": "unknown while the store is out of reach"}
    wrong = sorted(policies - {"noeviction"})
    return {
        "store": None,
        "eviction policy": f"maxmemory-policy is {', '.join(wrong)}: set it to noeviction" if wrong else None,
    }


def _policies(info: Mapping[str, Any]) -> set[str]:
    """INFO rather than CONFIG GET, which managed servers forbid. A Cluster gives one reply for each node."""
    nodes = [info] if "maxmemory_policy" in info else list(info.values())
    return {str(node.get("maxmemory_policy", "not told")) for node in nodes}
