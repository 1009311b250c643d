"""One request to the Messages API, as a pure function. The order of the prompt is its cache:

tools -> system [the rendered voice, marked] -> the conversation, its end marked. What changes from message to message
(the page) stands in the message that it came with, and is rendered the same way for ever after: a prefix that has been
sent once is sent again to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from parlance.claude.models import Model

_MARK = {"cache_control": {"type": "ephemeral"}}


class Said(Protocol):
    """A message of the conversation: `role` is visitor, assistant or person."""

    @property
    def role(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def page(self) -> Mapping[str, str] | None: ...


def build(
    model: Model, system: str, said: Sequence[Said], max_tokens: int, user: str, tools: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The parameters of a streamed request. `said` begins and ends with the visitor; `user` is an opaque id, by which
    the provider can tell one visitor's misuse from another's; `tools` are definitions, always in the same order."""
    return {
        "model": model.id,
        "max_tokens": most_output(model, max_tokens),
        **({"tools": list(tools)} if tools else {}),
        "system": [{"type": "text", "text": system, **_MARK}],
        "messages": _marked(_turns(said)),
        "metadata": {"user_id": user},
        **model.request,
    }


def most_output(model: Model, max_tokens: int) -> int:
    """The `max_tokens` of a request: the site's, and room to think where thinking counts against it."""
    return min(max_tokens + model.headroom, model.max_output)


def _turns(said: Sequence[Said]) -> list[dict[str, Any]]:
    """Messages that alternate: what one side said in a row (an answer may have failed between) is one message."""
    turns: list[dict[str, Any]] = []
    for message in said:
        role = "user" if message.role == "visitor" else "assistant"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": role, "content": _blocks(message)})
    return turns


def _blocks(message: Said) -> list[dict[str, Any]]:
    blocks = [{"type": "text", "text": message.text}]
    return [{"type": "text", "text": _page(message.page)}, *blocks] if message.page else blocks


def _page(page: Mapping[str, str]) -> str:
    """Where the visitor was. The title is a stranger's text, so it must not be able to close its tag."""
    title, url = (page.get(name, "").replace("<", "‹").replace(">", "›") for name in ("title", "url"))
    return f"<page>\n{title}\n{url}\n</page>"


def _marked(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    turns[-1]["content"][-1] = {**turns[-1]["content"][-1], **_MARK}
    return turns
