"""Scripted faults: what the next calls are to meet, for tests.

    demo.script.add(status=529)                                    the next call is refused once
    demo.script.add(status=529, times=None, model="…")             every call for that model, until `clear`
    demo.script.add(when="umbrella", text="Half of this", after=2, cut="reset")

Over HTTP the same fields are the JSON of `POST /_demo/script`, one entry or a list. A call takes the first entry that
fits it. Where in the answer something happens is counted in deltas: `after=3` is before the fourth, `after=0` before
the first, `after=-1` before `message_start`; beyond the last it is before `message_delta`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from demo.errors import ApiError

MESSAGES = {429: "This request would exceed your rate limit.", 529: "Overloaded"}
CUTS = (
    "reset",  # RST
    "close",  # the connection ends without the final chunk
    "half",  # the same, inside an event
    "end",  # politely, but without message_stop
)

# What a client of an older day has never heard of, all of it to be passed over.
UNKNOWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("weather", {"type": "weather", "sky": "grey"}),
    ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "hum_delta", "hum": "la"}}),
    ("content_block_start", {"type": "content_block_start", "index": 90, "content_block": {"type": "hologram"}}),
    ("content_block_stop", {"type": "content_block_stop", "index": 90}),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to happen. All fields may be left out. Durations are seconds."""

    # which calls it is for
    when: str = ""  # a part of the visitor's last message
    model: str = ""
    key: str = ""
    times: int | None = 1  # None: always

    # instead of an answer
    status: int = 0
    message: str = ""
    error_type: str = ""
    error_code: str | None = None
    retry_after: float | None = None
    html: bool = False  # the error is a proxy's HTML page
    headers: dict[str, str] | None = None

    # what is answered, and how fast
    first_byte_s: float = 0.0  # before the response's headers
    text: str | None = None  # said verbatim
    blocks: list[dict[str, Any]] | None = None  # or these blocks, of any kind
    deltas: int | None = None  # in so many text deltas
    pace_s: float | None = None  # before each
    stop_reason: str = ""  # the answer ends with it; with `after`, after so many deltas
    stop_details: dict[str, Any] | None = None

    # what happens on the way
    after: int | None = None
    stall_s: float = 0.0
    events: list[Any] | None = None  # [[name, data], …] slipped in
    unknown: bool = False  # slips in an unknown event, delta and block
    error: dict[str, Any] | None = None  # an error event, {"type", "message"}, which ends the stream
    cut: str = ""  # one of CUTS

    def __post_init__(self) -> None:
        if self.cut and self.cut not in CUTS:
            raise ValueError(f"cut is {self.cut!r}: give one of {', '.join(CUTS)}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}: give 1 or more, or null for always")

    def fits(self, key: str, model: str, text: str) -> bool:
        return self.key in ("", key) and self.model in ("", model) and self.when in text

    def refusal(self) -> ApiError:
        message = self.message or MESSAGES.get(self.status, "Internal server error")
        return ApiError(self.status, message, type=self.error_type, code=self.error_code, retry_after=self.retry_after)

    @property
    def slipped_in(self) -> list[tuple[str, dict[str, Any]]]:
        return [*(UNKNOWN if self.unknown else ()), *((name, data) for name, data in self.events or [])]

    @property
    def interrupts(self) -> bool:
        return bool(self.stall_s or self.slipped_in or self.error or self.cut)


NOTHING = Entry()


class Script:
    """The entries that wait for their calls, in the order in which they were added."""

    def __init__(self, entries: Iterable[Entry | dict[str, Any]] = ()) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self.extend(entry if isinstance(entry, Entry) else make(entry) for entry in entries)

    def add(self, **entry: Any) -> None:
        self.extend([make(entry)])

    def extend(self, entries: Iterable[Entry]) -> None:
        """All of them or, if one is wrong, none."""
        whole = list(entries)
        with self._lock:
            self._entries += whole

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def take(self, key: str, model: str, text: str) -> Entry:
        """The first entry for this call, which is thereby used up once; NOTHING if there is none."""
        with self._lock:
            for index, entry in enumerate(self._entries):
                if entry.fits(key, model, text):
                    if entry.times == 1:
                        del self._entries[index]
                    elif entry.times:
                        self._entries[index] = replace(entry, times=entry.times - 1)
                    return entry
        return NOTHING


def make(values: dict[str, Any]) -> Entry:
    """An entry from its JSON. Raises ValueError for a name that no entry has: a typo would script nothing."""
    if unknown := set(values) - {field.name for field in fields(Entry)}:
        raise ValueError(f"a script entry has no {', '.join(sorted(unknown))}")
    return Entry(**values)
