"""The embedded store: a real server, private, durable, and gone when its owner is."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from parlance.errors import StoreNotStarted
from parlance.settings import Secret, Settings
from parlance.store import embedded
from parlance.store.client import Store
from parlance.store.embedded import Embedded, address, find_server
from parlance.store.secretkey import secret_key


def write(url: str, key: str, value: str) -> None:
    store = Store(url)
    store.do("SET", key, value)
    store.redis.close()


def value(url: str, key: str) -> bytes | None:
    store = Store(url)
    found = store.do("GET", key)
    store.redis.close()
    return found


def gone(pid: int) -> bool:
    """Ended; an orphan that nobody has reaped yet counts as ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(*pids: int, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there after {seconds} s: {[pid for pid in pids if not gone(pid)]}"
        time.sleep(0.02)


def test_it_keeps_what_was_written(tmp_path):
    with Embedded(tmp_path) as url:
        write(url, "a", "1")
    with Embedded(tmp_path) as url:
        assert value(url, "a") == b"1"


def test_it_keeps_what_was_written_before_a_kill(tmp_path):
    store = Embedded(tmp_path)
    url = store.start()
    write(url, "a", "1")
    store.process.kill()
    store.process.wait()
    assert not store.alive
    assert store.start() == url  # revived in its place, so clients find it again
    assert value(url, "a") == b"1"
    store.stop()


def test_it_evicts_nothing_and_logs_every_write(redis_url):
    store = Store(redis_url)
    memory, persistence = store.do("INFO", "memory"), store.do("INFO", "persistence")
    assert memory["maxmemory_policy"] == "noeviction"
    assert persistence["aof_enabled"] == 1
    store.redis.close()


def test_it_is_private_to_its_owner(tmp_path):
    with Embedded(tmp_path) as url:
        socket = Path(url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not socket.parent.exists()


def test_it_is_found_by_its_data_folder_while_it_runs(tmp_path):
    assert address(tmp_path) is None
    with Embedded(tmp_path) as url:
        assert address(tmp_path) == url
    assert address(tmp_path) is None


def test_it_is_not_found_after_a_kill_and_its_socket_folder_is_swept_by_the_next(tmp_path):
    first = Embedded(tmp_path)
    left = Path(first.start().removeprefix("unix://")).parent
    record = (tmp_path / "store.json").read_text()
    first.process.kill()
    first.process.wait()
    assert address(tmp_path) is None
    first._lock.close()  # as if its owner had been killed with it
    (tmp_path / "store.json").write_text(record)
    with Embedded(tmp_path):
        assert not left.exists()


def test_it_refuses_a_folder_that_is_in_use_and_says_by_whom(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LOCK_S", 0.1)
    with Embedded(tmp_path), pytest.raises(StoreNotStarted, match=rf"in use by process {os.getpid()}\."):
        Embedded(tmp_path).start()
    with Embedded(tmp_path) as url:  # the refused one took nothing with it
        assert url


def test_it_repeats_the_last_words_of_a_server_that_does_not_start(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "appendonlydir").write_text("a file where a folder belongs")
    with pytest.raises(StoreNotStarted, match="appendonlydir"):
        Embedded(tmp_path).start()


def test_it_takes_a_short_path_where_the_temporary_folder_is_deep(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with Embedded(tmp_path / "data") as url:
        assert address(tmp_path / "data") == url
        assert not list(deep.iterdir())


def test_it_says_what_to_install_where_there_is_no_server(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StoreNotStarted, match="REDIS_URL"):
        find_server()


def test_it_ends_when_its_owner_is_killed_and_the_next_owner_waits_for_that(tmp_path):
    program = textwrap.dedent("""
        import pathlib, sys, time
        from parlance.store.embedded import Embedded
        store = Embedded(pathlib.Path(sys.argv[1]))
        store.start()
        print("up", flush=True)
        time.sleep(60)
    """)
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"up\n"
    server = json.loads((tmp_path / "store.json").read_text())["pid"]
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with Embedded(tmp_path) as url:
        assert gone(server)
        assert address(tmp_path) == url


def test_a_secret_key_is_made_once_and_kept_from_others(tmp_path):
    settings = Settings(data_dir=tmp_path)
    made = secret_key(settings)
    assert len(made) >= 43
    assert secret_key(settings) == made
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
    assert made not in repr(made)


def test_a_secret_key_of_the_settings_is_taken_as_it_is(tmp_path):
    assert secret_key(Settings(data_dir=tmp_path, secret_key=Secret("mine"))) == "mine"
    assert not list(tmp_path.iterdir())


def test_workers_that_start_at_once_agree_on_one_secret_key(tmp_path):
    program = "import sys, pathlib; from parlance.settings import Settings; from parlance.store.secretkey import *"
    program += "; print(secret_key(Settings(data_dir=pathlib.Path(sys.argv[1]))))"
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert len({worker.communicate()[0] for worker in workers}) == 1
