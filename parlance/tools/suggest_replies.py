"""suggest_replies: what the visitor might want to say next, as buttons under the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parlance import events
from parlance.tools.tool import Context, Result, Tool

NAME = "suggest_replies"
DESCRIPTION = (
    "Show the visitor two to four short replies to choose from, in their language and as they would say them. Use it "
    "when your answer ends in a question with few sensible answers. Say the answer itself in words, too."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "replies": {
            "type": "array",
            "items": {"type": "string", "maxLength": 60, "pattern": r"\S"},
            "minItems": 1,
            "maxItems": 4,
            "uniqueItems": True,
        }
    },
    "required": ["replies"],
    "additionalProperties": False,
}


def tool() -> Tool:
    def run(arguments: Mapping[str, Any], context: Context) -> Result:
        replies = [" ".join(reply.split()) for reply in arguments["replies"]]
        return Result("The replies are shown.", shows=((events.SUGGESTIONS, {"replies": replies}),))

    return Tool(NAME, DESCRIPTION, "", SCHEMA, run)
