"""What most tests share: stores of every engine, and settings that point nowhere real.

`store` and `redis_url` run a test once for each engine: the embedded valkey and, where it is installed, redis-server.
`cluster_store` and `cluster_url` are a Redis Cluster of three nodes on loopback ports, started when first asked for.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from parlance.settings import Secret, Settings
from parlance.store.client import Store
from parlance.store.embedded import Embedded, find_server, tied

REDIS = shutil.which("redis-server")
ENGINES = {"valkey": None, **({"redis": Path(REDIS)} if REDIS else {})}
SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture(scope="session", params=list(ENGINES))
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Embedded(tmp_path_factory.mktemp(request.param), server=ENGINES[request.param]) as url:
        yield url


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    """An empty store."""
    store = Store(redis_url)
    store.do("FLUSHALL")
    yield store
    store.close()


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ports = free_ports(6)  # each node speaks to clients on one and to the other nodes on another
    with ExitStack() as stack:
        for port, bus in zip(ports[:3], ports[3:], strict=True):
            stack.enter_context(_node(port, bus, tmp_path_factory.mktemp(f"node{port}")))
        for port, (first, last) in zip(ports[:3], SLOTS, strict=True):
            assert ask(port, "CLUSTER", "ADDSLOTSRANGE", first, last) == "+OK"
        for port, bus in zip(ports[1:3], ports[4:], strict=True):
            assert ask(ports[0], "CLUSTER", "MEET", "127.0.0.1", port, bus) == "+OK"
        _until(lambda: all(_joined(port) for port in ports[:3]))
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])


@pytest.fixture
def cluster_store(cluster_url: str) -> Iterator[Store]:
    """An empty store on three nodes."""
    store = Store(cluster_url)
    store.redis.flushall(target_nodes="primaries")
    yield store
    store.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The demo's settings on an empty data folder, without a store; `dataclasses.replace` changes some."""
    return Settings(data_dir=tmp_path / "data", secret_key=Secret("a secret key for tests only"))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def ask(port: int, *command: object) -> str:
    """The whole reply of one command, as it came."""
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        link.sendall((" ".join(str(word) for word in command) + "\r\n").encode())
        return link.recv(65_536).decode().strip()


class _node:
    """One node of a Cluster, as a context manager."""

    def __init__(self, port: int, bus: int, folder: Path) -> None:
        options = f"--bind 127.0.0.1 --port {port} --cluster-enabled yes --cluster-port {bus} --dir {folder}"
        command = [str(REDIS or find_server()), *options.split(), "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=tied())
        self.port = port

    def __enter__(self) -> None:
        _until(lambda: ask(self.port, "PING") == "+PONG")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


def _joined(port: int) -> bool:
    info = ask(port, "CLUSTER", "INFO")
    return "cluster_state:ok" in info and "cluster_known_nodes:3" in info


def _until(true: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            if true():  # type: ignore[operator]
                return
        time.sleep(0.05)
    raise AssertionError(f"not so within {seconds:.0f} s")
