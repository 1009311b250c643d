"""The visitor protocol's request bodies. What is not named here is refused by name."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from marshmallow import Schema, ValidationError, fields, post_load, validate

_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*\Z")


def well_formed(text: str) -> None:
    """Text that can be stored and sent on: no lone surrogate, no NUL."""
    if "\x00" in text:
        raise ValidationError("Must not hold NUL characters.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValidationError("Must be well-formed Unicode: it holds half of a surrogate pair.") from error


def not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("Must not be blank.")


class Text(fields.String):
    """A string of well-formed Unicode; marshmallow's own would take numbers' place-holders and lone surrogates."""

    def __init__(self, *, most: int, blank: bool = False, **kwargs: Any) -> None:
        checks: list[Any] = [well_formed, validate.Length(max=most)] + ([] if blank else [not_blank])
        super().__init__(validate=checks, **kwargs)


class PageSchema(Schema):
    url = Text(most=2048, required=True)
    title = Text(most=300, blank=True, load_default="")

    @post_load
    def without_query(self, data: dict[str, str], **kwargs: Any) -> dict[str, str]:
        """Queries and fragments carry people's searches, tokens and addresses: none of ours."""
        try:
            parts = urlsplit(data["url"])
        except ValueError as error:
            raise ValidationError("Not a valid address.", "url") from error
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValidationError("Must be an http or https address.", "url")
        host = parts.netloc.rpartition("@")[2]
        return {"url": urlunsplit((parts.scheme, host, parts.path, "", "")), "title": data["title"].strip()}


class SessionSchema(Schema):
    site = Text(most=63, required=True)
    locale = fields.String(validate=[validate.Length(max=35), validate.Regexp(_LOCALE)], load_default="")
    page = fields.Nested(PageSchema, load_default=None)
    identity = Text(most=8192, load_default=None)


class MessageSchema(Schema):
    conversation = Text(most=64, required=True)
    id = fields.UUID(required=True)
    text = Text(most=65_536, required=True)
    page = fields.Nested(PageSchema, load_default=None)


class FeedbackSchema(Schema):
    rating = fields.String(required=True, allow_none=True, validate=validate.OneOf(["up", "down"]))
    reason = Text(most=2000, blank=True, load_default="")
