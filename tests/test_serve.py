"""`serve.py` as a user has it: a real process that starts all others, answers, and leaves none behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_ports

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
STOP_S = 30.0
UNSET = ("REDIS_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "SECRET_KEY", "PROMETHEUS_MULTIPROC_DIR", "HOST")


class Run:
    """One run of serve.py on a data folder and a port of its own."""

    def __init__(self, data: Path, root: Path = ROOT, **environ: str) -> None:
        self.port = int(environ.get("PORT") or free_ports(1)[0])
        self.output = data.with_name(f"output-{uuid.uuid4().hex[:6]}.txt")
        given = {"PORT": str(self.port), "PARLANCE_DATA": str(data), "WEB_CONCURRENCY": "1", "PARLANCE_GRACE_S": "5"}
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(root / "serve.py")],
                cwd=data.parent,
                env={**{k: v for k, v in os.environ.items() if k not in UNSET}, **given, **environ},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text("utf-8")

    def up(self) -> Run:
        until(lambda: "Parlance is up" in self.said or self.process.poll() is not None, START_S)
        assert self.process.poll() is None, self.said
        return self

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        origin = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        try:
            link.request(method, path, json.dumps(body) if body is not None else None, {**origin, **headers})
            response = link.getresponse()
            return response.status, response.read()
        finally:
            link.close()

    def children(self) -> dict[int, str]:
        """Command by pid, of everything that it has started, directly or not."""
        table = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                table[int(folder.name)] = (parent, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        found, fresh = {}, {self.process.pid}
        while fresh:
            fresh = {pid for pid, (parent, _) in table.items() if parent in fresh}
            found.update({pid: table[pid][1] for pid in fresh})
        return found

    def pid_of(self, word: str) -> int:
        """The first process whose command has this word: of gunicorn's, that is the master."""
        return min(pid for pid, command in self.children().items() if word in command)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """Starts runs on one data folder; whatever a failed test leaves is ended by its pid."""
    runs = []

    def start(root: Path = ROOT, **environ: str) -> Run:
        runs.append(Run(tmp_path / "data", root, **environ))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            left = run.children()
            run.process.kill()
            run.process.wait()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def until(true, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:.0f} s"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def events(stream: bytes) -> list[tuple[str, dict]]:
    """Name and data of each event of an answer's stream."""
    frames = [[line.split(": ", 1) for line in frame.split("\n")] for frame in stream.decode().split("\n\n")]
    blocks = [dict(field for field in frame if len(field) == 2) for frame in frames]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


def test_it_starts_answers_and_ends_on_ctrl_c_with_no_process_left(serve):
    run = serve(WEB_CONCURRENCY="2").up()
    for address in ("/demo/", "/healthz", "/readyz", "/metrics"):
        assert f"http://127.0.0.1:{run.port}{address}" in run.said
        assert run.ask("GET", address)[0] == 200
    assert '<script src="http' in run.said
    assert "demo responder" in run.said
    assert run.ask("GET", "/widget.js")[0] == 200
    assert b"parlance_open_streams" in run.ask("GET", "/metrics")[1]
    started = run.children()
    assert len(started) == 4  # the store, gunicorn's master, two workers
    assert run.stop() == 0
    assert not [command for pid, command in started.items() if alive(pid)]


def test_a_second_run_finds_yesterdays_conversation(serve):
    run = serve().up()
    status, body = run.ask("POST", "/v1/sessions", {"site": "demo"})
    assert status == 201, body
    session = json.loads(body)
    bearer = {"Authorization": f"Bearer {session['token']}"}
    message = {"conversation": session["conversation"]["id"], "id": str(uuid.uuid4()), "text": "Hello!"}
    status, stream = run.ask("POST", "/v1/messages", message, **bearer)
    assert status == 200, stream
    name, done = events(stream)[-1]
    assert name == "done"
    assert run.stop() == 0

    later = serve(PORT=str(run.port)).up()
    status, body = later.ask("GET", "/v1/conversation", **bearer)
    assert status == 200, body
    assert [entry["text"] for entry in json.loads(body)["messages"]] == ["Hello!", done["text"]]
    assert later.stop(signal.SIGTERM) == 0


def test_it_leaves_no_process_when_it_is_killed_and_the_next_run_sweeps_up(serve, tmp_path):
    run = serve().up()
    started = run.children()
    socket = Path(json.loads((tmp_path / "data" / "store.json").read_text())["socket"])
    run.process.kill()
    run.process.wait()
    until(lambda: not any(alive(pid) for pid in started), STOP_S)
    later = serve(PORT=str(run.port)).up()
    assert not socket.parent.exists()
    assert later.stop() == 0


def test_a_killed_worker_is_replaced(serve):
    run = serve().up()
    worker = max(pid for pid, command in run.children().items() if "gunicorn" in command)
    os.kill(worker, signal.SIGKILL)
    until(lambda: healthy(run), START_S)
    assert not alive(worker)
    assert run.stop() == 0


def test_a_killed_store_is_started_again_and_what_it_held_is_there(serve):
    run = serve().up()
    store = run.pid_of("valkey-server")
    os.kill(store, signal.SIGKILL)
    until(lambda: ready(run) and not alive(store), START_S)
    assert run.ask("GET", "/v1/sites/demo")[0] == 200
    assert run.stop() == 0


def test_it_ends_with_an_error_and_without_a_process_when_the_server_is_killed(serve):
    run = serve().up()
    started = run.children()
    os.kill(run.pid_of("gunicorn"), signal.SIGKILL)
    assert run.process.wait(STOP_S) == 1
    assert "the server ended" in run.said
    until(lambda: not any(alive(pid) for pid in started), STOP_S)


def test_it_says_which_port_is_taken(serve):
    run = serve().up()
    other = serve(PORT=str(run.port))
    assert other.process.wait(START_S) == 1
    assert f"Port {run.port} of 127.0.0.1 cannot be had" in other.said
    assert "Traceback" not in other.said


def test_it_says_who_uses_the_data_folder(serve):
    run = serve().up()
    other = serve()
    assert other.process.wait(START_S) == 1
    assert f"in use by process {run.process.pid}" in other.said


def test_it_says_which_setting_makes_no_sense(serve):
    run = serve(WEB_CONCURRENCY="many")
    assert run.process.wait(START_S) == 1
    assert "WEB_CONCURRENCY is 'many'" in run.said
    assert "Traceback" not in run.said


SLOW = '''
from gevent import monkey; monkey.patch_all()
import time
import click
from flask import Flask, Response
from flask.cli import AppGroup
from types import SimpleNamespace

application = Flask(__name__)
application.extensions["parlance"] = SimpleNamespace(start=lambda alive: None, stop=lambda: None)
application.add_url_rule("/healthz", view_func=lambda: "ok")
sites = AppGroup("sites")
sites.command("apply")(click.argument("file")(lambda file: None))
application.cli.add_command(sites)

@application.get("/slow")
def slow():
    def words():
        for number in range(30):
            yield f"{number}\\n"
            time.sleep(0.1)
    return Response(words())
'''


@pytest.fixture
def slow_house(tmp_path) -> Path:
    """serve.py and what it needs, around an application whose one answer takes three seconds."""
    root = tmp_path / "house"
    (root / "sites" / "demo").mkdir(parents=True)
    (root / "sites" / "demo" / "site.yaml").write_text("key: demo\n")
    (root / "wsgi.py").write_text(SLOW)
    for name in ("serve.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, root)
    (root / "parlance").symlink_to(ROOT / "parlance")
    return root


@contextlib.contextmanager
def slow_answer(run: Run) -> Iterator[http.client.HTTPResponse]:
    """An answer under way: its first word has come."""
    link = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
    link.request("GET", "/slow")
    response = link.getresponse()
    assert response.readline() == b"0\n"
    yield response
    link.close()


def test_ctrl_c_lets_an_answer_finish(serve, slow_house):
    run = serve(slow_house).up()
    with slow_answer(run) as response:
        run.process.send_signal(signal.SIGINT)
        assert response.read().endswith(b"\n29\n")
    assert run.process.wait(STOP_S) == 0


def test_a_second_ctrl_c_ends_it(serve, slow_house):
    run = serve(slow_house).up()
    with slow_answer(run) as response:
        run.process.send_signal(signal.SIGINT)
        until(lambda: "Ctrl-C again" in run.said, 5)
        run.process.send_signal(signal.SIGINT)
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    assert run.process.wait(STOP_S) == 0


PROBE = '''
import gc, json, os, resource, socket

class Services:
    def start(self, worker_alive):
        self.alive = worker_alive
    def stop(self):
        open("stopped", "w").close()

class Application:
    extensions = {"parlance": Services()}
    def __call__(self, environ, start_response):
        state = {
            "nodelay": environ["gunicorn.socket"].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "frozen": gc.get_freeze_count(),
            "threshold": gc.get_threshold()[0],
            "alive": self.extensions["parlance"].alive(),
            "metrics": os.environ["PROMETHEUS_MULTIPROC_DIR"],
        }
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(state).encode()]

application = Application()
'''


def test_a_worker_is_set_up_for_many_streams_and_tells_its_services_when_it_ends(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    (port,) = free_ports(1)
    environ = {**os.environ, "PORT": str(port), "PARLANCE_DATA": str(tmp_path / "data"), "WEB_CONCURRENCY": "1"}
    environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "probe:application"],
        cwd=tmp_path,
        env=environ,
    )
    try:
        state = until_answered(port)
        assert state["nodelay"] == 1
        assert state["files"] >= 20_000
        assert state["frozen"] > 10_000
        assert state["threshold"] == 5_000
        assert state["alive"] is True
        assert state["metrics"] == str(tmp_path / "data" / "metrics")
    finally:
        server.terminate()
        assert server.wait(STOP_S) == 0
    assert (tmp_path / "stopped").exists()


def until_answered(port: int) -> dict:
    answers: list[dict] = []

    def answered() -> bool:
        with contextlib.suppress(OSError):
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            link.request("GET", "/")
            answers.append(json.loads(link.getresponse().read()))
            link.close()
        return bool(answers)

    until(answered, START_S)
    return answers[0]


def healthy(run: Run) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return run.ask("GET", "/healthz")[0] == 200
    return False


def ready(run: Run) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return run.ask("GET", "/readyz")[0] == 200
    return False
