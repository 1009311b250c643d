"""One log line for every request, written when its last byte is out, and an id that joins it to all other lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask, Response, g, request

from parlance import ids
from parlance.observe.logs import log

STALLED_S = 30.0


def observe_requests(app: Flask) -> None:
    """Call it once, before any other `before_request`. It sets `g.request_id` and the header X-Request-Id.

    A view may set `g.site`, `g.visitor`, `g.conversation` and `g.turn` (ids) for the line to carry.
    """
    app.before_request(_begin)
    app.after_request(_watch)


def _begin() -> None:
    g.request_id = ids.request()
    g.began = time.perf_counter()
    if peer := request.environ.get("gunicorn.socket"):
        peer.settimeout(STALLED_S)  # who neither reads nor sends for so long must not hold a greenlet for ever


def _watch(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    began, line, sent = g.began, _line(response), _counter(response)
    response.call_on_close(
        lambda: log("request", **line, bytes=sent(), duration_ms=round((time.perf_counter() - began) * 1000, 1))
    )
    return response


def _line(response: Response) -> dict[str, Any]:
    """The rule instead of the path, and no query: both may hold what a visitor typed."""
    said = {name: g.get(name) for name in ("site", "visitor", "conversation", "turn")}
    rule = str(request.url_rule) if request.url_rule else None
    return {"request": g.request_id, "method": request.method, "route": rule, "status": response.status_code, **said}


def _counter(response: Response) -> Callable[[], int]:
    """What tells, at the end, how many bytes of body went out."""
    if response.is_sequence:
        size = 0 if request.method == "HEAD" else response.calculate_content_length() or 0
        return lambda: size
    body = _Counted(response.response, response.iter_encoded())
    response.response = body
    return lambda: body.sent


class _Counted:
    """A streamed body that knows how much of it has gone out."""

    def __init__(self, body: object, parts: Iterable[bytes]) -> None:
        self.close = getattr(body, "close", lambda: None)
        self.parts = parts
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            self.sent += len(part)
            yield part
