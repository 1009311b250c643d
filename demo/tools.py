"""When the demo uses a tool: the question has words of its description, and a value for everything it requires."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from typing import Any

from demo.prompt import Json
from demo.words import overlap, stems

FREE_TEXT = {"query", "q", "question", "search", "text", "topic", "terms", "keywords"}
SELF = {"name", "full_name", "your_name"}
_SELF = re.compile(r"\b(?:my name is|name:|I am called|ich heiße|je m'appelle)\s+([^\W\d_][\w'’-]*)", re.I)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")


def calls(body: Json, question: str, earlier: list[str], answerable: bool) -> list[Json]:
    """The tool_use blocks that this question calls for; [] if it calls for none.

    `answerable`: the site's texts have the answer, so that a search for it would be idle.
    """
    choice = body.get("tool_choice") or {"type": "auto"}
    tools = [] if choice["type"] == "none" else body.get("tools") or []
    if choice["type"] in ("any", "tool"):
        return [_forced(tools, choice, question)]
    uses = [use for tool in tools if (use := _use(tool, question, earlier, answerable))]
    return uses[:1] if choice.get("disable_parallel_tool_use") else uses


def _use(tool: Json, question: str, earlier: list[str], answerable: bool) -> Json | None:
    about = stems(f"{_words(tool)} {tool.get('description', '')}")
    values = _arguments(tool["input_schema"], question)
    if values is None:
        return None
    if _is_search(tool):
        return None if answerable or not stems(question) else _block(tool, values)
    if values and all(_is_free(schema) for schema in _required(tool["input_schema"]).values()):
        return _block(tool, values) if not answerable and overlap(stems(question), stems(_words(tool))) else None
    # A value that fits a pattern may be all of the message: the question was asked before it.
    telling = any("pattern" in schema for schema in _required(tool["input_schema"]).values())
    asked = stems(" ".join([*earlier[-1:], question]) if telling else question)
    least = 1 if values else 2
    return _block(tool, values) if overlap(asked, about) >= least else None


def _words(tool: Json) -> str:
    return str(tool["name"]).replace("_", " ")


def _forced(tools: list[Json], choice: Json, question: str) -> Json:
    tool = next((t for t in tools if t["name"] == choice.get("name")), tools[0])
    return _block(tool, _arguments(tool["input_schema"], question) or {})


def _block(tool: Json, values: Json) -> Json:
    id = f"toolu_{uuid.uuid4().hex[:24]}"
    return {"type": "tool_use", "id": id, "name": tool["name"], "input": values, "caller": {"type": "direct"}}


def _is_search(tool: Json) -> bool:
    required = set(_required(tool["input_schema"]))
    return bool(required) and required <= FREE_TEXT


def _required(schema: Json) -> dict[str, Json]:
    properties = schema.get("properties") or {}
    return {name: properties.get(name) or {} for name in schema.get("required") or []}


def _arguments(schema: Json, question: str) -> Json | None:
    """A value for each required property, found in the question; None if one is missing."""
    values = {name: _value(name, schema, question) for name, schema in _required(schema).items()}
    return None if None in values.values() else values


def _value(name: str, schema: Json, question: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        found = (member for member in schema["enum"] if str(member).lower() in question.lower())
        return next(found, None)
    kind = schema.get("type", "string")
    if kind in ("integer", "number"):
        return _number(question, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind != "string":
        return None
    if name in SELF:
        return next((found[1] for found in _SELF.finditer(question)), None)
    if (pattern := schema.get("pattern")) and not _is_free(schema):
        return _matching(pattern, question)
    return question if name in FREE_TEXT or pattern else None


def _is_free(schema: Json) -> bool:
    """Whether any words would do: a pattern that all of these fit asks for nothing in particular."""
    try:
        accepts = re.compile(schema.get("pattern") or "(?!)")
    except re.error:
        return False
    return all(accepts.search(words) for words in ("x", "7", "?!", "two words"))


def _number(question: str, whole: bool) -> float | None:
    found = _NUMBER.search(question)
    return found and (int(float(found[0])) if whole else float(found[0]))


def _matching(pattern: str, question: str) -> str | None:
    """A word, or a run of up to three, that the pattern accepts as it stands or in capitals."""
    try:
        accepts = re.compile(pattern)
    except re.error:
        return None
    candidates = (form for word in _candidates(question) for form in (word, word.upper()))
    return next((form for form in candidates if accepts.search(form)), None)


def _candidates(question: str) -> Iterator[str]:
    bare = [word.strip(".,;:!?()[]\"'’#") for word in question.split()]
    for length, start in itertools.product((1, 2, 3), range(len(bare))):
        if start + length <= len(bare) and bare[start]:
            yield " ".join(bare[start : start + length])
