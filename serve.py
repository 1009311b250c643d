"""`make run`: the store, the demo site, the server; their addresses; and an end that leaves no process behind.

The store is the embedded one unless REDIS_URL is set. This process only watches: gunicorn replaces its own workers,
a store that was killed is started again on the same data, and when gunicorn itself ends, all ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from parlance.errors import ParlanceError, SettingsError
from parlance.settings import Settings, read
from parlance.store import keys
from parlance.store.client import Store
from parlance.store.embedded import Embedded, tied

ROOT = Path(__file__).resolve().parent
DEMO = ROOT / "sites" / "demo"
DEMO_BASE = "http://127.0.0.1:8000"  # as its site file has it
START_S = 90.0
LAST_S = 10.0  # beyond the grace time, for a server that does not end by itself
ORPHANS_S = 3.0
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Arrivals = queue.SimpleQueue[int]


def main() -> int:
    try:
        settings = read()
        arrivals = _listen_to_signals()
        _require_free_port(settings)
        with _store(settings) as (url, embedded):
            environ = {**os.environ, "REDIS_URL": url, "PARLANCE_DATA": str(settings.data_dir)}
            _apply_demo_site(settings, url, environ)
            return Server(settings, environ, embedded, arrivals).run()
    except ParlanceError as error:
        _say(f"parlance: {error}", sys.stderr)
        return 1


class Server:
    """gunicorn as a child in a session of its own, so that a Ctrl-C reaches it through us, as a graceful stop."""

    def __init__(
        self, settings: Settings, environ: dict[str, str], embedded: Embedded | None, arrivals: Arrivals
    ) -> None:
        self.settings = settings
        self.embedded = embedded
        self.arrivals = arrivals
        self.give_up_at: float | None = None  # once it has been asked to stop
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application"],
            cwd=ROOT,
            env=environ,
            start_new_session=True,
            preexec_fn=tied(),
        )

    def run(self) -> int:
        """Until it ends. 0 if it was asked to, else what gunicorn ended with."""
        try:
            if self._answers():
                _say(welcome(self.settings))
            while self.process.poll() is None:
                self._heed(self.arrivals.get(timeout=self._patience()))
            return self._status()
        except queue.Empty:
            _say("parlance: the server did not end in time and is killed", sys.stderr)
            return 1
        finally:
            self._clear()

    def _answers(self) -> bool:
        """True once it does; False if it ends, or is asked to, before."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if _healthy(self.settings):
                return True
            with contextlib.suppress(queue.Empty):
                self._heed(self.arrivals.get(timeout=0.1))
                if self.give_up_at:
                    return False
        raise SettingsError(f"The server did not answer on {_local(self.settings)} within {START_S:.0f} s.")

    def _heed(self, arrival: int) -> None:
        if arrival == signal.SIGCHLD:
            self._revive_store()
        elif self.give_up_at:
            self.process.send_signal(signal.SIGINT)  # gunicorn's own word for "at once"
        else:
            self.give_up_at = time.monotonic() + self.settings.grace_s + LAST_S
            _say("\nStopping: answers under way may finish. Ctrl-C again ends them.")
            self.process.terminate()

    def _patience(self) -> float | None:
        return max(0.0, self.give_up_at - time.monotonic()) if self.give_up_at else None

    def _revive_store(self) -> None:
        if self.embedded and not self.embedded.alive:
            _say("parlance: the store has ended; starting it again", sys.stderr)
            self.embedded.start()

    def _status(self) -> int:
        status = self.process.returncode
        if self.give_up_at and status in (0, -signal.SIGTERM):  # the latter where it had hardly begun
            return 0
        _say(f"parlance: the server ended with status {status}", sys.stderr)
        return status if status > 0 else 1

    def _clear(self) -> None:
        """Nothing of its session survives: workers without a master end by themselves in a second or two, or here."""
        deadline = time.monotonic() + ORPHANS_S
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                self.process.poll()
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def welcome(settings: Settings) -> str:
    """What is worth opening."""
    base = settings.public_url or f"http://{_local(settings)}"
    claude = f"Claude, at {settings.anthropic_base_url}"
    answers = "the demo responder; set ANTHROPIC_API_KEY for Claude" if settings.demo else claude
    return f"""
  Parlance is up.

    Demo website   {base}/demo/
    Script tag     <script src="{base}/widget.js" data-site="demo" async></script>
    Operations     {base}/healthz   {base}/readyz   {base}/metrics
    Answers        {answers}
    Data           {settings.data_dir}

  Ctrl-C stops all of it.
"""


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[tuple[str, Embedded | None]]:
    if settings.redis_url:
        yield settings.redis_url, None
        return
    embedded = Embedded(settings.data_dir)
    try:
        yield embedded.start(), embedded
    finally:
        embedded.stop()


def _listen_to_signals() -> Arrivals:
    """A handler only notes what came; the main loop acts on it, one thing at a time."""
    arrivals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (*STOPS, signal.SIGCHLD):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda received, _: arrivals.put(received))
    return arrivals


def _require_free_port(settings: Settings) -> None:
    family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise SettingsError(
                f"Port {settings.port} of {settings.host} cannot be had: {error.strerror}. "
                "Stop what holds it, or choose another: PORT=8001 make run."
            ) from error


def _apply_demo_site(settings: Settings, url: str, environ: dict[str, str]) -> None:
    """When the store lacks it or its files have changed, so that what was edited elsewhere is not undone each time."""
    mark = settings.data_dir / "demo-site.sha256"
    digest = _digest(DEMO, settings.base)
    known = mark.read_text("ascii") if mark.exists() else ""
    if known == digest and Store(url).do("EXISTS", keys.site("demo")):
        return
    with _at_home(settings.base) as file:
        applied = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "sites", "apply", str(file)],
            cwd=ROOT,
            env=environ,
            preexec_fn=tied(),
        )
    if applied.returncode:
        raise SettingsError(f"The demo site could not be applied (see above): {DEMO / 'site.yaml'}")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest, "ascii")


@contextlib.contextmanager
def _at_home(base: str) -> Iterator[Path]:
    """The demo's site file with the addresses that its pages have under `base`: answers link to them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(shutil.copytree(DEMO, Path(folder, "demo"), ignore=shutil.ignore_patterns("website")))
        file = home / "site.yaml"
        file.write_text(file.read_text("utf-8").replace(DEMO_BASE, base), "utf-8")
        yield file


def _digest(folder: Path, base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for path in sorted([folder / "site.yaml", *(folder / "knowledge").rglob("*")]):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _healthy(settings: Settings) -> bool:
    host, _, port = _local(settings).rpartition(":")
    link = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=3.0)
    try:
        link.request("GET", "/healthz")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _local(settings: Settings) -> str:
    """HOST:PORT as this machine reaches it: a server on all addresses is on the loopback one too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def _say(text: str, stream: TextIO | None = None) -> None:
    file = stream or sys.stdout
    file.write(text + "\n")
    file.flush()


if __name__ == "__main__":
    sys.exit(main())
