"""Arguments against their schema. What is wrong goes back to Claude, field by field, so that it can mend them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

ARGUMENTS_MOST = 16_384  # characters, as JSON
COMPLAINTS_MOST = 5
WORDS_MOST = 300

_NOTHING_ELSE: Registry[Any] = Registry()  # a schema stands for itself: no reference is ever fetched


def canonical(arguments: Any) -> str:
    """The one way to write arguments: what is equal is written equally."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))


def complaints(schema: Mapping[str, Any], arguments: Any) -> list[str]:
    """What is wrong with arguments, a sentence each that names the field: "`number` ..."."""
    if not isinstance(arguments, dict):
        return ["the arguments are not an object"]
    if len(canonical(arguments)) > ARGUMENTS_MOST:
        return [f"the arguments have more than {ARGUMENTS_MOST} characters"]
    check = Draft202012Validator(schema, registry=_NOTHING_ELSE, format_checker=Draft202012Validator.FORMAT_CHECKER)
    found = sorted(check.iter_errors(arguments), key=lambda error: [str(step) for step in error.absolute_path])
    return [_sentence(error) for error in found[:COMPLAINTS_MOST]]


def _sentence(error: ValidationError) -> str:
    where = _path(error.absolute_path)
    what = error.message if len(error.message) <= WORDS_MOST else f"does not fit `{error.validator}`"
    return f"`{where}`: {what}" if where else what


def _path(steps: Iterable[str | int]) -> str:
    """`items[0].sku`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
