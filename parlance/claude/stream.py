"""The bytes of a Messages stream into what they mean. Pure: bytes in, pieces of text out, the rest in its fields.

Split on LF only (a raw U+2028 is text, not an end of line), tolerant of what it does not know (new events, deltas and
blocks may come any day), strict about the end: complete is what saw `message_stop` and a `stop_reason`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from parlance.claude.errors import from_event, garbled
from parlance.claude.models import Usage


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: dict[str, Any] | None = None


class _BlockDelta(msgspec.Struct):
    index: int = 0
    delta: _Delta = msgspec.field(default_factory=_Delta)


_block_delta = msgspec.json.Decoder(_BlockDelta).decode
_anything = msgspec.json.Decoder().decode

_GOES_ON = ("tool_use", "pause_turn")  # stop reasons after which the blocks are sent back

_DELTA = b"event: content_block_delta\n"


class Sources:
    """What an answer cites, numbered as it comes up: `[1]` is the first. `fresh` are those not yet shown."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.fresh: list[dict[str, Any]] = []

    def number(self, citation: dict[str, Any]) -> int:
        """The number of the cited passage: the same for the same source."""
        source, title = citation.get("source") or "", citation.get("title") or ""
        for known in self.all:
            if known["source"] == source:
                return int(known["n"])
        self.all.append({"n": len(self.all) + 1, "source": source, "title": title})
        self.fresh.append(self.all[-1])
        return len(self.all)


class Stream:
    """One answer's stream. Feed it bytes; afterwards its fields say how it ended.

    `blocks` are the content blocks as they must be sent back, thinking and signatures included; `sources` number what
    the text cites, and the text gets their markers.
    """

    def __init__(self, sources: Sources | None = None) -> None:
        self.sources = sources or Sources()
        self.message = ""
        self.usage = Usage()
        self.stop_reason = ""
        self.stop_details: dict[str, Any] = {}
        self.stopped = False
        self.blocks: list[dict[str, Any]] = []
        self.texts: dict[int, list[str]] = {}
        self._rest = b""

    @property
    def complete(self) -> bool:
        return self.stopped and bool(self.stop_reason)

    @property
    def tool_uses(self) -> bool:
        """Whether a tool is called in it."""
        return any(block.get("type") == "tool_use" for block in self.blocks)

    @property
    def text(self) -> str:
        return "".join(piece for index in sorted(self.texts) for piece in self.texts[index])

    def feed(self, data: bytes) -> str:
        """Take bytes as they came, cut anywhere; return the text in them.

        Raises UpstreamError for an error event, and for what no event of the API looks like."""
        if b"\r" in data:  # never inside JSON: a proxy's line ends
            data = data.replace(b"\r", b"")
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        try:
            return "".join([self._take(frame) for frame in frames])
        except (msgspec.MsgspecError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise garbled(error) from error

    def _take(self, frame: bytes) -> str:
        if frame.startswith(_DELTA):
            return self._on_delta(_block_delta(frame[frame.index(b"data:") + 5 :]))
        name, data = _fields(frame)
        handler = _HANDLERS.get(name)
        return (handler(self, _anything(data)) or "") if handler and data else ""

    def _on_delta(self, event: _BlockDelta) -> str:
        delta = event.delta
        if delta.type == "text_delta":
            text = delta.text
            self.texts.setdefault(event.index, []).append(text)
            return text
        if event.index < len(self.blocks):
            block = self.blocks[event.index]
            if delta.type == "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta.thinking
            elif delta.type == "signature_delta":
                block["signature"] = delta.signature
            elif delta.type == "input_json_delta":
                block["partial_json"] = block.get("partial_json", "") + delta.partial_json
            elif delta.type == "citations_delta" and delta.citation:
                block["citations"] = [*(block.get("citations") or []), delta.citation]
        return ""

    def _on_start(self, event: dict[str, Any]) -> None:
        message = event["message"]
        self.message = message.get("id") or ""
        usage = message.get("usage") or {}
        created = usage.get("cache_creation_input_tokens") or 0
        hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        self.usage = Usage(
            input=usage.get("input_tokens") or 0,
            write_5m=created - hour,
            write_1h=hour,
            read=usage.get("cache_read_input_tokens") or 0,
            output=usage.get("output_tokens") or 0,
        )

    def _on_block(self, event: dict[str, Any]) -> None:
        index = event.get("index", len(self.blocks))
        while len(self.blocks) <= index:
            self.blocks.append({})
        self.blocks[index] = dict(event.get("content_block") or {})

    def _on_block_stop(self, event: dict[str, Any]) -> str:
        """A block is whole; returned are the markers of what it cites."""
        index = event.get("index", -1)
        if not 0 <= index < len(self.blocks):
            return ""
        block = self.blocks[index]
        if block.get("type") == "text":
            block["text"] = "".join(self.texts.get(index, []))
            return "".join(dict.fromkeys(f" [{self.sources.number(cited)}]" for cited in block.get("citations") or ()))
        return ""

    def _on_message_delta(self, event: dict[str, Any]) -> None:
        """The usage is cumulative and overwrites; what it leaves out keeps the figures of `message_start`."""
        delta, usage = event.get("delta") or {}, event.get("usage") or {}
        self.stop_reason = delta.get("stop_reason") or self.stop_reason
        self.stop_details = delta.get("stop_details") or self.stop_details
        now, created = self.usage, usage.get("cache_creation_input_tokens")
        self.usage = Usage(
            input=_or(usage.get("input_tokens"), now.input),
            write_5m=now.write_5m if created is None else created - now.write_1h,
            write_1h=now.write_1h,
            read=_or(usage.get("cache_read_input_tokens"), now.read),
            output=_or(usage.get("output_tokens"), now.output),
        )

    def _on_stop(self, event: dict[str, Any]) -> None:
        """Arguments are read where they are needed: those that `max_tokens` cut are no JSON, and no fault either."""
        self.stopped = True
        if self.stop_reason in _GOES_ON:
            for block in self.blocks:
                if "partial_json" in block:
                    block["input"] = _anything(block.pop("partial_json") or b"{}")

    def _on_error(self, event: dict[str, Any]) -> None:
        raise from_event((event.get("error") or {}).get("type") or "", event.get("request_id") or "")


_HANDLERS: dict[bytes, Callable[[Stream, dict[str, Any]], str | None]] = {
    b"message_start": Stream._on_start,
    b"content_block_start": Stream._on_block,
    b"content_block_stop": Stream._on_block_stop,
    b"message_delta": Stream._on_message_delta,
    b"message_stop": Stream._on_stop,
    b"error": Stream._on_error,
}


def _fields(frame: bytes) -> tuple[bytes, bytes]:
    """An SSE frame's event name and data: lines of `name: value`, a space after the colon being no part of it."""
    name, data = b"", []
    for line in frame.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return name, b"\n".join(data)


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


def pieces(chunks: Iterator[bytes], stream: Stream) -> Iterator[str]:
    """The text of a stream as it comes, one piece a read."""
    for chunk in chunks:
        text = stream.feed(chunk)
        if text:
            yield text
        if stream.stopped:
            return
