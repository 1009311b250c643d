"""Memory: a bounded window over what was confirmed, which slides in blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parlance.claude.models import load
from parlance.conversations import ASSISTANT, NOTICE, VISITOR, Message
from parlance.memory import KEEP, Window, estimate, window
from parlance.site import Memory
from tests.house import FERN, House

LIMIT = 500


def said(*sizes: int) -> list[Message]:
    """A conversation that alternates, with texts of so many letters."""
    return [Message(f"m_{i}", (VISITOR, ASSISTANT)[i % 2], "x" * size, "") for i, size in enumerate(sizes)]


def test_a_short_conversation_is_remembered_whole():
    messages = said(30, 30, 30)
    assert window(messages, LIMIT).start == 0
    assert window(messages, LIMIT).tokens == sum(estimate(message.text) for message in messages)


def test_nothing_is_remembered_of_nothing():
    assert window([], LIMIT) == Window(0, 0)


def test_the_newest_message_is_remembered_however_long_it_is():
    messages = said(300, 300, 90_000)
    assert window(messages, LIMIT).start == 2


def test_it_begins_with_a_visitors_message():
    messages = said(900, 300, 300, 300, 300, 300, 300)
    start = window(messages, LIMIT).start
    assert start > 0
    assert messages[start].role == VISITOR


def test_it_slides_in_blocks():
    """It moves once in several turns, and by several exchanges: else the prompt's beginning changed every turn."""
    messages = said(*[90] * 120)
    starts = [window(messages[: n + 1], LIMIT).start for n in range(0, 120, 2)]
    moved = [after - before for before, after in pairwise(starts)]
    assert set(moved) > {0}
    assert min(step for step in moved if step) >= 4
    assert moved.count(0) > len(moved) / 2


SIZES = st.lists(st.integers(0, 900), min_size=1, max_size=40)


@given(SIZES)
def test_it_is_bounded(sizes):
    messages = said(*sizes)
    found = window(messages, LIMIT)
    rest = messages[found.start :]
    assert found.tokens == sum(estimate(message.text) for message in rest)
    assert found.tokens <= LIMIT or len(rest) <= 2
    assert rest[0].role == VISITOR or len(rest) == 1


@given(SIZES, st.integers(0, 40))
@example([0, 0, 261, 291, 348, 459, 639, 153, 156], 7)  # a slide that ends at an assistant's message
def test_windows_add_up(sizes, split):
    """A window that was found once is where the next search may begin."""
    messages = said(*sizes)
    first = window(messages[:split], LIMIT).start if split else 0
    assert first + window(messages[first:], LIMIT).start == window(messages, LIMIT).start


@pytest.mark.parametrize("text", ["Hello there, how are you?", "これは本の話です。", "🎈" * 20, "a", "é" * 100])
def test_an_estimate_is_on_the_safe_side(text):
    assert estimate(text) > len(text.encode()) / 4
    assert estimate(text) >= len(text) / 4


def test_half_of_it_is_kept():
    assert KEEP == 0.5


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(settings, store):
    with House(settings, store.url) as house:
        yield house


def asked(house: House) -> list[list[dict]]:
    return [call.body["messages"] for call in house.demo.calls]


def plain(messages: list[dict]) -> list[tuple[str, str]]:
    return [(message["role"], "".join(block["text"] for block in message["content"])) for message in messages]


def test_each_turn_sends_what_the_last_one_did_and_goes_on(house):
    """To the letter, marks apart: that is what the cache lives on."""
    ann = house.visitor()
    for question in ("Do you gift-wrap?", "Where?", "Thanks!", "One more: do you gift-wrap?"):
        assert ann.ask(question, page={"url": "https://fern.example/" + question[:2], "title": "x"}).end.name == "done"
    for before, after in pairwise(asked(house)):
        assert plain(after)[: len(before)] == plain(before)
        assert len(after) == len(before) + 2
    reads = [call.usage["cache_read_input_tokens"] for call in house.demo.calls]
    assert reads[0] == 0
    assert all(more > less for less, more in pairwise(reads)), "each turn reads what the last one wrote"


def test_the_window_slides_in_blocks_and_the_transcript_keeps_all(house):
    house.services.sites.apply([replace(FERN, memory=Memory(window_tokens=500))])
    ann = house.visitor()
    house.demo.script.add(text="Yes. " * 20, times=None)
    for i in range(9):
        ann.ask(f"Question {i}: " + "why? " * 20).all()
    sent = asked(house)
    firsts = [plain(messages)[0][1].split(":")[0] for messages in sent]
    assert firsts[0] == "Question 0"
    assert 2 <= len(set(firsts)) <= 5, firsts
    for (a, b), (before, after) in zip(pairwise(firsts), pairwise(sent), strict=True):
        assert a != b or plain(after)[: len(before)] == plain(before)
    assert all(messages[-1]["role"] == messages[0]["role"] == "user" for messages in sent)
    assert len(ann.messages()) == 18


def test_a_window_is_never_wider_than_what_its_models_hold(house):
    house.services.sites.apply([replace(FERN, memory=Memory(window_tokens=500_000))])
    least = min(load().find(name).context for name in ("standard", "cheap"))
    assert house.services.turns._questions._window_tokens(house.services.sites.get("fern")) <= least / 2


def test_a_failed_question_is_still_heard_with_the_next(house):
    ann = house.visitor()
    house.demo.script.add(status=401)
    assert ann.ask("First?").end.name == "error"
    assert ann.ask("Second?").end.name == "done"
    assert plain(asked(house)[-1]) == [("user", "First?Second?")]
    assert [message["role"] for message in ann.messages()] == [VISITOR, NOTICE, VISITOR, ASSISTANT]


def test_another_worker_remembers_the_same(house, settings, store):
    with House(settings, store.url, upstream=house.demo) as other:
        ann = house.visitor()
        ann.ask("One").all()
        ann.at(other).ask("Two").all()
        ann.ask("Three").all()
        assert [text for role, text in plain(asked(house)[-1]) if role == "user"] == ["One", "Two", "Three"]


def test_a_new_conversation_remembers_nothing_of_the_old(house):
    ann = house.visitor()
    ann.ask("Secret").all()
    conversation = ann.call("POST", "/v1/conversation").json["id"]
    ann.ask("Hello", conversation=conversation).all()
    assert plain(asked(house)[-1]) == [("user", "Hello")]
