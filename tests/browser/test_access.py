"""For everybody: keyboards, screen readers, small screens, big letters, right-to-left, calm eyes."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browser.conftest import Chat, Guests, Host, Model

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
ANSWER = """# Two books
For a **ten-year-old**:

1. *The Lighthouse Cat*, with `code`
2. [Another](https://fern.example/another)

| Shop | Sunday |
|---|---|
| Leeds | 11 |

> A quote

```
a line of code that is rather long and does not fit into the width of the panel at all, however wide it may be
```
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_nothing(guests: Guests, home: str, model: Model, screen: dict[str, Any], scheme: str) -> None:
    model.script(text=ANSWER)
    chat = guests.visit(home, color_scheme=scheme, reduced_motion="reduce", **screen)
    expect(chat.launcher).to_be_visible()
    assert violations(chat) == []
    chat.open()
    assert violations(chat) == []
    chat.ask("Which books?").complete()
    assert violations(chat) == []


@pytest.mark.parametrize("accent", ["#ffe14d", "#101010", "#ff5a36", "#f4f4f4"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_brands_colour(
    guests: Guests, home: str, model: Model, accent: str, scheme: str
) -> None:
    model.script(text=ANSWER)
    page = guests.context(color_scheme=scheme, reduced_motion="reduce").new_page()
    page.add_init_script(
        "const sheet = new CSSStyleSheet();"
        f"sheet.replaceSync('parlance-chat {{ --parlance-accent: {accent} }}');"
        "addEventListener('load', () => document.adoptedStyleSheets = [sheet]);"
    )
    page.goto(home)
    chat = Chat(page).open().ask("Which books?").complete()
    assert violations(chat) == []


def violations(chat: Chat) -> list[str]:
    results = Axe().run(chat.page).response
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in results["violations"]
        for node in found["nodes"]
    ]


def test_the_keyboard_goes_in_and_comes_back(guests: Guests, home: str) -> None:
    chat = guests.visit(home)
    chat.page.keyboard.press("Tab")  # the page's own link
    chat.page.keyboard.press("Tab")
    expect(chat.launcher).to_be_focused()
    expect(chat.launcher).to_have_attribute("aria-expanded", "false")
    chat.page.keyboard.press("Enter")
    expect(chat.field).to_be_focused()
    expect(chat.launcher).to_have_attribute("aria-expanded", "true")
    chat.page.keyboard.press("Escape")
    expect(chat.panel).to_be_hidden()
    expect(chat.launcher).to_be_focused()
    expect(chat.launcher).to_have_attribute("aria-expanded", "false")


def test_everything_can_be_reached_by_tab(guests: Guests, home: str) -> None:
    chat = guests.visit(home).open()
    reached = []
    for _ in range(9):
        reached.append(
            chat.page.evaluate(
                "[document.activeElement.shadowRoot?.activeElement].map(e => e ? e.ariaLabel || e.textContent : '')[0]"
            )
        )
        chat.page.keyboard.press("Shift+Tab")
    assert {"Your message", "A gift for a ten-year-old", "Where is my order?", "Conversation"} <= set(reached)
    assert {"Close the chat", "New conversation"} <= set(reached)


def test_a_restored_panel_takes_no_focus(guests: Guests, home: str) -> None:
    chat = guests.visit(home).open()
    chat.page.reload()
    expect(chat.panel).to_be_visible()
    assert chat.page.evaluate("document.activeElement.localName") == "body"


def test_enter_sends_and_shift_enter_begins_a_line(guests: Guests, home: str, model: Model) -> None:
    model.script(text="Hello.")
    chat = guests.visit(home).open()
    chat.field.press_sequentially("one")
    height = chat.field.evaluate("element => element.clientHeight")
    chat.field.press("Shift+Enter")
    chat.field.press_sequentially("two")
    expect(chat.field).to_have_value("one\ntwo")
    assert chat.field.evaluate("element => element.clientHeight") > height
    chat.field.press("Enter")
    expect(chat.questions).to_have_text("one\ntwo")
    expect(chat.field).to_have_value("")
    assert chat.field.evaluate("element => element.clientHeight") == height


def test_an_input_methods_enter_is_its_own(guests: Guests, home: str) -> None:
    chat = guests.visit(home).open()
    chat.field.fill("にほん")
    press = "(element, key) => element.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, ...key}))"
    for key in ({"key": "Enter", "isComposing": True}, {"key": "Enter", "keyCode": 229}):
        chat.field.evaluate(press, key)
    chat.field.evaluate(press, {"key": "Escape", "isComposing": True})
    expect(chat.field).to_have_value("にほん")
    expect(chat.panel).to_be_visible()
    assert chat.questions.count() == 0


def test_an_answer_is_announced_once_when_it_is_whole(guests: Guests, home: str, model: Model) -> None:
    model.script(text="We are **open** until six, on weekdays that is.", deltas=9, pace_s=0.05)
    chat = guests.visit(home).open()
    chat.page.evaluate(
        """() => {
            window.heard = [];
            const root = document.querySelector('parlance-chat').shadowRoot;
            const live = each => each.closest('[aria-live]')?.ariaLive;
            new MutationObserver(changes => changes.forEach(({target}) => {
                const element = target.nodeType === 1 ? target : target.parentElement;
                if (element && ['polite', 'assertive'].includes(live(element))) heard.push(element.textContent);
            })).observe(root, {subtree: true, childList: true, characterData: true});
        }"""
    )
    chat.ask("When are you open?").complete()
    assert [text.strip() for text in chat.page.evaluate("heard")] == ["We are open until six, on weekdays that is."]


def test_the_reader_is_left_alone(guests: Guests, home: str, model: Model) -> None:
    model.script(text="\n\n".join(f"Paragraph {n}" for n in range(40)), times=1)
    model.script(text="\n\n".join(f"Line {n}" for n in range(40)), deltas=40, pace_s=0.05, times=1)
    chat = guests.visit(home).open().ask("First").complete()
    chat.ask("Second")
    expect(chat.prose).to_contain_text("Line 2")
    log = chat.panel.get_by_role("log")
    log.evaluate("element => element.scrollTop = 40")
    expect(chat.prose).to_contain_text("Line 20")
    assert log.evaluate("element => element.scrollTop") == 40
    chat.complete()
    assert log.evaluate("element => element.scrollTop") == 40
    chat.panel.get_by_role("button", name="Jump to the latest message").click()
    assert log.evaluate("element => element.scrollHeight - element.clientHeight - element.scrollTop") < 2


def test_who_reads_along_keeps_question_and_answer_in_sight(guests: Guests, home: str, model: Model) -> None:
    model.script(text="\n\n".join(f"Paragraph {n}" for n in range(12)), times=1)
    model.script(text="\n\n".join(f"Line {n}" for n in range(40)), times=1)
    chat = guests.visit(home).open().ask("First").complete()
    chat.ask("Second").complete()
    expect(chat.answers).to_have_count(2)
    expect(chat.questions.last).to_be_in_viewport(ratio=1)
    expect(chat.prose.get_by_text("Line 3", exact=True)).to_be_in_viewport()


def test_a_phone_is_filled_and_zooms_nothing(guests: Guests, home: str) -> None:
    chat = guests.visit(home, **PHONE).open()
    chat.page.wait_for_timeout(600)  # the panel's entrance
    box = chat.panel.bounding_box()
    assert box == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert float(chat.field.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")) >= 16
    assert chat.panel.evaluate("element => element.matches(':modal')")
    chat.panel.get_by_role("button", name="Close the chat").click()
    expect(chat.launcher).to_be_focused()


def test_a_phone_is_not_covered_by_the_next_page(guests: Guests, home: str) -> None:
    chat = guests.visit(home, **PHONE).open()
    chat.page.reload()
    expect(chat.panel).to_be_visible()
    chat.page.goto(home.replace("/home", "/about"))
    expect(chat.launcher).to_be_visible()
    expect(chat.panel).to_be_hidden()


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_every_target_is_large_enough(guests: Guests, home: str, screen: dict[str, Any]) -> None:
    chat = guests.visit(home, **screen).open()
    least = 44 if screen is PHONE else 24
    for button in chat.panel.get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert round(min(box["width"], box["height"])) >= least, button.inner_html()


def test_it_fits_a_window_of_320_pixels(guests: Guests, home: str, model: Model) -> None:
    """400 % zoom of a window 1280 wide (WCAG 1.4.10)."""
    model.script(text=ANSWER)
    chat = guests.visit(home, viewport={"width": 320, "height": 256}).open().ask("Which books?").complete()
    assert chat.panel.get_by_role("log").evaluate("element => element.scrollWidth <= element.clientWidth")
    expect(chat.field).to_be_in_viewport(ratio=1)
    expect(chat.send).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize(
    ("language", "label"),
    [("de", "Ihre Nachricht"), ("fr-CA", "Votre message"), ("ar", "رسالتك"), ("xx", "Your message")],
)
def test_it_speaks_the_pages_language(guests: Guests, host: Host, tag: str, language: str, label: str) -> None:
    chat = guests.visit(host.page("/spoken", tag, html=f'lang="{language}"'))
    chat.launcher.click()
    expect(chat.panel.get_by_role("textbox", name=label)).to_be_visible()
    assert chat.panel.evaluate("element => getComputedStyle(element).direction") == (
        "rtl" if language == "ar" else "ltr"
    )


def test_it_speaks_the_browsers_language_where_the_page_names_none(guests: Guests, host: Host, tag: str) -> None:
    chat = guests.visit(host.page("/mute", tag, html=""), locale="de-AT")
    chat.launcher.click()
    expect(chat.panel.get_by_role("textbox", name="Ihre Nachricht")).to_be_visible()


def test_right_to_left_mirrors_the_panel(guests: Guests, host: Host, tag: str, model: Model) -> None:
    model.script(text="مرحبا بكم في المتجر")
    chat = guests.visit(host.page("/rtl", tag, html='lang="ar" dir="rtl"'))
    chat.launcher.click()
    chat.field.fill("أين طلبي؟")
    chat.field.press("Enter")
    chat.complete()
    question, field = chat.questions.bounding_box(), chat.field.bounding_box()
    send = chat.panel.get_by_role("button", name="إرسال").bounding_box()
    panel = chat.panel.bounding_box()
    assert question
    assert field
    assert send
    assert panel
    assert send["x"] < field["x"]
    assert question["x"] - panel["x"] < 30
