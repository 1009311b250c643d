"""Bodies into text: what readers come for stays, what surrounds it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from parlance.knowledge.extract import Unreadable, read

WEBSITE = Path(__file__).resolve().parent.parent / "sites" / "demo" / "website"
HTML = "text/html; charset=utf-8"
STORY = "<p>" + "We mend umbrellas of every maker, as long as the frame is metal or wood. " * 8 + "</p>"


def page(inside: str, head: str = "<title>Mending</title>") -> bytes:
    return f"<!doctype html><html><head>{head}</head><body>{inside}</body></html>".encode()


def test_a_page_keeps_its_headings_tables_and_words():
    found = read((WEBSITE / "delivery.html").read_bytes(), HTML)
    assert found.title
    assert "## What it costs" in found.text
    assert "| Everywhere else | 8 to 14 working days | £19 |" in found.text
    assert "Keep the tube if you can" in found.text


def test_menus_footers_and_scripts_stay_behind():
    found = read(
        page(
            "<nav><a href='/'>Home</a> <a href='/shop'>All umbrellas</a></nav><script>track('visitor')</script>"
            f"<main><h1>Mending</h1>{STORY}</main><footer>© 2026 Cookie settings</footer>"
        ),
        HTML,
    )
    assert "We mend umbrellas" in found.text
    for left in ("All umbrellas", "track", "Cookie settings"):
        assert left not in found.text


def test_a_cards_title_is_no_heading_of_what_follows():
    cards = "<ul><li><h2>The Postbox</h2><p>Steel frame, crook handle.</p></li></ul>"
    found = read(page(f"<main><h1>Umbrellas</h1>{STORY}{cards}</main>"), HTML)
    assert "The Postbox" in found.text
    assert "## The Postbox" not in found.text


def test_a_page_may_say_its_proper_address():
    head = "<title>Mending</title><link rel='canonical' href='https://fern.example/mending'>"
    assert read(page(f"<main>{STORY}</main>", head), HTML).canonical == "https://fern.example/mending"


def test_the_declared_charset_is_believed():
    body = page("<main><h1>Größe</h1>" + "<p>Die Größe ändern wir gern für Sie, das kostet nichts.</p>" * 9 + "</main>")
    latin = body.decode().encode("latin-1")
    assert "Die Größe ändern" in read(latin, "text/html; charset=ISO-8859-1").text
    assert "Die Größe ändern" in read(body, "text/html; charset=no-such-thing").text


def test_markdown_and_plain_text_are_taken_as_they_stand():
    assert read(b"\xef\xbb\xbf# Mending\r\n\r\nWe mend.", "text/markdown").text == "# Mending\n\nWe mend."
    assert read(b"# Mending\n\nWe mend.", "text/markdown").title == "Mending"
    assert read(b"# not a heading here", "text/plain; charset=utf-8").title == ""


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"{}", "application/json"),
        (b"hello", ""),
        (b"  \n", "text/plain"),
        (b"", "text/html"),
        (b"<html><body></body></html>", "text/html"),
        (b"\x00\x01\x02", "text/html"),
    ],
)
def test_what_holds_no_text_is_refused_with_a_reason(body, kind):
    with pytest.raises(Unreadable, match=r"\w+"):
        read(body, kind)
