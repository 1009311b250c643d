"""How an answer goes out: the events of the stream, their bytes, their pace, and what a script does to them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Protocol

from demo.answers import Reply
from demo.errors import Gone
from demo.prompt import Json
from demo.script import Entry

PING_EVERY = 40  # deltas

Event = tuple[str, Json]


class Line(Protocol):
    """The way to the client. The server's is its socket; the in-process one is a flag."""

    def wait(self, seconds: float) -> None:
        """Sleeps. Raises Gone as soon as the client has left."""

    def cut(self, how: str) -> None:
        """Ends the connection: "reset" or "close". Raises Gone."""


class LocalLine:
    """The line of a WSGI server, or of an in-process transport, that knows of no socket: leaving is `leave()`."""

    def __init__(self) -> None:
        self._left = threading.Event()

    def wait(self, seconds: float) -> None:
        if self._left.wait(seconds):
            raise Gone("the client has left")

    def cut(self, how: str) -> None:
        raise Gone(f"the script cut the line: {how}")

    def leave(self) -> None:
        self._left.set()


def events(message: Json, reply: Reply, deltas: int | None = None) -> Iterator[Event]:
    """The answer as the API streams it. `message` is the envelope, its usage final; `deltas` asks for so many."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    yield _event("message_start", message=start | {"usage": usage | {"output_tokens": 1}})
    yield _event("ping")
    said = 0
    for index, block in enumerate(reply.blocks):
        yield _event("content_block_start", index=index, content_block=_opened(block))
        for delta in _deltas(block, deltas):
            yield _event("content_block_delta", index=index, delta=delta)
            said += 1
            if said % PING_EVERY == 0:
                yield _event("ping")
        yield _event("content_block_stop", index=index)
    kept = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
    )
    ending = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container")}
    yield _event("message_delta", delta=ending, usage={name: usage[name] for name in kept})
    yield _event("message_stop")


def perform(stream: Iterator[Event], entry: Entry, line: Line, pace_s: float) -> Iterator[bytes]:
    """The bytes of a stream at its pace, with what the script wants to happen on the way."""
    due = (entry.after or 0) if entry.interrupts else None
    said = 0
    for name, data in stream:
        if due is not None and _reached(due, said, name):
            due = None
            yield from _interrupt(entry, line, name, data)
            if entry.error or entry.cut:
                return
        if name == "content_block_delta":
            said += 1
            line.wait(pace_s)
        yield frame(name, data)


def frame(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def pieces(text: str, count: int | None = None) -> list[str]:
    """A text in word-sized pieces that add up to it, or in `count` pieces of about one length."""
    if count is None:
        return re.findall(r"\s*\S+|\s+", text)
    bounds = [len(text) * index // count for index in range(count + 1)]
    return [text[a:b] for a, b in pairwise(bounds)]


def _event(name: str, **data: Any) -> Event:
    return name, {"type": name, **data}


def _reached(due: int, said: int, name: str) -> bool:
    if due < 0:
        return True
    return name == "message_delta" or (name == "content_block_delta" and said == due)


def _interrupt(entry: Entry, line: Line, name: str, data: Json) -> Iterator[bytes]:
    if entry.stall_s:
        line.wait(entry.stall_s)
    for slipped, content in entry.slipped_in:
        yield frame(slipped, content)
    if entry.error:
        yield frame("error", {"type": "error", "error": entry.error})
    if entry.cut == "half":
        yield frame(name, data)[:-9]
    if entry.cut in ("reset", "close", "half"):
        line.cut("close" if entry.cut == "half" else entry.cut)


def _opened(block: Json) -> Json:
    """A block as it begins, with all that grows still empty."""
    return OPENED.get(block["type"], dict)(block)


def _deltas(block: Json, count: int | None) -> Iterator[Json]:
    grow = GROW.get(block["type"])
    return grow(block, count) if grow else iter(())


def _text_deltas(block: Json, count: int | None) -> Iterator[Json]:
    for piece in pieces(block["text"], count):
        yield {"type": "text_delta", "text": piece}
    for citation in block.get("citations") or []:
        yield {"type": "citations_delta", "citation": citation}


def _thinking_deltas(block: Json, count: int | None) -> Iterator[Json]:
    for piece in pieces(block["thinking"]):
        yield {"type": "thinking_delta", "thinking": piece}
    yield {"type": "signature_delta", "signature": block["signature"]}


def _input_deltas(block: Json, count: int | None) -> Iterator[Json]:
    yield {"type": "input_json_delta", "partial_json": ""}
    text = json.dumps(block["input"], ensure_ascii=False)
    for start in range(0, len(text), 12):
        yield {"type": "input_json_delta", "partial_json": text[start : start + 12]}


OPENED: dict[str, Callable[[Json], Json]] = {
    "text": lambda block: {"type": "text", "text": "", **({"citations": []} if block.get("citations") else {})},
    "thinking": lambda block: {"type": "thinking", "thinking": "", "signature": ""},
    "tool_use": lambda block: block | {"input": {}},
}
GROW: dict[str, Callable[[Json, int | None], Iterator[Json]]] = {
    "text": _text_deltas,
    "thinking": _thinking_deltas,
    "tool_use": _input_deltas,
}
