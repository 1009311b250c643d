"""leave_message: a visitor's name, address and words for the people behind the site (lead capture)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parlance.tools.inbox import Inbox
from parlance.tools.tool import LABELS, Context, Result, Tool

NAME = "leave_message"
DESCRIPTION = (
    "Leave a message for the people of this site, who answer by e-mail later. Use it when the visitor wants to be "
    "contacted, or when nobody else can help. Ask for what is missing first; pass on only what the visitor has given "
    "for this purpose, in their own words, and make nothing up."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 200, "pattern": r"\S", "description": "The visitor's name."},
        "email": {
            "type": "string",
            "maxLength": 254,
            "pattern": r"^[^@\s<>,;:\"\x00-\x1f]+@[^@\s<>,;:\"\x00-\x1f]+\.[^@\s<>,;:\"\x00-\x1f.]+$",
            "description": "The e-mail address that the visitor gave.",
        },
        "words": {"type": "string", "maxLength": 4000, "pattern": r"\S", "description": "What they want to say."},
    },
    "required": ["name", "email", "words"],
    "additionalProperties": False,
}
COLUMNS = ("at", "name", "email", "words", "visitor", "conversation", "turn")  # of a lead, as it is kept and exported

DONE = "The message is on its way to the people of the site. When they will answer is not known."


def tool(leads: Inbox) -> Tool:
    def run(arguments: Mapping[str, Any], context: Context) -> Result:
        lead = {
            "at": context.at,
            "name": " ".join(arguments["name"].split()),
            "email": arguments["email"].strip(),
            "words": arguments["words"].strip(),
            "visitor": context.visitor,
            "conversation": context.conversation,
            "turn": context.turn,
        }
        if not leads.keep(context.site, context.visitor, context.call, lead):
            return Result.failed("The visitor has been erased; nothing was kept.")
        return Result(DONE)

    return Tool(NAME, DESCRIPTION, LABELS[NAME], SCHEMA, run)
