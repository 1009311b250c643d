"""Whatever goes wrong upstream: what the visitor sees of it, what is asked again, and what the ledger says.

The demo answers over real sockets here, so that resets, cuts and stalls are real ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from demo import Demo, serve
from parlance.claude.retry import Policy
from parlance.settings import Secret, Settings
from parlance.site import Memory
from tests.conftest import free_ports
from tests.house import FERN, QUICK, House, Stream, until

# What happens upstream does not depend on the store's engine.
pytestmark = pytest.mark.parametrize("redis_url", ["valkey"], indirect=True, scope="session")

MAIN, SPARE = "claude-sonnet-5-5", "claude-haiku-5-5"
WHOLE = "One two three four five six."
CANARY = "canary-7f3a"


@contextmanager
def house_over(app, settings: Settings, url: str, policy: Policy = QUICK) -> Iterator[House]:
    """A house that asks `app` over HTTP and has little patience with silence."""
    with serve(app) as address:
        asking = replace(
            settings, anthropic_api_key=Secret("sk-test"), anthropic_base_url=address, upstream_stall_s=0.3
        )
        with House(asking, url, upstream=app if isinstance(app, Demo) else None, policy=policy) as house:
            yield house


@pytest.fixture
def house(settings, store):
    with house_over(Demo(pace_s=0.0, remember=1000), settings, store.url) as house:
        house.demo.script.add(when="whole", text=WHOLE, times=None)
        yield house


@pytest.fixture
def ann(house):
    return house.visitor()


def fault(**entry) -> dict:
    """A fault that a message with `?` in it meets, with an answer of six pieces around it."""
    return {"when": "?", "text": WHOLE, **entry}


def always(**entry) -> dict:
    return fault(times=None, **entry)


def ask(house: House, ann, *faults: dict) -> Stream:
    """Ask once while these faults are there; what is asked after them is answered."""
    for entry in faults:
        house.demo.script.add(**entry)
    house.demo.script.add(when="?", text=WHOLE, times=None)
    stream = ann.ask("Well?")
    stream.all()
    return stream


def models(house: House) -> list[str]:
    return [call.body["model"] for call in house.demo.calls]


def classes(house: House) -> list[str]:
    """The ledger's error classes in the order of the calls; "" for a call that went well."""
    rows = sorted(house.rows(), key=lambda row: row["retries"])
    assert [row["retries"] for row in rows] == list(range(len(rows)))
    assert len({row["call"] for row in rows}) == len(rows) == len(house.demo.calls)
    return [row["error_class"] for row in rows]


OVERLOAD = {"type": "overloaded_error", "message": CANARY}

# -- faults that a visitor does not notice, or as a reset: the answer comes whole --------------------------------------

CURED = {
    "429 without retry-after": ([fault(status=429)], ["rate_limited", ""], []),
    "429 with a short retry-after": ([fault(status=429, retry_after=0.02)], ["rate_limited", ""], []),
    "429 with a huge retry-after": ([fault(status=429, retry_after=9000, model=MAIN)], ["rate_limited", ""], [SPARE]),
    "529 once": ([fault(status=529)], ["overloaded", ""], []),
    "529 twice": ([fault(status=529, times=2)], ["overloaded", "overloaded", ""], []),
    "529 as long as it is this model": ([always(status=529, model=MAIN)], ["overloaded"] * 3 + [""], [SPARE]),
    "500": ([fault(status=500)], ["server_error", ""], []),
    "504": ([fault(status=504)], ["timeout", ""], []),
    "an HTML page of a proxy": ([fault(status=502, html=True)], ["server_error", ""], []),
    "a model that is no more": ([fault(status=404)], ["model_not_found", ""], [SPARE]),
    "a request that this model refuses": ([fault(status=400)], ["invalid_request", ""], [SPARE]),
    "silence before the headers": ([fault(first_byte_s=2.0)], ["timeout", ""], []),
    "silence before the first text": ([fault(after=0, stall_s=2.0)], ["timeout", ""], []),
    "a reset before the first text": ([fault(after=0, cut="reset")], ["connection", ""], []),
    "a reset before message_start": ([fault(after=-1, cut="reset")], ["connection", ""], []),
    "a cut before the first text": ([fault(after=0, cut="close")], ["connection", ""], []),
    "a clean end before the first text": ([fault(after=0, cut="end")], ["truncated", ""], []),
    "an error event before the first text": ([fault(after=0, error=OVERLOAD)], ["overloaded", ""], []),
    "an answer without a word": ([fault(text="")], ["empty", ""], []),
    "an event that is no JSON": ([fault(after=0, events=[["content_block_delta", "x"]])], ["garbled", ""], []),
}


@pytest.mark.parametrize(("faults", "expected", "elsewhere"), CURED.values(), ids=CURED)
def test_the_visitor_gets_the_whole_answer(house, ann, faults, expected, elsewhere):
    stream = ask(house, ann, *faults)
    assert stream.names == ["start", "text", "done"]
    assert stream.end.data == {**stream.end.data, "state": "complete", "stop_reason": "end_turn", "text": WHOLE}
    assert stream.text == WHOLE
    assert classes(house) == expected
    assert models(house) == [MAIN] * (len(expected) - len(elsewhere)) + elsewhere
    assert [message["role"] for message in ann.messages()] == ["visitor", "assistant"]


RESTARTED = {
    "silence": (fault(after=3, stall_s=2.0), "timeout"),
    "a reset": (fault(after=3, cut="reset"), "connection"),
    "a cut": (fault(after=3, cut="close"), "connection"),
    "a cut inside an event": (fault(after=3, cut="half"), "connection"),
    "a clean end": (fault(after=3, cut="end"), "truncated"),
    "an error event": (fault(after=3, error=OVERLOAD), "overloaded"),
    "an error event of an unknown type": (fault(after=3, error={"type": "odd_error"}), "server_error"),
    "a garbled event": (fault(after=3, events=[["content_block_delta", {"delta": {"text": 7}}]]), "garbled"),
}


@pytest.mark.parametrize(("broken", "kind"), RESTARTED.values(), ids=RESTARTED)
def test_after_the_first_text_the_answer_starts_again(house, ann, broken, kind):
    stream = ask(house, ann, broken)
    assert stream.names == ["start", "text", "reset", "text", "done"]
    assert stream.end.data["state"] == "complete"
    assert stream.text == stream.end.data["text"] == ann.messages()[1]["text"] == WHOLE
    assert classes(house) == [kind, ""]


@pytest.mark.parametrize(("broken", "kind"), RESTARTED.values(), ids=RESTARTED)
def test_an_answer_that_keeps_breaking_is_kept_and_called_interrupted(house, ann, broken, kind):
    stream = ask(house, ann, broken | {"times": None})
    end = stream.end
    assert (end.name, end.data["state"]) == ("done", "interrupted")
    assert end.data["text"] == stream.text != WHOLE
    assert WHOLE.startswith(end.data["text"])
    answer = ann.messages()[1]
    assert (answer["role"], answer["state"], answer["text"]) == ("assistant", "interrupted", end.data["text"])
    assert classes(house) == [kind, kind]


def test_an_answer_of_blanks_is_no_answer(house, ann):
    stream = ask(house, ann, fault(text=" \n "))
    assert stream.text == stream.end.data["text"] == WHOLE
    assert classes(house) == ["empty", ""]


# -- faults that end the turn ------------------------------------------------------------------------------------------

SPEND_CAP = {"status": 429, "error_code": "enforced_spend_limit_reached"}
TOO_LONG = {"status": 400, "message": "prompt is too long: 1000123 tokens > 1000000 maximum"}
FATAL = {
    "529 always": ([always(status=529)], "overloaded", True, ["overloaded"] * 6),
    "429 always": ([always(status=429)], "overloaded", True, ["rate_limited"] * 6),
    "500 always": ([always(status=500)], "unavailable", True, ["server_error"] * 6),
    "the spend cap": ([always(**SPEND_CAP)], "unavailable", True, ["spend_cap"]),
    "a key that is none": ([always(status=401)], "unavailable", True, ["credentials"]),
    "no money": ([always(status=402)], "unavailable", True, ["billing"]),
    "no model": ([always(status=404)], "unavailable", True, ["model_not_found"] * 2),
    "never a word": ([always(text="")], "interrupted", True, ["empty"] * 6),
    "never an end": ([always(after=0, cut="end")], "interrupted", True, ["truncated"] * 6),
    "a context that is too long": ([always(**TOO_LONG)], "too_long", False, ["too_long"]),
    "a body that is too large": ([always(status=413)], "too_long", False, ["too_long"]),
    "max_tokens before a word": ([always(after=0, stop_reason="max_tokens")], "interrupted", True, [""]),
}


@pytest.mark.parametrize(("faults", "code", "retry", "expected"), FATAL.values(), ids=FATAL)
def test_the_visitor_gets_a_friendly_word(house, ann, faults, code, retry, expected):
    stream = ask(house, ann, *faults)
    assert stream.names == ["start", "error"]
    error = stream.end.data
    assert (error["code"], error["retry"]) == (code, retry)
    assert error["detail"]
    notice = ann.messages()[1]
    assert (notice["role"], notice["text"]) == ("notice", error["detail"])
    assert classes(house) == expected
    for row in house.rows():
        assert (row["cost_nano_usd"] > 0) == any(row[name] for name in row if name.endswith("_tokens"))
    assert ann.ask("whole").end.data["text"] == WHOLE, "the conversation goes on"


def test_the_word_is_the_brands_own(house, ann):
    assert ask(house, ann, always(status=529)).end.data["detail"] == FERN.fallbacks["overloaded"]


def test_it_tells_when_a_wait_that_is_too_long_for_us_ends(house, ann):
    stream = ask(house, ann, always(status=429, retry_after=90.5))
    assert stream.end.data["retry_after"] == 91
    assert models(house) == [MAIN, SPARE]


def test_nobody_listens_upstream(settings, store):
    (port,) = free_ports(1)
    asking = replace(settings, anthropic_api_key=Secret("sk-test"), anthropic_base_url=f"http://127.0.0.1:{port}")
    with House(asking, store.url, policy=QUICK) as house:
        stream = house.visitor().ask()
        assert (stream.end.name, stream.end.data["code"], stream.end.data["retry"]) == ("error", "unavailable", True)
        rows = house.rows()
        assert [row["error_class"] for row in rows] == ["connection"] * 3
        assert sum(row["cost_nano_usd"] for row in rows) == 0


@pytest.mark.parametrize(
    "body", [b"[1, 2]", b"null", b"{}", b"event: message_start\ndata: [1]\n\n", b"\xff\xfe\n\n", b""]
)
def test_a_friendly_status_with_garbage_behind_it(settings, store, body):
    def garbage(environ, start):
        start("200 OK", [("content-type", "text/event-stream"), ("content-length", str(len(body)))])
        return [body]

    with house_over(garbage, settings, store.url) as house:
        stream = house.visitor().ask()
        assert (stream.end.name, stream.end.data["retry"]) == ("error", True)
        assert {row["error_class"] for row in house.rows()} <= {"garbled", "truncated"}
        assert len(house.rows()) == 6


# -- stop reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded", "hologram"])
def test_an_answer_that_was_cut_off_is_never_called_complete(house, ann, reason):
    stream = ask(house, ann, fault(after=3, stop_reason=reason))
    end = stream.end.data
    assert (end["state"], end["stop_reason"], end["text"]) == ("interrupted", reason, "One two three")
    assert ann.messages()[1]["state"] == "interrupted"
    assert classes(house) == [""]


@pytest.mark.parametrize("after", [0, 3])
def test_a_refusal_withdraws_its_text_and_is_never_sent_again(house, ann, after):
    ann.ask("whole").all()
    stream = ask(house, ann, fault(after=after, stop_reason="refusal"))
    error = stream.end
    assert (error.name, error.data["code"], error.data["retry"]) == ("error", "refused", False)
    assert [message["role"] for message in ann.messages()] == ["visitor", "assistant", "visitor", "notice"]
    assert "One two three" not in json.dumps(ann.messages()[2:])
    ann.ask("whole again").all()
    sent = json.dumps(list(house.demo.calls)[-1].body["messages"])
    assert "Well?" not in sent
    assert error.data["detail"] not in sent
    assert sent.count("whole") == 2
    assert [row["stop_reason"] for row in house.rows()] == ["end_turn", "refusal", "end_turn"]


def test_a_conversation_that_is_too_long_is_asked_again_shorter(house, ann):
    for _ in range(3):
        ann.ask("whole " * 200).all()
    before = len(house.demo.calls)
    stream = ask(house, ann, fault(**TOO_LONG))
    assert stream.end.data["state"] == "complete"
    longer, shorter = (len(call.body["messages"]) for call in list(house.demo.calls)[before:])
    assert shorter < longer
    assert list(house.demo.calls)[-1].body["messages"][-1]["content"][-1]["text"] == "Well?"


def test_a_paused_answer_is_carried_on(house, ann):
    stream = ask(house, ann, fault(text="One two three", stop_reason="pause_turn"), {"text": " four five six."})
    assert stream.names == ["start", "text", "done"]
    assert stream.end.data == {**stream.end.data, "state": "complete", "text": WHOLE}
    first, second = house.demo.calls
    assert second.body["messages"][:-1] == first.body["messages"]
    assert second.body["messages"][-1]["role"] == "assistant"


def test_an_answer_that_pauses_for_ever_is_interrupted(house, ann):
    stream = ask(house, ann, {"text": "Um", "stop_reason": "pause_turn", "times": None})
    assert (stream.end.data["state"], stream.end.data["stop_reason"]) == ("interrupted", "pause_turn")
    assert len(house.demo.calls) == 4


def test_what_is_unknown_is_passed_over(house, ann):
    stream = ask(house, ann, fault(after=2, unknown=True))
    assert stream.names == ["start", "text", "done"]
    assert stream.end.data["text"] == WHOLE


@pytest.mark.parametrize("text", ["a\u2028b\u2029c\u0085d", "[DONE]", "data: [DONE]\n\n", "event: error\ndata: {}\n\n"])
def test_text_that_looks_like_a_protocol_is_text(house, ann, text):
    house.demo.script.add(text=text, deltas=len(text))
    stream = ann.ask("Hello")
    assert stream.end.data["text"] == stream.text == text


# -- time, money, secrets ----------------------------------------------------------------------------------------------


def test_the_short_wait_that_upstream_asks_for_is_kept(house, ann):
    began = time.monotonic()
    assert ask(house, ann, fault(status=429, retry_after=0.4)).end.name == "done"
    assert 0.4 <= time.monotonic() - began < 2.0


def test_a_cancel_during_a_wait_is_heard_at_once(house, ann):
    house.demo.script.add(status=429, retry_after=7.0, times=None)
    stream = ann.ask("Well?")
    until(lambda: len(house.demo.calls) == 1 and house.rows())
    began = time.monotonic()
    ann.call("POST", f"/v1/turns/{stream.turn}/cancel")
    assert stream.end.data["state"] == "cancelled"
    assert time.monotonic() - began < 1.0


def test_the_ledger_books_what_a_broken_call_had_cost(house, ann):
    ask(house, ann, fault(after=3, cut="reset"))
    broken, whole = sorted(house.rows(), key=lambda row: row["retries"])
    asked = list(house.demo.calls)
    assert [broken["upstream_request_id"], whole["upstream_request_id"]] == [call.id for call in asked]
    assert broken["cache_write_5m_tokens"] + broken["input_tokens"] + broken["cache_read_tokens"] > 0
    assert broken["output_tokens"] >= len("One two three") // 3
    assert broken["cost_nano_usd"] > 0
    assert (broken["estimated"], whole["estimated"]) == (True, False)
    assert whole["output_tokens"] == asked[1].usage["output_tokens"]
    assert whole["first_token_ms"] >= 0
    assert whole["duration_ms"] >= whole["first_token_ms"]


def test_nothing_of_the_upstream_reaches_the_visitor(settings, store):
    demo = Demo(pace_s=0.0, remember=1000)
    with house_over(demo, settings, store.url) as house:
        site = replace(FERN, voice=replace(FERN.voice, context=f"The safe's number is {CANARY}."))
        house.services.sites.apply([site])
        ann = house.visitor()
        sent = b""
        for entry in (
            fault(status=529, message=CANARY, times=6, headers={"x-secret": CANARY}),
            fault(status=400, message=CANARY, times=6),
            fault(status=500, message=CANARY, error_type=CANARY, times=6),
            fault(status=401, message=CANARY, error_code=CANARY),
            fault(after=0, error={"type": CANARY, "message": CANARY}, times=6),
            fault(after=2, error={"type": CANARY, "message": CANARY}, times=6),
            fault(stop_reason="refusal", stop_details={"type": "refusal", "explanation": CANARY}),
        ):
            demo.script.clear()
            demo.script.add(**entry)
            stream = ann.send("Well?")
            stream.all()
            sent += stream.raw + json.dumps(dict(stream.headers)).encode()
        for path in ("/v1/conversation", "/v1/conversation/transcript", "/v1/sites/fern"):
            sent += ann.call("GET", path).body
        assert any(CANARY in json.dumps(call.body) for call in demo.calls), "the voice does go upstream"
        assert CANARY.encode() not in sent
        assert b"sk-test" not in sent


def test_a_smaller_memory_asks_with_less(house):
    house.services.sites.apply([replace(FERN, memory=Memory(window_tokens=500))])
    ann = house.visitor()
    for _ in range(8):
        ann.ask("whole " * 50).all()
    assert max(len(call.body["messages"]) for call in house.demo.calls) <= 8 < 15
