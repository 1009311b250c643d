"""Real workers that are killed, told to go, or left without their store: no visitor loses an answer.

The server is gunicorn with two workers; the upstream is the demo as a process of its own; the visitors are clients that
do what the widget does: read, and on a cut resume from the last event.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from parlance.ledger import Ledger
from parlance.site import IpLimits, Limits, SiteLimits, VisitorLimits
from parlance.sites.library import Library
from parlance.store import keys
from parlance.store.client import Store
from parlance.store.embedded import Embedded, tied
from tests.conftest import free_ports
from tests.house import FERN, ORIGIN, until

ROOT = Path(__file__).resolve().parent.parent
KILLS = 20
START_S, END_S = 60.0, 60.0
BRIEF_S = 0.02
SITE = replace(FERN, limits=Limits(VisitorLimits(1000, 10_000), IpLimits(10_000), SiteLimits(10_000, 100)))
TEXT = "Every word of this answer has to arrive, in its order, once, whatever happens to whoever says it."

pytestmark = pytest.mark.timeout(240)


class Upstream:
    """`python -m demo`, saying TEXT at a pace that the test chooses."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo"], cwd=ROOT, stdout=subprocess.PIPE, preexec_fn=tied()
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().decode().split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def says(self, text: str = TEXT, **entry) -> None:
        self._ask("DELETE", "/_demo/script")
        self._ask("POST", "/_demo/script", [{"text": text, "times": None, **entry}])

    def calls(self) -> list[dict]:
        return [call for call in self._ask("GET", "/_demo/calls") if call["path"] == "/v1/messages"]

    def _ask(self, method: str, path: str, body=None):
        return ask(self.port, method, path, body)[1]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Server:
    """gunicorn on a store and a data folder."""

    def __init__(self, store_url: str, data: Path, upstream: Upstream, **environ: str) -> None:
        (self.port,) = free_ports(1)
        environ |= {
            "PATH": os.environ["PATH"],
            "REDIS_URL": store_url,
            "PARLANCE_DATA": str(data),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "2",
            "ANTHROPIC_API_KEY": "sk-test",
            "ANTHROPIC_BASE_URL": upstream.url,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application"]
        with (data / f"log-{self.port}.jsonl").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, preexec_fn=tied(), env=environ)

    def up(self) -> Server:
        until(lambda: len(self.workers()) == 2 and all(self._serves(pid) for pid in self.workers()), START_S)
        return self

    def workers(self) -> list[int]:
        """The pids of those that live."""
        with contextlib.suppress(OSError):
            path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            return [int(pid) for pid in Path(path).read_text().split() if _state(int(pid)) not in "ZX"]
        return []

    def worker_of(self, client_port: int) -> int | None:
        """Who holds the other end of a client's connection."""
        for pid in self.workers():
            if any(f"socket:[{inode}]" in _open_files(pid) for inode in _inodes(self.port, client_port)):
                return pid
        return None

    def _serves(self, pid: int) -> bool:
        """A worker listens as soon as it has loaded the application; it then waits in its event loop."""
        return any("eventpoll" in name for name in _open_files(pid))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
            self.process.kill()
        self.process.wait()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _open_files(pid: int) -> set[str]:
    names = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                names.add(os.readlink(file))
    return names


def _inodes(local: int, remote: int) -> list[str]:
    """Of the connections between two ports of this machine, seen from `local`."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = (f":{local:04X}", f":{remote:04X}")
    return [row[9] for row in rows if (row[1][-5:], row[2][-5:]) == ends]


def ask(port: int, method: str, path: str, body=None, token: str = ""):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request(method, path, json.dumps(body) if body is not None else None, _headers(token))
        response = link.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        link.close()


def _headers(token: str) -> dict[str, str]:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})


class Viewer:
    """A visitor with one question. `watch` returns when the answer has ended; what was cut is resumed at whichever
    of `ports` answers."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        status, session = until_answered(ports[0], "POST", "/v1/sessions", {"site": "fern"})
        assert status == 201, session
        self.token, self.conversation = session["token"], session["conversation"]["id"]
        self.message = {"conversation": self.conversation, "id": str(uuid.uuid4()), "text": "Tell me"}
        self.turn = ""
        self.local_port = 0
        self.events: list[tuple[tuple[int, int], str, dict]] = []
        self.resumed = 0

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1][1] in ("done", "error")

    @property
    def last(self) -> dict:
        return self.events[-1][2]

    @property
    def text(self) -> str:
        shown = ""
        for _, name, data in self.events:
            shown = "" if name == "reset" else shown + data.get("text", "") * (name == "text")
        return shown

    def watch(self) -> Viewer:
        deadline = time.monotonic() + END_S
        attempt = 0
        while not self.done:
            assert time.monotonic() < deadline, f"no end within {END_S:.0f} s: {self.events[-2:]}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._follow(self.ports[attempt % len(self.ports)])
            attempt += 1
            gevent.sleep(0.1)
        self.resumed = attempt - 1
        return self

    def _follow(self, port: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            if self.turn:
                after = "{}-{}".format(*self.events[-1][0])
                path = f"/v1/turns/{self.turn}/events"
                link.request("GET", path, headers=_headers(self.token) | {"Last-Event-ID": after})
            else:
                link.request("POST", "/v1/messages", json.dumps(self.message), _headers(self.token))
            self.local_port = link.sock.getsockname()[1]
            response = link.getresponse()
            assert response.status in (200, 503), (response.status, response.read())
            if response.status == 200:
                self._read(response)
        finally:
            link.close()

    def _read(self, response: http.client.HTTPResponse) -> None:
        fields: dict[str, str] = {}
        while line := response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            fields |= {name: value} if name else {}
            if line == b"\n" and "event" in fields:
                epoch, number = fields["id"].split("-")
                self._take((int(epoch), int(number)), fields["event"], json.loads(fields["data"]))
                fields = {}

    def _take(self, place: tuple[int, int], name: str, data: dict) -> None:
        assert not self.events or place > self.events[-1][0], "an event came twice"
        assert not self.done, "something came after the end"
        self.events.append((place, name, data))
        self.turn = self.events[0][2]["turn"]

    def has_whole_answer(self, text: str = TEXT) -> bool:
        """And nothing was shown that the end does not confirm."""
        assert (self.events[-1][1], self.last.get("state")) == ("done", "complete"), self.last
        assert self.last["text"] == self.text == text
        status, conversation = until_answered(self.ports[-1], "GET", "/v1/conversation", token=self.token)
        return status == 200 and [m["text"] for m in conversation["messages"]] == ["Tell me", text]


def until_answered(port: int, method: str, path: str, body=None, token: str = ""):
    deadline = time.monotonic() + END_S
    while True:
        try:
            status, reply = ask(port, method, path, body, token)
        except (OSError, http.client.HTTPException, ValueError):
            status, reply = 503, None
        if status != 503 or time.monotonic() > deadline:
            return status, reply
        gevent.sleep(0.1)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.stop()


@pytest.fixture
def embedded(tmp_path) -> Iterator[Embedded]:
    embedded = Embedded(tmp_path / "store")
    embedded.start()
    yield embedded
    with contextlib.suppress(ProcessLookupError):
        os.kill(embedded.process.pid, signal.SIGCONT)
    embedded.stop()


@pytest.fixture
def kept(embedded) -> Iterator[Store]:
    """The store as the test looks at it, with the site in it."""
    store = Store(embedded.url)
    Library(store).apply([SITE])
    yield store
    store.redis.close()


@pytest.fixture
def serve(kept, embedded, tmp_path, upstream) -> Iterator:
    data = tmp_path / "data"
    data.mkdir()
    servers: list[Server] = []

    def start(**environ: str) -> Server:
        servers.append(Server(embedded.url, data, upstream, **environ))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def rows(store: Store, folder: Path) -> list[dict]:
    return list(Ledger(store, folder / "none", "w_test").rows("fern"))


def settled(store: Store, tmp_path: Path, upstream: Upstream, before: int) -> list[dict]:
    """The ledger's rows, once there is one for each upstream call since `before`; what was left behind is checked.

    A kill may fall between the note of a call and the call itself, in either order: then there is a row without figures
    for a call that was not made, or none for one that lived for some milliseconds.
    """
    calls = upstream.calls()[before:]
    made = {call["id"] for call in calls}
    brief = [call for call in calls if call["left"] and call["ended"] - call["started"] < BRIEF_S]
    until(lambda: len(rows(store, tmp_path)) >= len(made) - len(brief), 15)
    found = rows(store, tmp_path)
    told = [row["upstream_request_id"] for row in found if row["upstream_request_id"]]
    assert len(set(told)) == len(told)
    assert set(told) <= made
    assert len(found) <= len(made) + len([row for row in found if row["cost_nano_usd"] == 0])
    assert store.do("ZCARD", keys.leases("fern")) == 0
    return found


def test_killing_the_answering_worker_twenty_times_costs_nobody_an_answer(serve, kept, tmp_path, upstream):
    upstream.says(pace_s=0.04)
    before = len(upstream.calls())
    server = serve().up()
    viewers, threads = [], []
    for _ in range(KILLS):
        until(lambda: len(server.workers()) == 2, START_S)
        viewer = Viewer(server.port)
        viewers.append(viewer)
        threads.append(gevent.spawn(viewer.watch))
        until(lambda v=viewer: v.turn)
        gevent.sleep(random.uniform(0.0, 0.7))
        victim = server.worker_of(viewer.local_port)
        if victim is None:  # its answer had come, or its worker had gone with an earlier one's
            victim = random.choice(server.workers())
        os.kill(victim, signal.SIGKILL)
    gevent.joinall(threads, raise_error=True)
    assert all(viewer.has_whole_answer() for viewer in viewers)
    assert sum("reset" in [name for _, name, _ in viewer.events] for viewer in viewers) >= KILLS // 4
    found = settled(kept, tmp_path, upstream, before)
    lost = [row for row in found if row["error_class"] == "worker_lost"]
    assert lost
    assert all(row["estimated"] for row in lost)
    for viewer in viewers:
        mine = [row for row in found if row["turn"] == viewer.turn]
        assert [row["error_class"] for row in mine].count("") == 1, mine


def test_a_deploy_cuts_nobody(serve, kept, tmp_path, upstream):
    before = len(upstream.calls())
    old, new = serve(PARLANCE_GRACE_S="4"), serve()
    old.up()
    new.up()
    upstream.says(pace_s=0.25)  # about five seconds: some end in time, some are handed over
    viewers = [Viewer(old.port, new.port) for _ in range(50)]
    threads = [gevent.spawn_later(3.0 * i / 50, viewer.watch) for i, viewer in enumerate(viewers)]
    until(lambda: all(viewer.turn for viewer in viewers), 30)
    old.process.terminate()
    began = time.monotonic()
    old.process.wait(30)
    assert time.monotonic() - began < 4 + 6
    gevent.joinall(threads, raise_error=True)
    assert all(viewer.has_whole_answer() for viewer in viewers)
    handed_over = sum(viewer.resumed > 0 for viewer in viewers)
    assert handed_over, "too slow to see anything"
    found = settled(kept, tmp_path, upstream, before)
    assert len(found) == len(upstream.calls()) - before == 50 + sum(r["error_class"] == "handover" for r in found)


def test_without_the_store_running_answers_go_on_and_new_ones_are_refused_kindly(
    serve, kept, tmp_path, upstream, embedded
):
    before = len(upstream.calls())
    server = serve().up()
    workers = server.workers()
    for outage_s, stop, start in (
        (
            10.0,
            lambda: os.kill(embedded.process.pid, signal.SIGSTOP),
            lambda: os.kill(embedded.process.pid, signal.SIGCONT),
        ),
        (2.0, lambda: (embedded.process.kill(), embedded.process.wait()), embedded.start),
    ):
        upstream.says(" ".join([TEXT] * 2), pace_s=(outage_s + 3) / 36)
        watching = [Viewer(server.port) for _ in range(4)]
        newcomer = Viewer(server.port)
        threads = [gevent.spawn(viewer.watch) for viewer in watching]
        until(lambda: all(len(viewer.events) > 1 for viewer in watching))  # noqa: B023 - called here and now
        stop()
        ends, seen = time.monotonic() + outage_s, [len(viewer.events) for viewer in watching]
        while time.monotonic() < ends - 2:
            asked = time.monotonic()
            status, problem = ask(server.port, "POST", "/v1/messages", newcomer.message, newcomer.token)
            assert time.monotonic() - asked < 2.0
            assert (status, problem["code"], problem["detail"]) == (
                503,
                "unavailable",
                FERN.fallbacks["unavailable"]["en"],
            )
            gevent.sleep(0.3)
        gevent.sleep(max(0.0, ends - time.monotonic()))
        assert all(len(viewer.events) > more for viewer, more in zip(watching, seen, strict=True))
        start()
        gevent.joinall(threads, raise_error=True)
        upstream.says(pace_s=0.0)
        assert newcomer.watch().has_whole_answer()
        for viewer in watching:
            assert viewer.has_whole_answer(" ".join([TEXT] * 2))
            assert not viewer.resumed
            again = Viewer(server.port)
            again.__dict__.update(token=viewer.token, turn=viewer.turn, events=[((0, 0), "", {"turn": viewer.turn})])
            assert again.watch().text == viewer.text
    assert server.workers() == workers
    found = settled(kept, tmp_path, upstream, before)
    assert len(found) == len(upstream.calls()) - before
    assert {row["error_class"] for row in found} == {""}
