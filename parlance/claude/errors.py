"""The border: whatever goes wrong upstream becomes one UpstreamError, by one table.

An UpstreamError carries decisions, for the loop: may the same model be asked again, may another, and what the visitor
is told in the end (a protocol code, never a text). Its message is for the logs, and holds no prompt and no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import anthropic
import httpx2

from parlance.errors import ParlanceError

OVERLOADED, UNAVAILABLE, TOO_LONG, REFUSED, CUT = "overloaded", "unavailable", "too_long", "refused", "interrupted"


@dataclass(frozen=True, slots=True)
class _Decision:
    kind: str  # the error class of ledger, log and metric
    code: str  # of the protocol's `error` event
    again: bool  # the same model may do better in a moment
    elsewhere: bool  # another model may do better now


class UpstreamError(ParlanceError):
    """`retry_after` in seconds, None where the provider gave none."""

    def __init__(
        self,
        decision: _Decision,
        reason: str,
        *,
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{decision.kind}: {reason}")
        self.kind = decision.kind
        self.code = decision.code
        self.again = decision.again
        self.elsewhere = decision.elsewhere
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


_RATE_LIMITED = _Decision("rate_limited", OVERLOADED, again=True, elsewhere=True)
_SPEND_CAP = _Decision("spend_cap", UNAVAILABLE, again=False, elsewhere=False)
_OVERLOADED = _Decision("overloaded", OVERLOADED, again=True, elsewhere=True)
_SERVER = _Decision("server_error", UNAVAILABLE, again=True, elsewhere=True)
_CONNECTION = _Decision("connection", UNAVAILABLE, again=True, elsewhere=False)
_TIMEOUT = _Decision("timeout", UNAVAILABLE, again=True, elsewhere=True)
_TRUNCATED = _Decision("truncated", CUT, again=True, elsewhere=True)
_EMPTY = _Decision("empty", CUT, again=True, elsewhere=True)
_GARBLED = _Decision("garbled", UNAVAILABLE, again=True, elsewhere=True)
_TOO_LONG = _Decision("too_long", TOO_LONG, again=False, elsewhere=False)
_CREDENTIALS = _Decision("credentials", UNAVAILABLE, again=False, elsewhere=False)
_BILLING = _Decision("billing", UNAVAILABLE, again=False, elsewhere=False)
_NO_MODEL = _Decision("model_not_found", UNAVAILABLE, again=False, elsewhere=True)
_UNPAID = _Decision("budget", UNAVAILABLE, again=False, elsewhere=True)
_INVALID = _Decision("invalid_request", UNAVAILABLE, again=False, elsewhere=True)

_BY_STATUS = {
    400: _INVALID,
    401: _CREDENTIALS,
    402: _BILLING,
    403: _CREDENTIALS,
    404: _NO_MODEL,
    408: _TIMEOUT,
    409: _SERVER,
    413: _TOO_LONG,
    429: _RATE_LIMITED,
    504: _TIMEOUT,
    529: _OVERLOADED,
}
# An error event in the stream has the status 200, so its type decides.
_BY_TYPE = {
    "overloaded_error": _OVERLOADED,
    "rate_limit_error": _RATE_LIMITED,
    "api_error": _SERVER,
    "timeout_error": _TIMEOUT,
    "invalid_request_error": _INVALID,
    "authentication_error": _CREDENTIALS,
    "permission_error": _CREDENTIALS,
    "billing_error": _BILLING,
    "not_found_error": _NO_MODEL,
    "request_too_large": _TOO_LONG,
}


def translate(error: Exception) -> UpstreamError:
    """Any exception of the SDK or its HTTP library, as an UpstreamError. Raise it `from` the original."""
    if isinstance(error, anthropic.APIStatusError):
        return _from_status(error)
    if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
        return UpstreamError(_TIMEOUT, type(error).__name__)
    if isinstance(error, anthropic.APIConnectionError | httpx2.TransportError | httpx2.StreamError | OSError):
        return UpstreamError(_CONNECTION, type(error).__name__)
    return UpstreamError(_GARBLED, type(error).__name__)


def _from_status(error: anthropic.APIStatusError) -> UpstreamError:
    decision = _BY_STATUS.get(error.status_code, _SERVER if error.status_code >= 500 else _INVALID)
    if error.error_code == "enforced_spend_limit_reached":
        decision = _SPEND_CAP
    elif error.status_code == 400 and "prompt is too long" in str(error.api_message or error.message).lower():
        decision = _TOO_LONG  # there is no error code for it: the sentence is all there is
    return UpstreamError(
        decision,
        f"HTTP {error.status_code} {error.type or ''}".strip(),
        status=error.status_code,
        request_id=error.request_id or "",
        retry_after=_retry_after(error.response),
    )


def from_event(error_type: str, request_id: str) -> UpstreamError:
    """An `error` event in the middle of a stream."""
    return UpstreamError(
        _BY_TYPE.get(error_type, _SERVER), f"error event {error_type}", status=200, request_id=request_id
    )


def truncated(request_id: str) -> UpstreamError:
    """The stream ended politely, without `message_stop`: to the SDK no error at all."""
    return UpstreamError(_TRUNCATED, "the stream ended without message_stop", status=200, request_id=request_id)


def garbled(error: Exception) -> UpstreamError:
    """An event that does not have the API's form."""
    return UpstreamError(_GARBLED, type(error).__name__, status=200)


def empty(request_id: str) -> UpstreamError:
    return UpstreamError(_EMPTY, "a finished answer without a word", status=200, request_id=request_id)


def context_exceeded(request_id: str) -> UpstreamError:
    return UpstreamError(_TOO_LONG, "the context window is full", status=200, request_id=request_id)


def unpaid() -> UpstreamError:
    """A call that was not made: there is no money for it. A cheaper model may still be asked."""
    return UpstreamError(_UNPAID, "no budget has room for this call")


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds or a date); None where there is no sensible one."""
    headers = response.headers
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" in headers:
            return max(0.0, float(headers["retry-after"]))
    except ValueError:
        pass
    try:
        then, now = parsedate_to_datetime(headers["retry-after"]), parsedate_to_datetime(headers["date"])
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
