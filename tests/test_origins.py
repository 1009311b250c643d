"""The origins of a site: what they allow, and the look-alikes they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlance.sites import origins

EXACT = ["https://fern.example"]
WILD = ["https://*.fern.example"]
LOCAL = ["http://localhost:*", "http://127.0.0.1:*"]


@pytest.mark.parametrize(
    ("entries", "origin"),
    [
        (EXACT, "https://fern.example"),
        (EXACT, "https://FERN.example"),
        (EXACT, "https://fern.example:443"),
        (["https://fern.example:443"], "https://fern.example"),
        (["https://Fern.Example"], "https://fern.example"),
        (["http://fern.example:8080"], "http://fern.example:8080"),
        (WILD, "https://shop.fern.example"),
        (WILD, "https://a.b.c.fern.example"),
        (["https://*.fern.example:8443"], "https://x.fern.example:8443"),
        (LOCAL, "http://localhost"),
        (LOCAL, "http://localhost:5173"),
        (LOCAL, "http://127.0.0.1:8000"),
        (["http://[::1]:*"], "http://[::1]:8000"),
        (["https://bücher.example"], "https://xn--bcher-kva.example"),
        (["https://*.straße.example"], "https://laden.xn--strae-oqa.example"),
        ([*EXACT, "*"], "https://fern.example"),
        (["https://a.example", "https://b.example"], "https://b.example"),
    ],
)
def test_it_allows(entries: list[str], origin: str) -> None:
    assert origins.allows(entries, origin)


@pytest.mark.parametrize(
    ("entries", "origin"),
    [
        (EXACT, "null"),
        (EXACT, ""),
        (EXACT, "*"),
        (EXACT, "http://fern.example"),
        (EXACT, "https://fern.example:8443"),
        (EXACT, "https://fern.example."),
        (EXACT, "https://fern.example/"),
        (EXACT, "https://fern.example "),
        (EXACT, "https://fern.example\n"),
        (EXACT, "https://fern.example.evil.example"),
        (EXACT, "https://evilfern.example"),
        (EXACT, "https://fern.example@evil.example"),
        (EXACT, "https://evil.example@fern.example"),
        (EXACT, "https://fern.example#.evil.example"),
        (EXACT, "https://fern.example\\.evil.example"),
        (EXACT, "https://fern.example, https://evil.example"),
        (EXACT, "https://shop.fern.example"),
        (EXACT, "https://fern.examplе"),  # its last letter is Cyrillic
        (["https://kern.example"], "https://\u212aern.example"),  # the Kelvin sign, small, is a k
        (EXACT, "http\u017f://fern.example"),  # a long s, whatever its case, is an s
        (EXACT, "https://fern.example:*"),
        (EXACT, "https://fern.example:0x1bb"),
        (EXACT, "https://[fern.example]"),
        (WILD, "https://fern.example"),
        (WILD, "https://evilfern.example"),
        (WILD, "https://.fern.example"),
        (WILD, "https://*.fern.example"),
        (WILD, "https://a..fern.example"),
        (WILD, "https://-.fern.example"),
        (WILD, "https://x.fern.example.evil.example"),
        (WILD, "http://x.fern.example"),
        (WILD, "https://x.fern.example:444"),
        (LOCAL, "https://localhost:8000"),
        (LOCAL, "http://localhost.evil.example:8000"),
        (LOCAL, "http://127.0.0.1.evil.example"),
        (LOCAL, "http://127.0.0.2:8000"),
        (["http://localhost"], "http://localhost:8000"),
        (["*"], "https://evil.example"),
        (["*"], "null"),
        ([], "https://fern.example"),
    ],
)
def test_it_refuses(entries: list[str], origin: str) -> None:
    assert not origins.allows(entries, origin)


def test_it_lets_requests_without_an_origin_begin_sessions_only_by_the_star() -> None:
    assert origins.allows_none(["https://fern.example", "*"])
    assert not origins.allows_none(["https://fern.example", "https://*.fern.example"])


@pytest.mark.parametrize("entry", ["*", "https://fern.example", "https://*.fern.example", "http://localhost:*", "http://[::1]:3000"])
def test_it_finds_no_mistake_in(entry: str) -> None:
    assert origins.mistake(entry) is None


@pytest.mark.parametrize(
    ("entry", "lesson"),
    [
        ("null", "sandboxed"),
        ("https://fern.example/", "write `https://fern.example`"),
        ("https://fern.example/shop", "not an origin"),
        ("fern.example", "write `https://fern.example`"),
        ("ftp://fern.example", "not an origin"),
        ("https://fern.example:*", "any port"),
        ("http://*.localhost:*", "any port"),
        ("https://fern.example:0", "no port 0"),
        ("https://fern.example:99999", "no port 99999"),
        ("https://*.com", "wider than one domain"),
        ("https://*.127.0.0.1", "wider than one domain"),
        ("https://shop.*.example", "not an origin"),
        ("https://*", "not an origin"),
        ("https://user:pass@fern.example", "not an origin"),
        ("https://fern.example.", "not an origin"),
        ("https://a b.example", "not an origin"),
        ("https://[::zz]", "not an origin"),
        ("https://\u0378ü.example", "no host name"),
        ("", "not an origin"),
    ],
)
def test_it_teaches_about(entry: str, lesson: str) -> None:
    assert lesson in (origins.mistake(entry) or "")


@given(st.text(max_size=60))
def test_it_survives_any_text(text: str) -> None:
    assert not origins.allows([*EXACT, *WILD, *LOCAL], text) or text.isascii()
    assert origins.mistake(text) is None or isinstance(origins.mistake(text), str)
