"""What an eval may expect of an answer: promptfoo's assertion names, so that cases can move between the two."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from parlance.sites.kinds import LANGUAGE, Given, Text, closest, nano_usd, not_text
from parlance.sites.toolkinds import not_json, schema_mistakes


class Assertion(Given):
    """What an answer is expected to do: one assertion by promptfoo's name, or its opposite with `not-` before it."""

    what = "an assertion and its value, such as `contains: Sunday`"

    def mistakes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for name in given if name != "threshold"]
        if len(names) != 1 or ("threshold" in given and names[0].removeprefix("not-") != "similar"):
            return {name: ["is one assertion too many: begin a new entry for each"] for name in list(given)[1:]} or {
                "contains": ["is missing: name an assertion"]
            }
        name = names[0]
        check = ASSERTIONS.get(name.removeprefix("not-"))
        if check is None:
            known = [*ASSERTIONS, *(f"not-{assertion}" for assertion in ASSERTIONS)]
            return {name: [f"there is no such assertion{closest(name, known)}; there are {', '.join(ASSERTIONS)}"]}
        complaint = check(given[name]) or _not_threshold(given.get("threshold", 1))
        return {name: [complaint]} if complaint else {}


def _a_text(value: Any) -> str | None:
    return Text(4000).complaint(value) if isinstance(value, str) else not_text(value)


def _texts(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not value:
        return "is a list of texts: [one, another]"
    return next((complaint for each in value if (complaint := _a_text(each))), None)


def _a_regex(value: Any) -> str | None:
    if complaint := _a_text(value):
        return complaint
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return None


def _is_true(value: Any) -> str | None:
    return None if value is True else "is `true`; for the opposite put `not-` before its name"


def _true_or_text(value: Any) -> str | None:
    return None if value is True else _a_text(value)


def _true_or_schema(value: Any) -> str | None:
    if value is True:
        return None
    if not isinstance(value, Mapping) or not_json(value):
        return "is `true`, or the JSON Schema that the answer keeps"
    return next((f"is no JSON Schema: {message}" for _, message in schema_mistakes(value)), None)


def _an_amount(value: Any) -> str | None:
    try:
        nano_usd(value)
    except ValueError as error:
        return str(error)
    return None


def _a_count(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) and value > 0 else "is a whole number above 0"


def _a_language(value: Any) -> str | None:
    return None if isinstance(value, str) and LANGUAGE.fullmatch(value) else "is a language tag such as en or de-AT"


ASSERTIONS: Mapping[str, Callable[[Any], str | None]] = {
    "equals": _a_text,
    "contains": _a_text,
    "icontains": _a_text,
    "contains-any": _texts,
    "contains-all": _texts,
    "starts-with": _a_text,
    "regex": _a_regex,
    "is-json": _true_or_schema,
    "is-refusal": _is_true,
    "llm-rubric": _a_text,
    "similar": _a_text,
    "cost": _an_amount,
    "latency": _a_count,
    "tool-called": _a_text,
    "cites-source": _true_or_text,
    "max-words": _a_count,
    "language": _a_language,
}


def _not_threshold(value: Any) -> str | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return None if good else "`threshold` is a number from 0 to 1"
