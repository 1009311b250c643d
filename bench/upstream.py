"""The Messages API as the bench needs it: it streams deltas at a steady pace, and each says when it was sent.

    python bench/upstream.py PORT

A delta is `<number@nanoseconds> four words`. The nanoseconds are `time.perf_counter_ns()`, one clock for all processes
of a machine; the words follow from the number and from the key that stood in the visitor's message (`key=` and 16 hex
digits), so whoever reads the relayed answer can tell every lost, doubled, altered or foreign byte.

`POST /pace` with any of `{"ttft_ms", "deltas", "gap_ms", "cut"}` sets the pace of the answers that begin afterwards.
With `cut`, every event is sent in two pieces, cut at a changing place.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

# Unpleasant on purpose: what is quoted, escaped, split at, or mistaken for framing on the way.
WORDS = [
    *("rain", "handle", "canopy", "größer", "雨傘", "☂️", "🌧", "don't", '"quoted"', "back\\slash", "{brace}", "%s"),
    *("data:", "id:", "event:", "[DONE]", "</p>", "line\nbreak", "blank\n\nline", "tab\t", "carriage\rreturn"),
    *("sepa\u2028rator", "next\x85line", "zero\u200bwidth"),
]

KEY = re.compile(rb"key=([0-9a-f]{16})")
FIELDS = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nrequest-id: req_bench\r\n"
HEAD = f"HTTP/1.1 200 OK\r\n{FIELDS}transfer-encoding: chunked\r\n\r\n".encode()
USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}


@dataclass(frozen=True)
class Pace:
    """How an answer comes: its first delta after `ttft_ms`, `deltas` in all, `gap_ms` apart."""

    ttft_ms: float = 300
    deltas: int = 60
    gap_ms: float = 30
    cut: bool = False


def words(key: str, number: int) -> str:
    """What delta `number` of the answer to `key` says."""
    seed = zlib.crc32(f"{key}{number}".encode())
    return " ".join(WORDS[(seed >> shift) % len(WORDS)] for shift in (0, 6, 12, 18)) + " "


class Upstream:
    def __init__(self) -> None:
        self.pace = Pace()

    def serve(self, link: socket.socket, _: Any) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for path, body in requests(link):
                self._reply(link, path, body)
        except OSError:
            return  # the relay has hung up

    def _reply(self, link: socket.socket, path: bytes, body: bytes) -> None:
        keys = KEY.findall(body)
        if path == b"/pace":
            self.pace = replace(self.pace, **json.loads(body))
            link.sendall(whole("200 OK", {}))
        elif path == b"/v1/messages" and keys and json.loads(body).get("stream"):
            stream(link, keys[-1].decode(), self.pace)  # the last one: earlier messages come before the question
        else:
            error = {"type": "invalid_request_error", "message": "streamed messages with a key= only"}
            link.sendall(whole("400 Bad Request", {"type": "error", "error": error}))


def requests(link: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Path and body of each request that comes on a connection."""
    reader = link.makefile("rb")
    while line := reader.readline():
        length = 0
        while (field := reader.readline()) not in (b"\r\n", b""):
            name, _, value = field.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        yield line.split()[1], reader.read(length)


def stream(link: socket.socket, key: str, pace: Pace) -> None:
    """One answer. Each delta has its own time, so a late one does not make the next ones late."""
    due = time.perf_counter() + pace.ttft_ms / 1000
    link.sendall(HEAD + chunk(beginning()))
    for number in range(pace.deltas):
        gevent.sleep(max(0.0, due - time.perf_counter()))
        send(link, delta(f"<{number}@{time.perf_counter_ns()}> {words(key, number)}"), number if pace.cut else 0)
        due += pace.gap_ms / 1000
    link.sendall(chunk(ending(pace.deltas)) + chunk(b""))


def send(link: socket.socket, frame: bytes, cut: int) -> None:
    place = cut % len(frame)
    if place:
        link.sendall(chunk(frame[:place]))
        gevent.sleep(0)
    link.sendall(chunk(frame[place:]))


def beginning() -> bytes:
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": USAGE}
    block = {"type": "text", "text": ""}
    return (
        event("message_start", message=message)
        + event("content_block_start", index=0, content_block=block)
        + event("ping")
    )


def delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def ending(deltas: int) -> bytes:
    said = {"stop_reason": "end_turn", "stop_sequence": None}
    return (
        event("content_block_stop", index=0)
        + event("message_delta", delta=said, usage=USAGE | {"output_tokens": deltas})
        + event("message_stop")
    )


def event(name: str, **data: Any) -> bytes:
    body = json.dumps({"type": name, **data}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {body}\n\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(status: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


def main() -> None:
    gc.freeze()
    StreamServer(("127.0.0.1", int(sys.argv[1])), Upstream().serve, backlog=2048).serve_forever()


if __name__ == "__main__":
    main()
