"""The visitors of the bench: they ask through a relay, check every byte of the answers, and time every delta.

    python bench/load.py '<plan as JSON>'        prints what came of it as JSON; the fields are those of `Plan`

A visitor asks, reads the answer to its end, and asks again until the measured window is over. The window begins when
all visitors are there. What is counted, and how it is to be read, is said in run.py.
"""

from __future__ import annotations

import gc
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent import socket
from gevent.pool import Pool

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.upstream import words
from bench.usage import Meter

PATIENCE_S = 20.0
SAMPLE_S = 0.2
OPENING = 16  # sessions opened at the same time
MARK = re.compile(r"<(\d+)@(\d+)> ")
LONGEST_MARK = 40


@dataclass(frozen=True)
class Plan:
    """`framing` is the relay's, of FRAMINGS. `peer`, `store` and `harness` are process ids whose use is measured, on
    the cores `peer_core` and `harness_core`."""

    port: int
    path: str
    framing: str
    visitors: int
    deltas: int
    ttft_ms: float
    ramp_s: float
    window_s: float
    open_path: str = ""
    peer: list[int] = field(default_factory=list)
    store: list[int] = field(default_factory=list)
    harness: list[int] = field(default_factory=list)
    peer_core: int = 0
    harness_core: int = 0


class _Delta(msgspec.Struct):
    text: str = ""


class _Data(msgspec.Struct):
    """An event's data, of whichever framing: `{"text"}` of a relay, `{"delta": {"text"}}` of the Messages API."""

    text: str = ""
    delta: _Delta = msgspec.field(default_factory=_Delta)


_data = msgspec.json.Decoder(_Data).decode


@dataclass(frozen=True)
class Framing:
    """Names of a stream's events: the one that holds text, and the one after which nothing comes."""

    text: bytes
    last: bytes


RELAY, MESSAGES_API = "relay", "messages-api"
FRAMINGS = {
    RELAY: Framing(text=b"text", last=b"done"),
    MESSAGES_API: Framing(text=b"content_block_delta", last=b"message_stop"),
}


class Wrong(Exception):
    """An answer is not, byte for byte, what the upstream said."""


class Answer:
    """One answer as it arrives, compared with what the upstream must have said to `key`."""

    def __init__(self, key: str, deltas: int) -> None:
        self.key, self.deltas = key, deltas
        self.number = 0  # of the delta that is due
        self.text = ""
        self._rest = ""

    def take(self, text: str) -> list[int]:
        """Add text; return the send times (ns) of the deltas that are whole by it. Raises Wrong."""
        self.text += text
        self._rest += text
        sent = []
        while self._rest:
            mark = MARK.match(self._rest)
            if not mark and len(self._rest) < LONGEST_MARK and self._rest.startswith("<"):
                break
            if not mark or int(mark[1]) != self.number or self.number >= self.deltas:
                raise Wrong(f"delta {self.number} was due, but this came: {self._rest[:60]!r}")
            due = words(self.key, self.number)
            came = self._rest[mark.end() : mark.end() + len(due)]
            if not due.startswith(came):
                raise Wrong(f"delta {self.number} was {due!r}, but this came: {came!r}")
            if came != due:
                break
            sent.append(int(mark[2]))
            self._rest = self._rest[mark.end() + len(due) :]
            self.number += 1
        return sent

    def end(self, text: str) -> None:
        """The stream says that this was all, and perhaps repeats the whole. Raises Wrong."""
        if self._rest or self.number != self.deltas:
            raise Wrong(f"it ended after {self.number} of {self.deltas} deltas")
        if text and text != self.text:
            raise Wrong("the last event repeats another text than was streamed")


class Load:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.framing = FRAMINGS[plan.framing]
        self.lags: list[int] = []
        self.first_texts: list[int] = []
        self.failures: list[str] = []
        self.answers = self.deltas = self.in_window = 0
        self.begin = self.end = 0

    def run(self) -> dict[str, Any]:
        """All of it: the sessions, the ramp, the measured window, the answers that are still open at its end."""
        tokens = Pool(OPENING).map(self._open, range(self.plan.visitors))
        self.begin = time.perf_counter_ns() + int(self.plan.ramp_s * 1e9)
        self.end = self.begin + int(self.plan.window_s * 1e9)
        visitors = [gevent.spawn(self._visit, number, token) for number, token in enumerate(tokens)]
        gevent.sleep(self.plan.ramp_s)
        used = self._watch()
        gevent.joinall(visitors)
        return {
            "visitors": self.plan.visitors,
            "answers": self.answers,
            "deltas": self.deltas,
            "failed": len(self.failures),
            "failures": self.failures[:5],
            "first_text_ms": quantiles(self.first_texts),
            "lag_ms": quantiles(self.lags),
            **used,
        }

    # -- visitors --------------------------------------------------------------------------------------------------

    def _open(self, number: int) -> str:
        if not self.plan.open_path:
            return ""
        with self._connected() as link:
            link.sendall(request(self.plan.open_path, {}))
            return str(json.loads(b"".join(body(link)))["token"])

    def _visit(self, number: int, token: str) -> None:
        gevent.sleep(self.plan.ramp_s * number / self.plan.visitors)
        while time.perf_counter_ns() < self.end:
            try:
                self._ask(token)
            except (Wrong, OSError, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return

    def _ask(self, token: str) -> None:
        key = secrets.token_hex(8)
        answer = Answer(key, self.plan.deltas)
        with self._connected() as link:
            asked = time.perf_counter_ns()
            link.sendall(request(self.plan.path, question(self.plan.framing, f"key={key}", token)))
            for name, data, arrived in events(link):
                if name == self.framing.text:
                    self._heard(answer, data, asked, arrived)
                elif name == self.framing.last:
                    answer.end(_data(data).text)
                elif name == b"error":
                    raise Wrong(f"an error instead of an answer: {data[:200]!r}")
        answer.end("")
        self.answers += 1

    def _heard(self, answer: Answer, data: bytes, asked: int, arrived: int) -> None:
        said = _data(data)
        first = answer.number == 0
        sent = answer.take(said.text or said.delta.text)
        if first and sent and arrived >= self.begin:
            self.first_texts.append(arrived - asked - int(self.plan.ttft_ms * 1e6))
        self.lags += [arrived - at for at in sent if self.begin <= at < self.end]
        self.deltas += len(sent)
        if self.begin <= arrived < self.end:
            self.in_window += len(sent)

    def _connected(self) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self.plan.port), PATIENCE_S)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    # -- what the relay uses meanwhile -----------------------------------------------------------------------------

    def _watch(self) -> dict[str, Any]:
        """What the relay and the harness use during the window."""
        plan = self.plan
        meter = Meter(plan.peer, plan.store, [*plan.harness, os.getpid()], plan.peer_core, plan.harness_core)
        rss = [meter.rss_kib()]
        while (left := self.end - time.perf_counter_ns()) > 0:
            gevent.sleep(min(SAMPLE_S, left / 1e9))
            rss.append(meter.rss_kib())
        used, deltas = meter.stop(), self.in_window
        relay = used.peer_s + used.store_s
        return {
            "deltas_per_s": round(deltas / used.seconds),
            "cpu_us_per_delta": relay / deltas * 1e6 if deltas else None,
            "store_us_per_delta": used.store_s / deltas * 1e6 if deltas else None,
            "relay_core": relay / used.seconds,
            "harness_core": used.harness_s / used.seconds,
            "foreign_core": used.foreign_s / used.seconds,
            "rss_kib": max(rss),
        }


def request(path: str, message: Any) -> bytes:
    """A POST of JSON on a connection of its own, as bytes. The key is what the Messages API wants."""
    data = json.dumps(message).encode()
    fields = f"content-type: application/json\r\ncontent-length: {len(data)}\r\nauthorization: Bearer bench\r\n"
    return f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{fields}\r\n".encode() + data


def question(framing: str, text: str, token: str) -> dict[str, Any]:
    if framing == MESSAGES_API:
        return {"model": "bench", "max_tokens": 1024, "stream": True, "messages": [{"role": "user", "content": text}]}
    return {"message": text, "token": token}


def events(link: socket.socket) -> Iterator[tuple[bytes, bytes, int]]:
    """Name, data and arrival (ns) of each event of a stream. Split at line feeds only: text may hold other ends."""
    rest = b""
    for piece in body(link):
        arrived = time.perf_counter_ns()
        *frames, rest = (rest + piece).split(b"\n\n")
        for frame in frames:
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if not line.startswith(b":"))
            yield fields.get(b"event", b""), fields.get(b"data", b""), arrived
    if rest:
        raise Wrong(f"it ended inside an event: {rest[:60]!r}")


def body(link: socket.socket) -> Iterator[bytes]:
    """A response's body as it comes, its chunked coding taken off. Raises Wrong where it is no success, or cut."""
    head, rest = b"", link.recv(65_536)
    while rest and b"\r\n\r\n" not in rest:
        rest += link.recv(65_536)
    head, _, rest = rest.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] not in ([b"200"], [b"201"]):
        raise Wrong(f"an answer without success: {head[:100]!r} {rest[:200]!r}")
    if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        while len(rest) < int(length[1]):
            rest += link.recv(65_536) or cut()
        yield rest
        return
    ended = False
    while not ended:
        pieces = []
        while not ended:
            size, line_end, tail = rest.partition(b"\r\n")
            length = int(size, 16) if line_end else 0
            if not line_end or len(tail) < length + 2:
                break
            ended, rest = length == 0, tail[length + 2 :]
            pieces.append(tail[:length])
        if pieces:
            yield b"".join(pieces)
        if not ended:
            rest += link.recv(65_536) or cut()


def cut() -> bytes:
    raise Wrong("the connection was cut")


def quantiles(nanoseconds: list[int]) -> dict[str, float] | None:
    """Median and 99th percentile, in ms; of few values, the 99th percentile is the largest."""
    if not nanoseconds:
        return None
    ordered = sorted(nanoseconds)
    return {name: ordered[int(len(ordered) * share)] / 1e6 for name, share in (("p50", 0.50), ("p99", 0.99))}


def main() -> None:
    load = Load(Plan(**json.loads(sys.argv[1])))
    gc.freeze()
    sys.stdout.write(json.dumps(load.run()) + "\n")


if __name__ == "__main__":
    main()
