"""What stands below an answer: sources, what was looked up, replies to tap, a hand-off, passages instead of an answer.

The events are put into the browser's own line, so that each can be seen by itself and at its moment.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from browser.conftest import Chat, Guests
from browser.test_access import DESK, PHONE, violations

START = ("start", {"turn": "t", "conversation": "c", "message": "m"})
DELIVERY = {"n": 1, "title": "Delivery", "url": "https://fern.example/delivery"}
HOURS = {"n": 2, "title": "Hours"}
TRICK = {"n": 3, "title": "Trick", "url": "javascript:alert(1)"}
CITED = "Two days [1], and until six [2][3]. See `a[1]` and [4]."


def done(text: str, state: str = "complete") -> tuple[str, dict[str, Any]]:
    return "done", {"message": "m", "state": state, "stop_reason": "end_turn", "text": text}


class Line:
    """The way to the server, with answers of ours: a stream that lacks its end is asked for again, and waits."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: list[Route] = []
        self._sent = 0
        page.route("**/v1/turns/*/events", lambda route: self._open.append(route))

    def answer(self, *events: tuple[str, dict[str, Any]]) -> None:
        self._page.route("**/v1/messages", lambda route: self._stream(route, START, *events), times=1)

    def then(self, *events: tuple[str, dict[str, Any]]) -> None:
        """What comes on the line that the widget opened when the last one was cut."""
        while not self._open:
            self._page.wait_for_timeout(20)
        self._stream(self._open.pop(), *events)

    def transcript(self, *messages: dict[str, Any], **more: Any) -> None:
        said = {"id": "c", "messages": list(messages), "answered_by": "assistant", **more}
        self._page.route("**/v1/conversation", lambda route: route.fulfill(json=said, headers=ALLOWED))

    def _stream(self, route: Route, *events: tuple[str, dict[str, Any]]) -> None:
        frames = []
        for event, data in events:
            self._sent += 1
            frames.append(f"id: 0-{self._sent}\nevent: {event}\ndata: {json.dumps(data)}\n\n")
        route.fulfill(body="".join(frames), headers={**ALLOWED, "Content-Type": "text/event-stream"})


ALLOWED = {"Access-Control-Allow-Origin": "*"}


@pytest.fixture
def chat(guests: Guests, home: str) -> Chat:
    return guests.visit(home)


@pytest.fixture
def line(chat: Chat) -> Line:
    return Line(chat.page)


def links(chat: Chat, where: str) -> list[tuple[str, str, str]]:
    """Text, address and relation of the links there."""
    script = "all => all.map(each => [each.textContent, each.getAttribute('href'), each.rel])"
    return [tuple(each) for each in chat.answer.locator(f"{where} a").evaluate_all(script)]


def test_a_marker_leads_to_its_source_and_nothing_else_does(chat: Chat, line: Line) -> None:
    line.answer(("text", {"text": CITED}), *[("source", source) for source in (DELIVERY, HOURS, TRICK)], done(CITED))
    chat.open().ask("How long?").complete("Two days [1], and until six [2][3]. See a[1] and [4].")
    assert chat.prose.locator("sup").all_inner_texts() == ["[1]", "[2]", "[3]"]
    assert links(chat, "sup") == [("[1]", DELIVERY["url"], "noopener nofollow")]
    assert links(chat, "ol") == [("Delivery", DELIVERY["url"], "noopener nofollow")]
    items = chat.answer.locator("ol li")
    assert items.all_inner_texts() == ["Delivery", "Hours", "Trick"]
    assert items.evaluate_all("all => all.map(each => each.value)") == [1, 2, 3]


def test_a_marker_is_raised_as_soon_as_its_source_is_known(chat: Chat, line: Line) -> None:
    line.answer(("text", {"text": CITED}))
    chat.open().ask("How long?")
    expect(chat.prose).to_contain_text("until six")
    expect(chat.prose.locator("sup")).to_have_count(0)
    line.then(("source", DELIVERY))
    expect(chat.prose.locator("sup")).to_have_text(["[1]"])
    line.then(("reset", {"reason": "retry"}), ("text", {"text": CITED}), ("source", HOURS))
    expect(chat.prose.locator("sup")).to_have_text(["[2]"])
    line.then(done(CITED))
    chat.complete()


def test_sources_are_there_again_after_a_reload(chat: Chat, line: Line) -> None:
    line.answer(("text", {"text": CITED}), ("source", DELIVERY), done(CITED))
    chat.open().ask("How long?").complete()
    line.transcript({"id": "m", "role": "assistant", "text": CITED, "state": "complete", "sources": [DELIVERY]})
    chat.page.reload()
    chat.complete()
    assert links(chat, "sup") == [("[1]", DELIVERY["url"], "noopener nofollow")]
    expect(chat.answer.locator("ol li")).to_have_text(["Delivery"])


def test_what_is_looked_up_is_shown_while_it_is_and_goes_quietly(chat: Chat, line: Line) -> None:
    def tool(name: str, state: str) -> tuple[str, dict[str, Any]]:
        return "tool", {"id": name, "label": f"Looking up {name}", "state": state}

    line.answer(tool("orders", "running"), tool("shops", "running"))
    chat.open().ask("Where?")
    busy = chat.answer.locator(".busy")
    expect(busy).to_have_text(["Looking up orders", "Looking up shops"])
    line.then(tool("orders", "done"), tool("shops", "failed"))
    expect(busy).to_have_count(1)  # an answer is being written
    expect(chat.answer.locator(".done")).to_have_text("Looking up orders")
    expect(chat.answer.locator(".failed")).to_have_text("Looking up shops")
    line.then(done("Here."))
    chat.complete("Here.")
    expect(chat.answer.locator(".extras > *")).to_have_count(0)


def test_what_is_looked_up_is_shown_on_the_next_page(chat: Chat, line: Line) -> None:
    line.answer(("tool", {"id": "a", "label": "Looking up orders", "state": "running"}))
    chat.open().ask("Where?")
    expect(chat.answer.locator(".busy")).to_have_text("Looking up orders")
    line.transcript(
        {"id": "q", "role": "visitor", "text": "Where?", "state": "complete"}, turn={"id": "t", "state": "running"}
    )
    chat.page.reload()
    line.then(START, ("tool", {"id": "a", "label": "Looking up orders", "state": "running"}))
    expect(chat.answer.locator(".busy")).to_have_text("Looking up orders")
    line.then(("tool", {"id": "a", "label": "Looking up orders", "state": "done"}), done("Here."))
    chat.complete("Here.")
    assert chat.answers.count() == 1


def test_a_reply_is_said_by_a_tap_and_takes_the_others_along(chat: Chat, line: Line) -> None:
    line.answer(("text", {"text": "Which shop?"}), ("suggestions", {"replies": ["Leeds", "York"]}))
    chat.open().ask("When are you open?")
    expect(chat.prose).to_have_text("Which shop?")
    offered = chat.panel.get_by_role("list", name="Suggested replies")
    expect(offered).to_have_count(0)
    line.then(done("Which shop?"))
    expect(offered.get_by_role("button")).to_have_text(["Leeds", "York"])
    line.answer(done("From nine."))
    offered.get_by_role("button", name="York").press("Enter")
    chat.complete("From nine.")
    expect(chat.questions).to_have_text(["When are you open?", "York"])
    expect(offered).to_have_count(0)
    expect(chat.field).to_be_focused()
    expect(chat.field).to_have_value("")


def test_replies_are_told_once_with_the_answer(chat: Chat, line: Line) -> None:
    line.answer(("suggestions", {"replies": ["Leeds", "York"]}), ("handoff", {"state": "asked"}), done("Which shop?"))
    chat.open().ask("When are you open?").complete()
    told = "Which shop?\nA person has been asked to join.\nSuggested replies\nLeeds\nYork"
    assert chat.panel.locator("[aria-live=polite]").text_content() == told
    assert chat.panel.get_by_role("log").get_attribute("aria-live") == "off"


def test_a_line_says_that_a_person_has_been_asked(chat: Chat, line: Line) -> None:
    line.answer(("handoff", {"state": "asked"}))
    chat.open().ask("A human, please")
    expect(chat.answer.locator(".aside")).to_have_text("A person has been asked to join.")
    line.then(done("I have asked."))
    chat.complete("I have asked.")
    expect(chat.answer.locator(".aside")).to_have_text("A person has been asked to join.")


def test_where_no_model_answers_the_sites_own_words_may_help(chat: Chat, line: Line) -> None:
    long = "A parcel takes two working days, or three to the islands. " * 9
    passages = [
        {"title": "Delivery", "url": DELIVERY["url"], "text": long},
        {"title": "Islands", "url": "javascript:alert(1)", "text": "We sail on Mondays."},
    ]
    detail = "I cannot think just now."
    line.answer(("error", {"code": "unavailable", "detail": detail, "retry": True, "passages": passages}))
    chat.open().ask("How long?")
    notice = chat.panel.locator(".notice")
    expect(notice).to_contain_text("I cannot think just now.")
    expect(notice).to_contain_text("Meanwhile, this may help:")
    first, second = notice.get_by_role("listitem").all()
    assert first.inner_text().startswith("Delivery\nA parcel takes two working days")
    assert first.inner_text().endswith("…")
    assert 170 < len(first.inner_text()) < 215
    assert long.startswith(first.inner_text().removeprefix("Delivery\n").removesuffix("…") + " ")
    assert second.inner_text() == "Islands\nWe sail on Mondays."
    expect(notice.get_by_role("link")).to_have_text(["Delivery"])
    expect(notice.get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_nothing_below_either(guests: Guests, home: str, screen: dict[str, Any], scheme: str) -> None:
    chat = guests.visit(home, color_scheme=scheme, reduced_motion="reduce", **screen)
    line = Line(chat.page)
    sources = [("source", each) for each in (DELIVERY, HOURS)]
    line.answer(*sources, ("handoff", {"state": "asked"}), ("suggestions", {"replies": ["Leeds", "York"]}), done(CITED))
    chat.open().ask("How long?").complete()
    assert violations(chat) == []
    for button in chat.panel.get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert round(min(box["width"], box["height"])) >= (44 if screen is PHONE else 24), button.inner_html()
