"""The answer's stream: what comes, in what order, again from anywhere, at any worker, and what stops it."""

from __future__ import annotations

import time
from dataclasses import replace

import gevent
import pytest

from demo import Demo
from parlance import journal, runner
from parlance.errors import StoreUnavailable
from parlance.ledger import LOST
from parlance.store import keys
from tests.house import FERN, House, Stream, until, unwatched_after

TEXT = "Once upon a time, in a shop by the river, a book was opened and it read itself."
SLOW = {"text": TEXT, "pace_s": 0.03}
LONG = {"text": "word " * 2000, "pace_s": 0.01}


@pytest.fixture
def house(settings, store):
    with House(settings, store.url) as house:
        yield house


@pytest.fixture
def other(house, settings, store):
    """Another worker of the same server."""
    with House(settings, store.url, upstream=house.demo) as other:
        yield other


@pytest.fixture
def ann(house):
    return house.visitor()


def left_early(house: House) -> bool:
    """Whether the upstream noticed that its last call was dropped."""
    calls = list(house.demo.calls)
    return bool(calls) and calls[-1].ended is not None and calls[-1].left


# -- what comes --------------------------------------------------------------------------------------------------------


def test_it_starts_before_the_model_is_asked(house, ann):
    house.demo.script.add(first_byte_s=5.0)
    stream = ann.ask()
    start = next(iter(stream))
    assert start.name == "start"
    assert set(start.data) == {"turn", "conversation", "message"}
    assert not any(call.status for call in house.demo.calls)
    ann.call("POST", f"/v1/turns/{stream.turn}/cancel")


def test_it_starts_within_fifty_milliseconds(ann):
    took = []
    for _ in range(5):
        began = time.perf_counter()
        stream = ann.ask()
        next(iter(stream))
        took.append(time.perf_counter() - began)
        stream.all()
    assert min(took) < 0.05, took


def test_it_comes_in_several_pieces_that_add_up(house, ann):
    house.demo.script.add(**SLOW)
    stream = ann.ask()
    assert stream.names == ["start", "text", "done"]
    assert [event.name for event in stream.seen].count("text") > 3
    assert stream.end.data == {
        "message": stream.seen[0].data["message"],
        "state": "complete",
        "stop_reason": "end_turn",
        "text": TEXT,
    }
    assert stream.text == TEXT


def test_its_ids_grow(house, ann):
    house.demo.script.add(**SLOW)
    places = [tuple(map(int, event.id.split("-"))) for event in ann.ask().all()]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    "text", ["a\u2028b\u2029c", "[DONE]", "data: x\n\nevent: done\n\n", "é🎈\u0000\r\n", "a\x85\x0cb"]
)
def test_it_brings_text_through_to_the_letter(house, ann, text):
    house.demo.script.add(text=text)
    stream = ann.ask()
    assert stream.text == stream.end.data["text"] == text
    assert ann.messages()[1]["text"] == text


# -- again -------------------------------------------------------------------------------------------------------------


def test_it_is_replayed_from_every_id_to_the_byte(house, other, ann):
    house.demo.script.add(**SLOW)
    first = ann.ask()
    first.all()
    for visitor in (ann, ann.at(other)):
        whole = visitor.watch(first.turn)
        whole.all()
        assert whole.raw == first.raw
        for event in first.seen:
            rest = visitor.watch(first.turn, event.id)
            rest.all()
            head = f"id: {event.id}\n".encode()
            after = first.raw.index(b"\n\n", first.raw.index(head)) + 2
            assert rest.raw == first.raw[after:]


def test_it_takes_the_place_from_the_header_too(ann):
    first = ann.ask()
    first.all()
    headers = {"Last-Event-ID": first.seen[0].id}
    again = ann.house.open("GET", f"/v1/turns/{first.turn}/events", token=ann.token, headers=headers)
    assert again.all() == first.seen[1:]
    both = f"/v1/turns/{first.turn}/events?after={first.seen[-1].id}"
    assert ann.house.open("GET", both, token=ann.token, headers=headers).all() == []


def test_from_the_last_id_it_is_empty_and_ends_at_once(ann):
    first = ann.ask()
    assert ann.watch(first.turn, first.end.id).all() == []


@pytest.mark.parametrize(
    "after", ["x", "1", "-", "1-", "0-1-2", "a-b", "-1-1", " 0-1", "0-1%0a", "9" * 30 + "-1", "٠-١"]
)
def test_what_is_no_event_id_is_refused(ann, after):
    first = ann.ask()
    first.all()
    reply = ann.watch(first.turn, after)
    assert (reply.status, reply.code, list(reply.json["errors"])) == (400, "invalid_request", ["after"])


def test_an_unknown_parameter_is_refused_by_name(ann):
    first = ann.ask()
    first.all()
    reply = ann.call("GET", f"/v1/turns/{first.turn}/events?since=1")
    assert (reply.status, list(reply.json["errors"])) == (400, ["since"])


def test_many_viewers_at_two_workers_see_the_same_bytes(house, other, ann):
    house.demo.script.add(**SLOW)
    first = ann.ask()
    first.until("text")
    viewers = [visitor.watch(first.turn) for visitor in (ann, ann.at(other), ann, ann.at(other))]
    gevent.joinall([gevent.spawn(viewer.all) for viewer in [first, *viewers]], raise_error=True)
    assert {viewer.raw for viewer in viewers} == {first.raw}


def test_it_is_resumed_in_the_middle_at_another_worker(house, other, ann):
    house.demo.script.add(**SLOW)
    first = ann.ask()
    seen = first.until("text", 3)
    first.close()
    rest = ann.at(other).watch(first.turn, seen.id)
    assert rest.end.data["text"] == TEXT
    before = "".join(event.data.get("text", "") for event in first.seen)
    assert before + rest.text == TEXT


def test_another_worker_hears_every_word_at_once(house, other, ann):
    """By letter, not by looking once a second."""
    house.demo.script.add(text="one two three four five six", pace_s=0.1)
    first = ann.ask()
    viewer = ann.at(other).watch(first.turn)
    viewer.until("text", 2)
    began = time.monotonic()
    viewer.until("text", 2)
    assert time.monotonic() - began < 0.9


def test_it_can_be_replayed_for_ten_minutes(house, store, ann):
    stream = ann.ask()
    stream.all()
    assert store.do("TTL", keys.events("fern", stream.turn)) >= 600
    store.do("DEL", keys.events("fern", stream.turn))
    reply = ann.watch(stream.turn)
    assert (reply.status, reply.code) == (404, "not_found")


def test_a_visitor_leaves_nothing_that_stays_for_ever(house, other, store, ann):
    house.demo.script.add(**SLOW)
    stream = ann.ask()
    ann.at(other).watch(stream.turn).all()
    answer = stream.end.data["message"]
    ann.call("PUT", f"/v1/messages/{answer}/feedback", json={"rating": "up"})
    ours = [key for key in house.stored() if not key.endswith((":site", ":versions")) and ":ledger" not in key]
    for_ever = [key for key in ours if store.do("TTL", key) < 0]
    assert for_ever == ["parlance:origins", "parlance:sites"]


# -- what stops it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_cancelling_stops_it_and_the_upstream_at_once(house, other, ann, where):
    house.demo.script.add(**LONG)
    stream = ann.ask()
    stream.until("text", 2)
    began = time.monotonic()
    visitor = ann if where == "here" else ann.at(other)
    reply = visitor.call("POST", f"/v1/turns/{stream.turn}/cancel")
    assert (reply.status, reply.json) == (200, {"turn": stream.turn, "state": "cancelled"})
    until(lambda: left_early(house), 0.5)
    assert stream.end.data["state"] == stream.end.data["stop_reason"] == "cancelled"
    assert time.monotonic() - began < 0.9
    assert stream.end.data["text"] == stream.text
    assert ann.messages()[1]["state"] == "cancelled"
    assert ann.messages()[1]["text"] == stream.text


def test_cancelling_is_idempotent_and_tells_the_state(house, ann):
    done = ann.ask()
    done.all()
    for _ in range(2):
        assert ann.call("POST", f"/v1/turns/{done.turn}/cancel").json["state"] == "complete"
    house.demo.script.add(**LONG)
    stream = ann.ask()
    stream.until("text")
    for _ in range(3):
        assert ann.call("POST", f"/v1/turns/{stream.turn}/cancel").json["state"] == "cancelled"
    assert stream.end.data["state"] == "cancelled"
    assert ann.call("POST", f"/v1/turns/{stream.turn}/cancel").json["state"] == "cancelled"


def test_cancelling_before_the_first_word_keeps_the_question(house, ann):
    house.demo.script.add(first_byte_s=10.0)
    stream = ann.ask()
    until(lambda: len(house.demo.calls) == 1)
    ann.call("POST", f"/v1/turns/{stream.turn}/cancel")
    assert stream.end.data == {**stream.end.data, "state": "cancelled", "text": ""}
    assert ann.ask("And now?").end.data["state"] == "complete"


def test_a_cancelled_conversation_goes_on(house, ann):
    house.demo.script.add(**LONG)
    stream = ann.ask()
    stream.until("text", 2)
    ann.call("POST", f"/v1/turns/{stream.turn}/cancel")
    stream.all()
    assert ann.ask("And now?").end.data["state"] == "complete"
    sent = list(house.demo.calls)[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"][0]["text"] == stream.text


def test_closing_the_connection_does_not_stop_it(house, ann):
    house.demo.script.add(**SLOW)
    stream = ann.ask()
    stream.until("text")
    stream.close()
    until(lambda: not house.services.runner.running)
    assert ann.watch(stream.turn).end.data["text"] == TEXT


def test_it_stops_when_nobody_has_watched_for_a_while(house, ann):
    house.services.sites.apply([unwatched_after(1)])
    house.demo.script.add(**LONG)
    stream = ann.ask()
    stream.until("text")
    stream.close()
    until(lambda: left_early(house), 4)
    end = ann.watch(stream.turn).end.data
    assert (end["state"], end["stop_reason"]) == ("interrupted", "unwatched")
    assert ann.messages()[1]["text"] == end["text"]


def test_a_viewer_at_another_worker_counts_as_watching(house, other, ann):
    house.services.sites.apply([unwatched_after(1)])
    other.services.sites.apply([unwatched_after(1)])
    house.demo.script.add(text="word " * 120, pace_s=0.025)
    stream = ann.ask()
    viewer = ann.at(other).watch(stream.turn)
    stream.close()
    assert viewer.end.data["state"] == "complete"


@pytest.mark.parametrize("spoken", [True, False])
def test_it_ends_at_its_deadline(settings, store, spoken):
    with House(replace(settings, answer_deadline_s=1.0), store.url) as house:
        house.demo.script.add(**(LONG if spoken else {"first_byte_s": 10.0}))
        ann = house.visitor()
        stream = ann.ask()
        if spoken:
            assert stream.end.data["state"] == "interrupted"
            assert stream.end.data["text"] == stream.text != ""
            assert left_early(house)
        else:
            assert stream.end.name == "error"
            assert stream.end.data["retry"] is True
            assert ann.messages()[1]["role"] == "notice"


def test_a_silent_stream_says_that_it_is_there(settings, store, monkeypatch):
    monkeypatch.setattr(journal, "HEARTBEAT_S", 0.2)
    with House(settings, store.url) as house:
        house.demo.script.add(text="one two", after=1, stall_s=3.0)
        stream = house.visitor().ask()
        assert stream.end.data["text"] == "one two"
        assert stream.comments >= 1


def test_heartbeats_come_within_fifteen_seconds():
    assert journal.HEARTBEAT_S + 2 * runner.BEAT_S <= 15


# -- workers that go ---------------------------------------------------------------------------------------------------


def test_a_worker_that_ends_hands_its_answers_over(settings, store, house, other):
    house.demo.script.add(text=TEXT, pace_s=0.15)
    ann = house.visitor()
    stream = ann.ask()
    seen = stream.until("text", 2)
    gevent.spawn(house.stop)
    stream.all()
    assert not [event for event in stream.seen if event.name in ("done", "error")]
    rest = ann.at(other).watch(stream.turn, seen.id)
    assert rest.end.data["text"] == rest.text != ""
    assert "reset" in rest.names
    rows = other.rows()
    assert len(rows) == len({row["call"] for row in rows}) == 2
    assert store.do("ZCARD", keys.leases("fern")) == 0


def away(act):
    raise StoreUnavailable("away")


def test_a_worker_cut_off_from_the_store_is_replaced_and_fenced(house, other, ann, monkeypatch):
    """It lives, and goes on talking to who watches it; but what the other one says is the answer."""
    house.demo.script.add(text=TEXT, pace_s=0.6)
    house.demo.script.add(text=TEXT)
    stream = ann.ask()
    viewer = ann.at(other).watch(stream.turn)
    viewer.until("text", 2)
    with monkeypatch.context() as partition:
        partition.setattr(house.store, "_guarded", away)
        stream.until("text", 2)
        viewer.until("reset")
        assert viewer.end.data["text"] == viewer.text == TEXT
        until(lambda: len(other.rows()) == 2)
        lost, whole = sorted(other.rows(), key=lambda row: row["at"])
        assert (lost["error_class"], lost["estimated"], whole["error_class"]) == (LOST, True, "")
        assert whole["output_tokens"] > lost["output_tokens"] > 0
        assert lost["cost_nano_usd"] > 0
    assert stream.end == viewer.end
    assert stream.text == TEXT
    until(lambda: len(house.rows()) == 2 and not house.services.runner.running)
    assert sorted(row["error_class"] for row in house.rows()) == ["", "fenced"]
    assert [message["role"] for message in ann.messages()] == ["visitor", "assistant"]


def test_nothing_is_appended_to_a_stream_that_is_gone(store):
    assert store.append([("gone", "0-2", b"x")]) == [False]
    assert store.do("EXISTS", "gone") == 0
    store.do("XADD", "there", "0-2", "f", "x")
    assert store.append([("there", "0-2", b"y"), ("gone", "0-3", b"y"), ("there", "0-3", b"y")]) == [False, False, True]
    store.close()


def test_an_answer_that_ends_in_an_outage_ends_after_its_last_word(house, ann, monkeypatch):
    house.demo.script.add(text=TEXT, pace_s=0.005)
    stream = ann.ask()
    stream.until("text", 2)
    with monkeypatch.context() as outage:
        outage.setattr(house.store, "_guarded", away)
        assert stream.end.data["text"] == stream.text == TEXT
        assert ann.send().code == "unavailable"
    until(lambda: not house.services.runner.running)
    again = ann.watch(stream.turn)
    assert again.end.data == stream.end.data
    assert again.text == TEXT
    assert [message["text"] for message in ann.messages()][1] == TEXT
    until(lambda: len(house.rows()) == 1)


def test_an_answer_whose_stream_was_lost_ends_for_its_viewers(house, other, store, ann):
    house.demo.script.add(**LONG)
    stream = ann.ask()
    stream.until("text")
    viewer = ann.at(other).watch(stream.turn)
    viewer.until("text")
    store.do("DEL", keys.events("fern", stream.turn), keys.turn("fern", stream.turn))
    for watching in (stream, viewer):
        assert watching.all()[-1].name == "text"
    until(lambda: left_early(house))


def test_in_a_cluster_too(settings, cluster_store):
    demo = Demo(pace_s=0.02)
    sites = (FERN,)
    with (
        House(settings, cluster_store.url, upstream=demo, sites=sites) as house,
        House(settings, cluster_store.url, upstream=demo, sites=sites) as other,
    ):
        ann = house.visitor()
        demo.script.add(**SLOW)
        first = ann.ask()
        viewer = ann.at(other).watch(first.turn)
        assert isinstance(viewer, Stream)
        assert viewer.all() == first.all()
        assert first.text == TEXT
        demo.script.add(**LONG)
        second = ann.ask()
        second.until("text")
        ann.at(other).call("POST", f"/v1/turns/{second.turn}/cancel")
        assert second.end.data["state"] == "cancelled"
        assert ann.call("DELETE", "/v1/visitor").status == 200
