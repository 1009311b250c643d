"""search_knowledge: the site's own texts, as passages that the answer can cite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from parlance.tools.tool import LABELS, Context, Result, Tool

NAME = "search_knowledge"
DESCRIPTION = (
    "Search this site's own texts: what it sells, its prices, terms, opening hours, instructions. Use it before "
    "answering any question of fact about the site that your instructions do not settle, and again with other words if "
    "the first search finds nothing that fits. Claim nothing that neither your instructions nor the passages say."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "question": {
            "type": "string",
            "minLength": 1,
            "maxLength": 500,
            "description": "What to look for, in words that the site would use, in the site's language.",
        }
    },
    "required": ["question"],
    "additionalProperties": False,
}
PASSAGES = 5

NOTHING = (
    "No passage of the site's texts fits. Try once more with other words if that makes sense; otherwise say that you "
    "do not know, and where the visitor could ask."
)


class Found(Protocol):
    """A passage. `url` is its public address, or ""."""

    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def text(self) -> str: ...


def tool(search: Callable[[str, int], Sequence[Found]]) -> Tool:
    """`search(question, k)` finds the k best passages of one site, best first."""

    def run(arguments: Mapping[str, Any], context: Context) -> Result:
        found = search(arguments["question"], PASSAGES)
        return Result([_block(passage) for passage in found] or NOTHING)

    return Tool(NAME, DESCRIPTION, LABELS[NAME], SCHEMA, run)


def _block(passage: Found) -> dict[str, Any]:
    """The source that a citation will name. What has no address of its own is named by its title."""
    return {
        "type": "search_result",
        "source": passage.url or f"knowledge:{passage.title}",
        "title": passage.title,
        "content": [{"type": "text", "text": passage.text}],
        "citations": {"enabled": True},
    }
