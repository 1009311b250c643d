"""Sitemaps: lists of a website's addresses, or of further such lists. Pure.

XML and its gzipped form, and the plain text with an address on each line. What unpacks to more than its bound, or
brings definitions of its own (which a sitemap has no use for, and which can be made to grow without end), is refused.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from xml.etree import ElementTree

BYTES = 10_000_000  # unpacked; the format allows 50 MB, a site's own texts need far less
ADDRESSES = 50_000  # the format's own bound

_GZIP = b"\x1f\x8b"
_LOOKS_LIKE_ONE = re.compile(rb"<(?:[\w.-]+:)?(?:urlset|sitemapindex)\b")


@dataclass(frozen=True, slots=True)
class Sitemap:
    """`pages` are addresses of pages, `sitemaps` of further sitemaps; one of the two is empty."""

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()


def read(body: bytes, content_type: str = "") -> Sitemap | None:
    """The sitemap that a body holds; None if it is something else. Raises ValueError for one that is not sound."""
    body = _unpacked(body)
    if _LOOKS_LIKE_ONE.search(body[:4096]):
        return _xml(body)
    if content_type.startswith("text/plain"):
        return _lines(body)
    return None


def _unpacked(body: bytes) -> bytes:
    if not body.startswith(_GZIP):
        return body
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(body, BYTES)
    except zlib.error as error:
        raise ValueError("it is not sound gzip") from error
    if unpacking.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {BYTES} bytes")
    return unpacked


def _xml(body: bytes) -> Sitemap:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("a sitemap has no definitions of its own")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not sound XML: {error}") from error
    found = tuple(
        entry.text.strip()
        for place in root
        for entry in place
        if _name(place) in ("url", "sitemap") and _name(entry) == "loc" and entry.text
    )[:ADDRESSES]
    return Sitemap(sitemaps=found) if _name(root) == "sitemapindex" else Sitemap(pages=found)


def _lines(body: bytes) -> Sitemap | None:
    """Plain text is a sitemap if every line of it is an address."""
    lines = [line.strip() for line in body.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    if not lines or not all(line.startswith(("http://", "https://")) and " " not in line for line in lines):
        return None
    return Sitemap(pages=tuple(lines[:ADDRESSES]))


def _name(element: ElementTree.Element) -> str:
    """A tag without its namespace."""
    return element.tag.rpartition("}")[2]
