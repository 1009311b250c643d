"""An answer's stream as an HTTP response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flask import Response

from blueprints import services


def stream(frames: Iterator[bytes], headers: Mapping[str, str]) -> Response:
    """A response that sends frames as they come. Closing it leaves the stream, and never stops the answer."""
    response = Response(_Open(frames), content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold it back
    for name, value in headers.items():
        response.headers[name] = value
    return response


class _Open(Iterator[bytes]):
    """Frames on their way to one visitor, counted while they are."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self._metrics = services().metrics
        self._metrics.stream_opened()
        self._open = True

    def __next__(self) -> bytes:
        return next(self._frames)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._metrics.stream_closed()
            getattr(self._frames, "close", lambda: None)()
