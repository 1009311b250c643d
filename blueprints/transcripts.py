"""A conversation for its visitor to keep."""

from __future__ import annotations

from parlance.conversations import NOTICE, VISITOR, Conversation, Message
from parlance.site import Site


def as_text(site: Site, conversation: Conversation) -> str:
    lines = [f"{_who(site, message)}, {_when(message)}\n{message.text}\n" for message in conversation.messages]
    return "\n".join([f"{site.widget.title or site.name}\n", *lines])


def as_markdown(site: Site, conversation: Conversation) -> str:
    parts = [f"# {site.widget.title or site.name}\n"]
    for message in conversation.messages:
        quoted = "> " + message.text.replace("\n", "\n> ") if message.role == NOTICE else message.text
        parts.append(f"**{_who(site, message)}** · {_when(message)}\n\n{quoted}\n")
    return "\n".join(parts)


def _who(site: Site, message: Message) -> str:
    return "You" if message.role == VISITOR else site.name


def _when(message: Message) -> str:
    return message.created_at[:16].replace("T", " ") + " UTC"
