"""Opaque ids. Each kind has a letter so that a log line reads well; nothing may be parsed out of them."""

from __future__ import annotations

import re
import secrets

_EVENT_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def _new(kind: str) -> str:
    """96 bits, past guessing."""
    return f"{kind}_{secrets.token_hex(12)}"


def visitor() -> str:
    return _new("v")


def session() -> str:
    return _new("s")


def conversation() -> str:
    return _new("c")


def turn() -> str:
    return _new("t")


def message() -> str:
    return _new("m")


def call() -> str:
    """One upstream call: the ledger's key and the log's join."""
    return _new("u")


def request() -> str:
    return _new("r")


def worker() -> str:
    return _new("w")


def event(epoch: int, number: int) -> str:
    """An event's id within its turn, also its id in the Redis Stream: `0-1`, `0-2`, after a takeover `1-0`."""
    return f"{epoch}-{number}"


def parse_event(text: str) -> tuple[int, int]:
    """`"3-14"` -> `(3, 14)`. Raises ValueError for anything that `event` does not make."""
    match = _EVENT_ID.fullmatch(text)
    if not match:
        raise ValueError(f"not an event id: {text!r}")
    return int(match[1]), int(match[2])
