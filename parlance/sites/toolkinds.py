"""The kinds of value that only a tool has: the headers of its call, and the JSON Schema of its arguments."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from parlance.sites.kinds import LOOKS_SECRET, Given, Text, not_text, plain

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_SECRETIVE = re.compile(r"(?:^|[-_])(?:authorization|cookie|token|secret|password|auth|api-?_?key)$", re.IGNORECASE)
_OURS = {"host", "content-length", "transfer-encoding", "connection", "idempotency-key"}

_META_SCHEMA = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
)


class Headers(Given):
    what = "header names with values"

    def mistakes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: self._complaint(name, value) for name, value in given.items()}
        times = Counter(name.lower() for name in given)
        found |= {name: "is there twice: names of headers ignore case" for name in given if times[name.lower()] > 1}
        return {name: [complaint] for name, complaint in found.items() if complaint}

    def _complaint(self, name: str, value: Any) -> str | None:
        if not _HEADER_NAME.fullmatch(name):
            return f"`{name}` is no name of a header"
        if name.lower() in _OURS:
            return "is set by Parlance itself; leave it out"
        if not isinstance(value, str):
            return not_text(value)
        if not _HEADER_VALUE.fullmatch(value):
            return "holds a character that no header may: keep to one line of ASCII"
        if _SECRETIVE.search(name) and not LOOKS_SECRET.search(value):
            return "holds a secret in plain sight; write ${secret:NAME} and keep the secret in the environment"
        return Text(2000, blank=True, secrets=True).complaint(value)


class JsonSchema(Given):
    """A tool's `input_schema`: an object's JSON Schema (2020-12), complete in itself."""

    what = "a JSON Schema, such as {type: object, properties: {number: {type: string}}}"

    def mistakes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if complaint := not_json(given):
            return {"type": [complaint]}
        if given.get("type") != "object":
            return {"type": ["is `object`: Claude gives a tool its arguments by name"]}
        found: dict[str, Any] = {}
        for path, message in schema_mistakes(given):
            _put(found, path or ["type"], f"is no JSON Schema: {message}")
        for path, address in _references(given):
            _put(found, path, f"`{address}` leads outside; a schema stands for itself, references begin with #")
        return found


def schema_mistakes(schema: Any) -> Iterator[tuple[list[str], str]]:
    """Where a JSON Schema is none, and why. Patterns must compile, too."""
    for error in _META_SCHEMA.iter_errors(plain(schema)):
        yield [str(step) for step in error.absolute_path], error.message


def not_json(value: Any) -> str | None:
    try:
        json.dumps(plain(value), allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return "holds a number or a character that JSON has no way to write"
    return None


def _references(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], str]]:
    """Every `$ref` that leads out of the schema, with the path to it."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, each in pairs:
        if name in ("$ref", "$dynamicRef") and isinstance(each, str) and not each.startswith("#"):
            yield [*path, str(name)], each
        yield from _references(each, (*path, str(name)))


def _put(tree: dict[str, Any], path: Sequence[str], message: str) -> None:
    """`message` at the end of `path`; a mistake higher up says enough about what lies below it."""
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            return
    tree.setdefault(path[-1], [message])
