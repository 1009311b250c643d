"""The parser of the Messages stream: whatever way the bytes are cut, they mean the same."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import Demo, Script
from parlance.claude.client import Client, in_process
from parlance.claude.errors import UpstreamError
from parlance.claude.models import Usage
from parlance.claude.stream import Stream, pieces

TEXT = "Grüße 🎈 to\u2028you, [DONE]\n\ndata: nothing\r\n\x00 — the end."
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"number": "F1", "deep": {"é": [1, "\n\n"]}}}
THOUGHT = {"type": "thinking", "thinking": "Hm.\n\nYes.", "signature": "c2ln"}


def recorded(**entry) -> bytes:
    """The bytes of an answer, as the demo sends them."""
    client = Client("sk", "http://demo.invalid", transport=in_process(Demo(pace_s=0.0, script=Script([entry]))))
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 500,
        "thinking": {"type": "disabled"},
        "messages": [{"role": "user", "content": "Hi"}],
    }
    try:
        with client.open(params) as opened:
            return b"".join(opened.chunks)
    finally:
        client.close()


RECORDED = recorded(blocks=[THOUGHT, {"type": "text", "text": TEXT}, TOOL], unknown=True, after=2)


def read(parts) -> Stream:
    stream = Stream()
    text = "".join(stream.feed(part) for part in parts)
    assert text == stream.text
    return stream


def meaning(stream: Stream):
    return stream.text, stream.blocks[:3], stream.usage, stream.stop_reason, stream.complete, stream.message


WHOLE = meaning(read([RECORDED]))


def test_it_reads_a_whole_stream():
    text, blocks, usage, stop_reason, complete, message = WHOLE
    assert text == TEXT
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert blocks[0]["thinking"] == THOUGHT["thinking"]
    assert blocks[0]["signature"] == THOUGHT["signature"]
    assert blocks[1]["text"] == TEXT
    assert blocks[2]["input"] == TOOL["input"]
    assert (stop_reason, complete) == ("tool_use", True)
    assert usage.output > 1
    assert message.startswith("msg_")


def test_it_reads_the_same_from_every_cut_in_two():
    for at in range(len(RECORDED) + 1):
        assert meaning(read([RECORDED[:at], RECORDED[at:]])) == WHOLE, at


def test_it_reads_the_same_byte_by_byte():
    assert meaning(read(RECORDED[i : i + 1] for i in range(len(RECORDED)))) == WHOLE


def test_arguments_that_max_tokens_cut_are_no_fault():
    whole = recorded(blocks=[{"type": "text", "text": TEXT}, TOOL], stop_reason="max_tokens")
    last = whole.rindex(b"event: content_block_delta")
    stream = read([whole[:last], whole[whole.index(b"event: content_block_stop", last) :]])
    assert (stream.text, stream.stop_reason, stream.complete) == (TEXT, "max_tokens", True)


@given(st.lists(st.integers(0, len(RECORDED)), max_size=30))
def test_it_reads_the_same_however_it_is_cut(cuts):
    bounds = [0, *sorted(cuts), len(RECORDED)]
    assert meaning(read(RECORDED[a:b] for a, b in itertools.pairwise(bounds))) == WHOLE


def test_it_reads_a_proxys_line_ends():
    assert meaning(read([RECORDED.replace(b"\n", b"\r\n")])) == WHOLE
    changed = RECORDED.replace(b"\n", b"\r\n")
    assert meaning(read(changed[i : i + 1] for i in range(len(changed)))) == WHOLE


def test_it_reads_data_on_several_lines_and_comments():
    frames = RECORDED.split(b"\n\n")
    kept = [
        frame.replace(b'data: {"type":"message_stop"}', b':hm\ndata: {"type":\ndata:"message_stop"}')
        for frame in frames
    ]
    assert kept != frames
    assert meaning(read([b"\n\n".join(kept)])) == WHOLE


def test_every_beginning_of_a_stream_is_incomplete_and_a_beginning():
    end = RECORDED.index(b"event: message_stop")
    for at in range(0, end, 7):
        stream = read([RECORDED[:at]])
        assert not stream.complete
        assert TEXT.startswith(stream.text)


def event(name: str, data) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


START = event("message_start", {"message": {"id": "msg_1", "usage": {"input_tokens": 7, "output_tokens": 1}}})


def test_it_is_not_complete_without_a_stop_reason():
    stream = read([START, event("message_stop", {})])
    assert stream.stopped
    assert not stream.complete


def test_usage_is_cumulative_and_keeps_what_is_left_out():
    start = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_creation": {"ephemeral_1h_input_tokens": 4},
        "cache_read_input_tokens": 5,
        "output_tokens": 1,
    }
    stream = read([event("message_start", {"message": {"id": "m", "usage": start}})])
    assert stream.usage == Usage(input=3, write_5m=6, write_1h=4, read=5, output=1)
    stream.feed(event("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}))
    assert stream.usage == Usage(input=3, write_5m=6, write_1h=4, read=5, output=9)
    stream.feed(event("message_delta", {"delta": {}, "usage": {"input_tokens": 4, "output_tokens": 12}}))
    assert stream.usage == Usage(input=4, write_5m=6, write_1h=4, read=5, output=12)
    assert stream.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", "overloaded"),
        ("api_error", "server_error"),
        ("odd", "server_error"),
        (None, "server_error"),
    ],
)
def test_an_error_event_is_raised_after_the_text_before_it(kind, expected):
    stream = Stream()
    delta = event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}})
    assert stream.feed(START + delta) == "Hi"
    with pytest.raises(UpstreamError) as raised:
        stream.feed(event("error", {"error": {"type": kind, "message": "canary"}}))
    assert raised.value.kind == expected
    assert "canary" not in str(raised.value)
    assert stream.text == "Hi"


@pytest.mark.parametrize(
    "frame",
    [
        b"event: content_block_delta\ndata: {\n\n",
        b'event: content_block_delta\ndata: {"index": "x"}\n\n',
        b"event: content_block_delta\ndata: \xff\n\n",
        b'event: content_block_delta\ndata: {"delta": {"type": "text_delta", "text": "\\ud800"}}\n\n',
        b"event: message_start\ndata: {}\n\n",
        b"event: message_start\ndata: [1]\n\n",
        b'event: message_start\ndata: {"message": null}\n\n',
        b"event: message_delta\ndata: 1\n\n",
        b'event: message_delta\ndata: {"delta": 1}\n\n',
        b'event: content_block_start\ndata: {"index": "x"}\n\n',
        b"event: error\ndata: []\n\n",
    ],
)
def test_what_is_no_event_of_the_api_is_garbled(frame):
    with pytest.raises(UpstreamError) as raised:
        Stream().feed(frame)
    assert raised.value.kind == "garbled"
    assert raised.value.again


@given(st.binary(max_size=300), st.sampled_from([b"", START, RECORDED[:700]]))
def test_no_bytes_at_all_raise_anything_else(noise, before):
    stream = Stream()
    try:
        stream.feed(before + noise + b"\n\n" + b"event: content_block_delta\ndata: " + noise + b"\n\n")
    except UpstreamError:
        return


def test_pieces_end_with_the_message():
    def chunks():
        yield RECORDED
        raise AssertionError("read beyond the end")

    assert "".join(pieces(chunks(), Stream())) == TEXT
