"""ask_for_person: the beginning of a hand-off. The wish is kept with its reason, and the widget is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parlance import events
from parlance.tools.inbox import Inbox
from parlance.tools.tool import LABELS, Context, Result, Tool

NAME = "ask_for_person"
DESCRIPTION = (
    "Ask for a person of this site to join the conversation. Use it when the visitor asks for a human being, is upset, "
    "or needs something that only a person may decide. Not for what you can answer yourself."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {
            "type": "string",
            "maxLength": 500,
            "pattern": r"\S",
            "description": "Why, in one sentence for the person who will read it.",
        }
    },
    "required": ["reason"],
    "additionalProperties": False,
}
DONE = (
    "A person has been asked to join. Whether and when somebody is free is not known: promise nothing, go on helping "
    "meanwhile, and offer to leave a message."
)


def tool(wishes: Inbox) -> Tool:
    """One wish a conversation: asking again replaces it."""

    def run(arguments: Mapping[str, Any], context: Context) -> Result:
        wish = {
            "at": context.at,
            "reason": arguments["reason"].strip(),
            "visitor": context.visitor,
            "conversation": context.conversation,
            "turn": context.turn,
        }
        if not wishes.keep(context.site, context.visitor, context.conversation, wish):
            return Result.failed("The visitor has been erased; nobody was asked.")
        return Result(DONE, shows=((events.HANDOFF, {"state": "asked"}),))

    return Tool(NAME, DESCRIPTION, LABELS[NAME], SCHEMA, run)
