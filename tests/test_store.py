"""The door to Redis: what it does where Redis is slow, full, started anew or gone."""

from __future__ import annotations

import os
import signal
import time

import gevent.pool
import pytest

from parlance.errors import StoreUnavailable
from parlance.store.client import COOL_S, Store
from parlance.store.embedded import Embedded

RUNS = [("do", ("PING",)), ("many", ([("PING",), ("TIME",)],)), ("run", ("release", ["{a}l", "{a}t"], ["t", 0]))]


@pytest.fixture
def own(tmp_path):
    """A server for one test, and a store on it."""
    with Embedded(tmp_path) as url:
        embedded = Store(url)
        yield embedded
        embedded.close()


def pid(store: Store) -> int:
    return int(store.do("INFO", "server")["process_id"])


@pytest.mark.parametrize(("how", "given"), RUNS, ids=[how for how, _ in RUNS])
def test_connections_that_the_server_closed_are_made_anew(store, how, given):
    pool = gevent.pool.Pool(20)
    for _ in range(20):
        pool.spawn(getattr(store, how), *given)
    pool.join()
    other = Store(store.url)
    for _ in range(3):
        other.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(20):
            getattr(store, how)(*given)
    other.close()
    store.close()


@pytest.mark.parametrize(("how", "given"), RUNS, ids=[how for how, _ in RUNS])
def test_a_server_that_does_not_answer_is_given_up_soon(own, how, given):
    getattr(own, how)(*given)
    number = pid(own)
    os.kill(number, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                getattr(own, how)(*given)
        assert time.monotonic() - began < 1.0, "after one failure the others are told at once"
    finally:
        os.kill(number, signal.SIGCONT)
    time.sleep(COOL_S)
    for _ in range(3):
        getattr(own, how)(*given)


def test_a_reply_that_came_too_late_is_nobody_elses(own):
    own.do("SET", "a", "1")
    own.run("release", ["{a}l", "{a}t"], ["t", 0])
    number = pid(own)
    os.kill(number, signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        own.do("GET", "a")
    time.sleep(COOL_S)
    with pytest.raises(StoreUnavailable):
        own.run("release", ["{a}l", "{a}t"], ["t", 0])
    os.kill(number, signal.SIGCONT)
    time.sleep(COOL_S)
    for _ in range(5):
        assert own.do("TIME")[0] != b"1"
        assert own.run("release", ["{a}l", "{a}t"], ["t", 0]) == 0


def test_a_full_server_counts_as_away(own):
    for how, given in (
        ("do", ("SET", "a", "x")),
        ("many", ([("SET", "a", "x")],)),
        ("append", ([("there", "0-2", b"x")],)),
    ):
        own.do("DEL", "there")
        own.do("XADD", "there", "0-1", "f", "x")
        own.do("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable):
            getattr(own, how)(*given)
        own.do("CONFIG", "SET", "maxmemory", 0)
        getattr(own, how)(*given)


def test_scripts_are_known_again_after_a_restart(store):
    store.run("release", ["{a}l", "{a}t"], ["t", 0])
    store.do("SCRIPT", "FLUSH")
    assert store.run("release", ["{a}l", "{a}t"], ["t", 0]) == 0


def test_nobody_is_there(tmp_path):
    nowhere = Store(f"unix://{tmp_path}/none")
    with pytest.raises(StoreUnavailable):
        nowhere.do("PING")


def test_a_closed_store_can_be_used_again(store):
    for _ in range(2):
        assert store.ping()
        assert store.run("release", ["{a}l", "{a}t"], ["t", 0]) == 0
        store.close()


def test_a_listener_can_leave_and_come_back(store):
    for _ in range(3):
        ear = store.listen()
        ear.subscribe("here")
        while not ear.subscribed:
            ear.get_message(timeout=1)
        time.sleep(0.02)
        store.do("PUBLISH", "here", "hello")
        assert next(ear.listen())["data"] == b"hello"
        ear.close()
    store.close()
