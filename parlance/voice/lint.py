"""What had better not stand in a voice: whatever would change from message to message.

The voice is the prompt's cached part, the same for everyone. A placeholder in it is filled in by nobody, and a date
written out grows old in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from parlance.site import Site
from parlance.voice import render

_PLACEHOLDER = re.compile(
    r"\$?\{\{?\s{0,4}([A-Za-z][\w.\- ]{0,60}?)\s{0,4}(?:[|:][^{}]{0,100})?\}\}?"  # {date}, {{ user.name | title }}
    r"|%([A-Za-z_]{3,60})%"
    r"|<%=?\s{0,4}([\w.]{1,60})[^%]{0,100}%>"
)
_VOLATILE = re.compile(
    r"(?:current|now)?[_.\- ]?(?:date|time|datetime|timestamp|now|today|tomorrow|yesterday|weekday|day|week|month|year)"
    r"|(?:visitor|user|customer|client|person|guest|page|url|title|path|referrer|location|browser|device|ip|session"
    r"|conversation|message|question|history|language|locale|email|name|first_?name|last_?name|random|uuid|id|hour)"
    r"(?:[_.\- ]\w+)*",
    re.IGNORECASE,
)
_DATED = re.compile(
    r"\b(?:today(?:'s date)? is|today's date|the current (?:date|time|day|month|year)|it is (?:now|currently)|"
    r"as of (?:today|now)|tomorrow is|this (?:week|month) only|heute ist|aujourd'hui,? (?:c'est|nous)|hoy es|oggi è)\b",
    re.IGNORECASE,
)


def refusal(text: str) -> str | None:
    """Why a text of the voice cannot be published; None if it can."""
    for found, name in _placeholders(text):
        if _VOLATILE.fullmatch(name):
            return (
                f"`{found}` stands for something that changes from message to message, and nothing is filled in here: "
                "the voice is the prompt's cached part, the same for everyone. Take it out; the page comes with "
                "each message by itself"
            )
    return None


def warnings(site: Site) -> list[tuple[str, str]]:
    """What the operator had better look at, as (dotted path, message)."""
    found = [(where, message) for where, text in _texts(site.voice, "voice") for message in _doubts(text)]
    if beyond := render.left_out(site):
        titles = ", ".join(f"`{passage.title}`" for passage in beyond[:3]) + (", …" if len(beyond) > 3 else "")
        found.append(
            (
                "knowledge",
                f"{len(beyond)} of {len(site.knowledge)} passages find no room in the prompt, which holds "
                f"{render.LIBRARY_CHARS} characters of them, and will not be used: {titles}",
            )
        )
    return found


def _doubts(text: str) -> Iterator[str]:
    for found, name in _placeholders(text):
        if not _VOLATILE.fullmatch(name):
            yield f"`{found}` looks like a placeholder, and nothing is filled in here"
    if dated := _DATED.search(text):
        yield f"`{dated[0]}` will be wrong tomorrow: a voice stays as it is until the next one is published"


def _placeholders(text: str) -> Iterator[tuple[str, str]]:
    for found in _PLACEHOLDER.finditer(text):
        yield found[0], next(name for name in found.groups() if name)


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from _texts(each, f"{where}[{number}]")
    elif is_dataclass(value):
        for each in fields(value):
            yield from _texts(getattr(value, each.name), f"{where}.{each.name}")
