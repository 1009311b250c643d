"""What can happen in an answer, written once: the events of the visitor protocol and their wire form.

A frame is the SSE text of one event without its `id:` line; the id is added by whoever sends it, so that the same
bytes serve the journal, the visitor who asked, and everyone who follows later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

START = "start"  # {"turn", "conversation", "message"}
TEXT = "text"  # {"text"}
TOOL = "tool"  # {"id", "label", "state": running | done | failed}
SOURCE = "source"  # {"n", "title", "url"?}
SUGGESTIONS = "suggestions"  # {"replies": [...]}, the latest of a turn counts
HANDOFF = "handoff"  # {"state": asked}
RESET = "reset"  # {"reason"}
DONE = "done"  # {"message", "state": complete | cancelled | interrupted, "stop_reason", "text"}
ERROR = "error"  # {"code", "detail", "retry_after"?, "retry", "passages"?: [{"title", "url"?, "text"}]}

ALL = (START, TEXT, TOOL, SOURCE, SUGGESTIONS, HANDOFF, RESET, DONE, ERROR)
LAST = (DONE, ERROR)

HEARTBEAT = b": still here\n\n"

# States of a turn. `running` is the only one that can change.
RUNNING, COMPLETE, CANCELLED, INTERRUPTED, FAILED = "running", "complete", "cancelled", "interrupted", "failed"

_TEXT_HEAD = b'event: text\ndata: {"text":'
_LAST_HEADS = (b"event: done\n", b"event: error\n")
_quote = json.encoder.encode_basestring_ascii  # ASCII only: no raw U+2028 that a careless reader would split at


def frame(event: str, data: Mapping[str, Any]) -> bytes:
    """One event's SSE frame without its id: `b'event: text\\ndata: {"text":"Hi"}\\n\\n'`."""
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def text_frame(text: str) -> bytes:
    """`frame(TEXT, {"text": text})`, on the hot path."""
    return _TEXT_HEAD + _quote(text).encode("ascii") + b"}\n\n"


def with_id(event_id: str, frame: bytes) -> bytes:
    """The frame as it goes to a visitor."""
    return b"id: " + event_id.encode("ascii") + b"\n" + frame


def is_last(frame: bytes, start: int = 0) -> bool:
    """Whether the frame that begins at `start` ends its turn's stream."""
    return frame.startswith(_LAST_HEADS, start)


def parse(frame: bytes) -> tuple[str, dict[str, Any]]:
    """A frame back into its event and data: the reverse of `frame`."""
    head, _, tail = frame.partition(b"\ndata: ")
    return head.removeprefix(b"event: ").decode("ascii"), json.loads(tail)


def parse_sent(sent: bytes) -> tuple[str, dict[str, Any]]:
    """As `parse`, of a frame that has its id line."""
    return parse(sent[sent.index(b"\n") + 1 :])
