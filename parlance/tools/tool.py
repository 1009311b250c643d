"""What a tool is. Each is a file here with a function `tool(...)` that makes it; a new one is a copy of a neighbour.

A tool gets arguments that fit its schema and the context of the turn, and returns a Result. What goes wrong and Claude
should know of is a Result too: Claude tells the visitor, in the brand's voice.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from parlance import phrases
from parlance.site import Words

HONESTLY = "Tell the visitor so in your own words, and do not guess what the answer would have been."

# What the visitor reads while a tool of ours runs: by name, then by language.
LABELS: Mapping[str, Words] = tomllib.loads(resources.files(__package__).joinpath("labels.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Context:
    """Whose call it is. `at` is when (RFC 3339 UTC), `deadline` the turn's, on the monotonic clock; `call` is the key
    of the call, the same for the same call of the same turn in whichever worker."""

    site: str
    turn: str
    conversation: str
    visitor: str
    locale: str = "en"
    at: str = ""
    deadline: float = math.inf
    call: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What Claude gets: a text, or content blocks. `shows` are events for the visitor, (name, data) each."""

    content: str | list[dict[str, Any]]
    is_error: bool = False
    shows: tuple[tuple[str, dict[str, Any]], ...] = ()

    @classmethod
    def failed(cls, words: str, advice: str = HONESTLY) -> Result:
        return cls(f"{words} {advice}", is_error=True)

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        data = json.loads(text)
        return cls(data["content"], data["is_error"], tuple((name, shown) for name, shown in data["shows"]))


@dataclass(frozen=True, slots=True)
class Tool:
    """`label` is what the visitor reads while it runs; "" for a tool that runs unseen."""

    name: str
    description: str
    label: Words
    input_schema: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], Context], Result]

    def definition(self) -> dict[str, Any]:
        """As the Messages API takes it. The same tool gives the same bytes: it begins the prompt's cached part."""
        return {"name": self.name, "description": self.description, "input_schema": dict(self.input_schema)}

    def label_for(self, language: str) -> str:
        if isinstance(self.label, str):
            return self.label
        words = {"label": self.label}
        return phrases.sentence("label", fallbacks=words, site_locale="en", language=language, name="")
