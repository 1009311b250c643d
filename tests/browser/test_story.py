"""What a visitor lives through, in Chromium, on a host page under the strictest policy."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from browser.conftest import Chat, Guests, Host, Model, Wire

WORDS = " ".join(f"word{n}" for n in range(60))


@pytest.fixture
def slowly(model: Model) -> str:
    """An answer of about three seconds."""
    model.script(text=WORDS, deltas=60, pace_s=0.05)
    return WORDS


def test_it_answers_in_pieces(guests: Guests, home: str, slowly: str) -> None:
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.questions).to_have_text("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    assert "word59" not in chat.prose.inner_text()
    expect(chat.answer).to_have_attribute("data-state", "streaming")
    chat.complete(slowly)


def test_it_answers_a_suggestion(guests: Guests, home: str, model: Model) -> None:
    model.script(when="Where is my order?", text="On its way.")
    chat = guests.visit(home).open()
    chat.panel.get_by_role("button", name="Where is my order?").click()
    chat.complete("On its way.")
    expect(chat.panel.get_by_role("button", name="A gift for a ten-year-old")).to_be_hidden()


def test_an_answer_half_streamed_when_the_page_is_left_is_there_in_full_on_the_next(
    guests: Guests, home: str, slowly: str
) -> None:
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    chat.page.get_by_role("link", name="About").click()
    chat.page.wait_for_url("**/about")
    expect(chat.panel).to_be_visible()
    chat.complete(slowly)
    assert chat.questions.all_inner_texts() == ["Tell me something long"]
    assert chat.answers.count() == 1


def test_it_goes_on_after_a_reload(guests: Guests, home: str, slowly: str) -> None:
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    chat.page.reload()
    expect(chat.answer).to_have_attribute("data-state", "streaming")
    chat.complete(slowly)


def test_a_message_sent_as_the_page_is_left_is_answered_once(guests: Guests, home: str, slowly: str) -> None:
    chat = guests.visit(home).open()
    chat.ask("Quick")
    chat.page.goto(home)
    chat.complete(slowly)
    assert chat.questions.all_inner_texts() == ["Quick"]


def test_it_says_that_it_reconnects_and_loses_no_word(guests: Guests, home: str, slowly: str) -> None:
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    chat.page.context.set_offline(True)
    expect(chat.panel.get_by_text("Reconnecting…")).to_be_visible()
    so_far = chat.prose.inner_text()
    assert "word5" in so_far
    assert "word59" not in so_far
    chat.page.context.set_offline(False)
    chat.complete(slowly)
    expect(chat.panel.get_by_text("Reconnecting…")).to_have_count(0)


def test_it_goes_on_when_the_connection_dies(guests: Guests, host: Host, wire: Wire, server: str, slowly: str) -> None:
    url = host.page("/wired", f'<script src="{wire.url}/widget.js" data-site="fern" async></script>')
    chat = guests.visit(url).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    wire.cut()
    expect(chat.panel.get_by_text("Reconnecting…")).to_be_visible()
    wire.mend()
    chat.complete(slowly)
    assert chat.questions.count() == 1


def test_a_message_written_without_a_network_goes_out_with_it(guests: Guests, home: str, model: Model) -> None:
    model.script(text="Here I am.")
    chat = guests.visit(home).open()
    chat.page.context.set_offline(True)
    chat.ask("Are you there?")
    expect(chat.panel.get_by_text("Reconnecting…")).to_be_visible()
    expect(chat.questions).to_have_text("Are you there?")
    chat.page.context.set_offline(False)
    chat.complete("Here I am.")
    assert chat.questions.count() == 1


def test_it_stops_and_keeps_what_was_said(guests: Guests, home: str, slowly: str) -> None:
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    chat.stop.click()
    expect(chat.answer).to_have_attribute("data-state", "cancelled")
    expect(chat.answer).to_contain_text("Stopped.")
    kept = chat.prose.inner_text()
    assert kept.startswith("word0")
    assert "word59" not in kept
    chat.page.reload()
    expect(chat.prose).to_have_text(kept)
    expect(chat.answer).to_contain_text("Stopped.")
    expect(chat.send).to_be_visible()


def test_a_limit_counts_down_and_keeps_the_draft(guests: Guests, host: Host, server: str, model: Model) -> None:
    url = host.page("/narrow", f'<script src="{server}/widget.js" data-site="narrow"></script>')
    chat = guests.visit(url).open().ask("One").complete()
    chat.page.clock.install()
    chat.ask("Two")
    expect(chat.panel.locator(".note")).to_contain_text("Give me a moment to catch my breath.")
    expect(chat.field).to_have_value("Two")
    expect(chat.send).to_have_attribute("aria-disabled", "true")
    wait = chat.panel.locator(".wait")
    expect(wait).to_have_text(re.compile(r"You can write again in (1:00|0:5\d)\."))
    shown = wait.inner_text()
    expect(wait).not_to_have_text(shown)
    chat.field.press("Enter")
    assert chat.questions.all_inner_texts() == ["One"]
    chat.page.clock.fast_forward(61_000)
    expect(wait).to_have_count(0)
    expect(chat.send).to_have_attribute("aria-disabled", "false")
    expect(chat.field).to_have_value("Two")


def test_both_tabs_are_live(guests: Guests, home: str, slowly: str) -> None:
    one = guests.visit(home).open()
    two = one.page.context.new_page()
    two.goto(home)
    other = type(one)(two)
    expect(other.panel).to_be_visible()
    one.ask("Tell me something long")
    expect(one.prose).to_contain_text("word5")
    expect(other.questions).to_have_text("Tell me something long")
    expect(other.answer).to_have_attribute("data-state", "streaming")
    other.complete(slowly)
    one.complete(slowly)


def test_an_error_offers_a_retry_that_asks_once(guests: Guests, home: str, model: Model) -> None:
    model.script(status=529, times=None)
    chat = guests.visit(home).open().ask("Hello")
    notice = chat.panel.locator(".notice")
    expect(notice).to_have_count(1, timeout=60_000)
    model.clear()
    model.script(text="Sorry for the wait.")
    notice.get_by_role("button", name="Try again").click()
    chat.complete("Sorry for the wait.")
    chat.page.reload()
    chat.complete("Sorry for the wait.")
    assert chat.questions.all_inner_texts() == ["Hello"]


def test_a_broken_answer_is_never_shown_as_a_whole_one(guests: Guests, home: str, model: Model) -> None:
    model.script(text=WORDS, deltas=60, after=20, cut="reset", times=None)
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.answer).to_have_attribute("data-state", "interrupted", timeout=60_000)
    expect(chat.answer).to_contain_text("This answer broke off.")
    model.clear()
    model.script(when="Please continue where you left off.", text="And so on.")
    chat.answer.get_by_role("button", name="Continue").click()
    chat.complete("And so on.")


def test_a_session_that_is_over_begins_anew_and_says_so(guests: Guests, home: str, server: str, model: Model) -> None:
    model.script(text="Hello.", times=None)
    chat = guests.visit(home).open().ask("One").complete()
    headers = {"Authorization": f"Bearer {chat.kept()['token']}"}
    assert chat.page.request.delete(f"{server}/v1/visitor", headers=headers).ok
    chat.ask("Two")
    expect(chat.answers).to_have_count(2)
    chat.complete("Hello.")
    expect(chat.panel.locator(".notice")).to_contain_text("A new one begins here.")
    assert chat.questions.all_inner_texts() == ["One", "Two"]


def test_a_draft_outlives_the_page(guests: Guests, home: str) -> None:
    chat = guests.visit(home).open()
    chat.field.fill("Not yet sent")
    chat.page.reload()
    expect(chat.field).to_have_value("Not yet sent")


def test_a_new_conversation_is_empty_and_stays_so(guests: Guests, home: str, model: Model) -> None:
    model.script(text="Hello.")
    chat = guests.visit(home).open().ask("One").complete()
    chat.panel.get_by_role("button", name="New conversation").click()
    expect(chat.questions).to_have_count(0)
    expect(chat.panel.get_by_role("button", name="Where is my order?")).to_be_visible()
    chat.page.reload()
    expect(chat.panel.get_by_role("button", name="Where is my order?")).to_be_visible()
    assert chat.questions.count() == 0


def test_open_and_closed_carry_over_pages(guests: Guests, home: str) -> None:
    chat = guests.visit(home).open()
    chat.page.goto(home.replace("/home", "/about"))
    expect(chat.panel).to_be_visible()
    chat.field.press("Escape")
    chat.page.goto(home)
    expect(chat.launcher).to_be_visible()
    expect(chat.panel).to_be_hidden()


def test_the_page_goes_along_without_its_query(guests: Guests, home: str, model: Model) -> None:
    model.script(text="Hello.")
    chat = guests.visit(f"{home}?secret=1#part").open()
    with chat.page.expect_request("**/v1/messages") as asked:
        chat.ask("Where am I?")
    assert asked.value.post_data_json["page"] == {"url": home, "title": "Page /home"}
    chat.complete()


def test_the_page_stays_at_home_where_the_site_wants_that(guests: Guests, host: Host, server: str) -> None:
    url = host.page("/narrow", f'<script src="{server}/widget.js" data-site="narrow"></script>')
    chat = guests.visit(url).open()
    with chat.page.expect_request("**/v1/messages") as asked:
        chat.ask("Where am I?")
    assert "page" not in asked.value.post_data_json
    chat.complete()


def test_it_works_without_storage(guests: Guests, home: str, model: Model) -> None:
    model.script(text="Hello.", times=None)
    page = guests.context().new_page()
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    )
    page.goto(home)
    chat = Chat(page).open().ask("One").complete("Hello.")
    chat.ask("Two")
    expect(chat.answers).to_have_count(2)
    chat.complete("Hello.")


def test_the_demo_says_that_it_is_one_and_answers_from_the_sites_own_words(
    guests: Guests, host: Host, demo: str
) -> None:
    url = host.page("/demo", f'<script src="{demo}/widget.js" data-site="demo" async></script>')
    chat = guests.visit(url).open()
    expect(chat.panel.get_by_text("Demo", exact=True)).to_be_visible()
    chat.ask("How much does delivery cost?").complete()
    expect(chat.prose).to_contain_text("£4.50")


def test_it_walks_along_through_the_demo_website(guests: Guests, demo: str) -> None:
    chat = guests.visit(f"{demo}/demo/").open().ask("Where are you, and is there parking?")
    expect(chat.questions).to_have_count(1)
    chat.page.goto(f"{demo}/demo/delivery")
    expect(chat.panel).to_be_visible()
    chat.complete()
    expect(chat.prose).to_contain_text("7 Puddle Lane")
    assert chat.answers.count() == 1
