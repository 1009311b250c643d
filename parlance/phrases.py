"""The sentence that a visitor reads when something is refused or fails: the brand's own words, else ours.

Ours stand in `phrases.toml`, in every language that it has a table for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from parlance.site import Words

# Every `code` of the protocol's table of errors, then those that only the stream's `error` event knows.
CODES = (
    "invalid_request",
    "session_expired",
    "budget_exhausted",
    "origin_not_allowed",
    "site_not_found",
    "not_found",
    "method_not_allowed",
    "busy",
    "message_too_long",
    "request_too_large",
    "rate_limited",
    "unavailable",
    "overloaded",
    "refused",
    "too_long",
    "interrupted",
)

# Names that browsers and operators use for one and the same language.
_SAME = {"no": ("nb",), "nb": ("no",), "nn": ("nb", "no"), "iw": ("he",), "he": ("iw",)}
_FILLED = re.compile(r"\{(retry_after|name|wait)\}")

_TABLE = tomllib.loads(resources.files("parlance").joinpath("phrases.toml").read_text("utf-8"))

LANGUAGES = tuple(_TABLE)


def sentence(
    code: str,
    *,
    fallbacks: Mapping[str, Words],
    site_locale: str,
    language: str | None,
    name: str,
    retry_after: int | None = None,
) -> str:
    """What to say for `code`, the first there is: the brand's words in the visitor's language, the brand's words in
    the site's own locale, our sentence in the visitor's language, our sentence in English.

    Words that tell the seconds are passed over while nobody knows how many they are. A code of no table counts as
    `unavailable`.
    """
    for words in _theirs(fallbacks.get(code), language, site_locale):
        if retry_after is not None or "{retry_after}" not in words:
            return _fill(words, name=name, retry_after=str(retry_after))
    ours = next((tag for tag in _tags(language) if tag in _TABLE), "en")
    return _ours(_TABLE[ours], code, name, retry_after)


def _theirs(words: Words | None, language: str | None, site_locale: str) -> Iterator[str]:
    """The brand's words for a visitor, best first. One text for all languages counts for each."""
    if isinstance(words, str):
        yield words
    elif words:
        by_tag = {tag.lower(): text for tag, text in words.items()}
        for tag in (*_tags(language), *_tags(site_locale)):
            if tag in by_tag:
                yield by_tag[tag]


def _ours(table: Mapping[str, Any], code: str, name: str, retry_after: int | None) -> str:
    if code not in CODES:
        code = "unavailable"
    if code == "rate_limited" and retry_after is None:
        code = "rate_limited_soon"
    return _fill(table[code], name=name, wait=_wait(table["units"], retry_after or 1))


def _wait(units: Sequence[str], seconds: int) -> str:
    """A length of time, rounded up, in the unit in which a person would say it."""
    size, unit = (1, units[0]) if seconds < 100 else (60, units[1]) if seconds < 100 * 60 else (3600, units[2])
    return unit.replace("{n}", str(-(-seconds // size)))


def _fill(words: str, **values: str) -> str:
    """The known names filled in, at once, so that nothing in a value is taken for a name; other braces stay."""
    return _FILLED.sub(lambda found: values.get(found[1], found[0]), words)


def _tags(language: str | None) -> Iterator[str]:
    """`"zh-Hant-TW"` is served by zh-hant-tw, by zh-hant and by zh, in this order."""
    parts = (language or "").lower().replace("_", "-").split("-")
    yield from ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    yield from _SAME.get(parts[0], ())
