"""A page of a website, as the text that its readers come for.

Menus, footers, cookie notices and scripts are left behind by trafilatura, an extractor made and measured for this. What
comes out is Markdown: headings, lists, tables and code survive, links and pictures do not.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from email.message import Message
from functools import cache
from typing import Any

HTML = ("text/html", "application/xhtml+xml")
TEXT = ("text/markdown", "text/plain")
PAGE_CHARS = 4_000_000  # what is longer is cut

_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_HEADED_ITEM = re.compile(r"^(\s*[-*+] )#{1,6} ", re.MULTILINE)  # a card's title; no heading for what follows


class Unreadable(ValueError):
    """There is no text to be had from this body. The message says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """`canonical` is the address that the page itself says is its proper one, or ""."""

    title: str
    text: str
    canonical: str = ""


def read(body: bytes, content_type: str) -> Text:
    """The text of a body, by its `Content-Type`. Raises Unreadable."""
    kind, charset = _declared(content_type)
    if kind in HTML:
        found = _article(_decoded(body, charset) if charset else body)
    elif kind in TEXT:
        text = _decoded(body, charset or "utf-8").replace("\r\n", "\n")
        heading = _HEADING.search(text) if kind == "text/markdown" else None
        found = Text(heading[1] if heading else "", text.strip())
    else:
        raise Unreadable(f"{kind or 'a body without a type'} is neither HTML nor text")
    if not found.text:
        raise Unreadable("there is no text on it")
    return found


def _article(html: str | bytes) -> Text:
    found = _trafilatura().extract_with_metadata(
        html[:PAGE_CHARS],
        output_format="markdown",
        favor_recall=True,
        include_comments=False,
        include_formatting=True,
        include_images=False,
        include_links=False,
        include_tables=True,
    )
    if found is None:
        return Text("", "")
    return Text(found.title or "", _HEADED_ITEM.sub(r"\1", found.text or "").strip(), found.url or "")


@cache
def _trafilatura() -> Any:
    """Imported when the first page is read: it takes a sixth of a second and 30 MB that most workers never need."""
    import trafilatura

    return trafilatura


def _declared(content_type: str) -> tuple[str, str]:
    """Media type and charset, both in small letters, "" where there is none that is known."""
    header = Message()
    header["Content-Type"] = content_type
    charset = str(header.get_content_charset("") or "")
    try:
        codecs.lookup(charset)
    except LookupError:
        charset = ""
    return content_type.partition(";")[0].strip().lower(), charset


def _decoded(body: bytes, charset: str) -> str:
    return body.decode("utf-8-sig" if charset in ("utf-8", "utf8") else charset, "replace")[:PAGE_CHARS]
