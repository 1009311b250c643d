"""The bench finds every wrong byte, relays of all kinds pass it, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gevent import socket
from gevent.server import StreamServer

from bench import run as bench
from bench.load import MESSAGES_API, Answer, Load, Plan, Wrong
from bench.upstream import Pace, Upstream, words

ROOT = Path(__file__).resolve().parent.parent
KEY = "0123456789abcdef"
DELTAS = 5


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a unix socket's path has room for some hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        yield Path(name)


def started(folder: Path) -> subprocess.Popen[str]:
    """The bench with nothing but a check; what it starts can be known by its TMPDIR."""
    command = [sys.executable, "bench/run.py", "--check", "--out", str(folder / "out")]
    env = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def alive(folder: Path) -> set[int]:
    found = set()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and f"TMPDIR={folder}".encode() in (process / "environ").read_bytes():
                found.add(int(process.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:.0f} s"
        time.sleep(0.02)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_it_sees_both_relays_pass_on_every_byte_and_ends_what_it_started(folder):
    process = started(folder)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    results = json.loads((folder / "out" / "check.json").read_text("utf-8"))["results"]
    assert list(results) == ["Parlance", "plain Flask", "nobody"]
    for of in results.values():
        result = of["check"]
        assert result["failed"] == 0
        assert result["answers"] >= 8
        assert result["deltas"] == 100 * result["answers"]
    assert results["Parlance"]["check"]["store_us_per_delta"] is not None
    for heading in ("Parlance", "plain Flask", "ratio", "nobody"):
        assert heading in out
    assert alive(folder) == set()


def test_it_ends_what_it_started_when_it_is_stopped_in_the_middle(folder):
    process = started(folder)
    until(lambda: len(alive(folder)) >= 5)  # itself, the upstream, a store, a relay and its worker
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert alive(folder) == set()


# -- one answer --------------------------------------------------------------------------------------------------------


def said(numbers: range | list[int] = range(DELTAS), key: str = KEY) -> str:
    return "".join(f"<{number}@{1000 + number}> {words(key, number)}" for number in numbers)


def heard(*pieces: str, whole: str = "") -> list[int]:
    answer = Answer(KEY, DELTAS)
    sent = [at for piece in pieces for at in answer.take(piece)]
    answer.end(whole)
    return sent


def test_it_knows_when_each_delta_was_sent_however_they_are_merged_or_cut():
    times = [1000, 1001, 1002, 1003, 1004]
    assert heard(said()) == times
    assert heard(*said()) == times
    assert heard(said(range(2)), said(range(2, 5)), whole=said()) == times


@pytest.mark.parametrize(
    "text",
    [
        said([0, 1, 3, 4]),
        said([0, 1, 1, 2, 3, 4]),
        said([0, 2, 1, 3, 4]),
        said(key="fedcba9876543210"),
        said([0, 1, 2, 3]),
        said([0, 1, 2, 3, 4, 5]),
        said() + " ",
        said()[:-1],
        said().replace(words(KEY, 2), words(KEY, 2)[::-1]),
        "",
    ],
    ids=["lost", "doubled", "reordered", "foreign", "cut", "more", "longer", "shorter", "altered", "silent"],
)
def test_it_calls_an_answer_wrong(text):
    with pytest.raises(Wrong):
        heard(text)
    with pytest.raises(Wrong):
        heard(*text)


def test_it_calls_an_answer_wrong_whose_last_event_repeats_another_text():
    with pytest.raises(Wrong, match="another text"):
        heard(said(), whole=said()[:-1])


# -- visitors and a relay that lies ------------------------------------------------------------------------------------


@contextmanager
def serving(serve: Callable[..., None]) -> Iterator[int]:
    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop()


def asked(change: Callable[[bytes], bytes]) -> dict:
    """What two visitors find who ask through a relay that changes the answer's bytes."""
    upstream = Upstream()
    upstream.pace = Pace(ttft_ms=1, deltas=DELTAS, gap_ms=1)
    with serving(upstream.serve) as upstream_port:

        def relay(link: socket.socket, _: object) -> None:
            with socket.create_connection(("127.0.0.1", upstream_port)) as further, link:
                further.sendall(link.recv(65_536))
                answer = b""
                while not answer.endswith(b"\r\n0\r\n\r\n"):
                    answer += further.recv(65_536)
                link.sendall(change(answer))

        with serving(relay) as port:
            plan = Plan(
                port=port,
                path="/v1/messages",
                framing=MESSAGES_API,
                visitors=2,
                deltas=DELTAS,
                ttft_ms=1,
                ramp_s=0.0,
                window_s=0.05,
            )
            return Load(plan).run()


def test_its_visitors_are_content_with_an_honest_relay():
    result = asked(lambda answer: answer)
    assert result["failed"] == 0
    assert result["answers"] >= 2
    assert result["first_text_ms"]["p50"] < 1000
    assert 0 <= result["lag_ms"]["p50"] <= result["lag_ms"]["p99"] < 1000
    assert not bench.failed({"a": {"b": result}})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda answer: answer.replace(b"<3@", b"<4@"), "delta 3 was due"),
        (lambda answer: answer.replace(b"<2@", b"<2!"), "delta 2 was due"),
        (lambda answer: answer[: len(answer) * 2 // 3], "cut"),
        (lambda answer: answer.replace(b"200 OK", b"503 No"), "without success"),
        (lambda answer: answer.replace(b'ping\ndata: {"type":"ping"}', b'error\ndata: {"type":"pin"}'), "an error"),
    ],
    ids=["renumbered", "altered", "cut", "refused", "error"],
)
def test_its_visitors_notice_a_relay_that(change, complaint):
    result = asked(change)
    assert result["answers"] == 0
    assert result["failed"] == 2
    assert complaint in result["failures"][0]
    assert bench.failed({"a": {"b": result}})
    assert any("WRONG" in note for note in bench.notes({"a": {"b": result}}, shared=False))


# -- the table ---------------------------------------------------------------------------------------------------------


def test_it_holds_only_what_is_whole_and_in_time():
    fine = {"failed": 0, "lag_ms": {"p50": 1, "p99": 100}, "first_text_ms": {"p50": 1, "p99": 250}}
    assert bench.held(fine)
    assert not bench.held({**fine, "failed": 1})
    assert not bench.held({**fine, "lag_ms": {"p50": 1, "p99": 101}})
    assert not bench.held({**fine, "first_text_ms": {"p50": 1, "p99": 251}})
    assert not bench.held({**fine, "first_text_ms": None})


def test_nobody_answered_is_a_failure_too():
    assert bench.failed({"Parlance": {"check": {"failed": 0, "answers": 0}}})
