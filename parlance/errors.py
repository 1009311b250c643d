"""Every way in which Parlance itself says no.

    ParlanceError
    ├─ Refusal(code, status)            the visitor's request is turned down; carries what the answer needs
    │   ├─ InvalidRequest    400        a field is wrong; `errors` names each
    │   ├─ SessionExpired    401
    │   ├─ OriginNotAllowed  403
    │   ├─ SiteNotFound      404
    │   ├─ NotFound          404        also what belongs to somebody else
    │   ├─ MethodNotAllowed  405
    │   ├─ Busy              409        `turn` is the one that is being answered
    │   ├─ MessageTooLong    413
    │   ├─ RequestTooLarge   413
    │   ├─ RateLimited       429        `limit` says which, `retry_after` when
    │   ├─ BudgetExhausted   402
    │   └─ Unavailable       503        store or model out of reach
    ├─ StoreUnavailable                 Redis did not answer in time; the border of `store/`
    ├─ StoreNotStarted                  the embedded store could not be started; says why and what to do
    ├─ Fenced                           another worker owns the turn now: stop at once, write nothing
    ├─ SiteFileError                    mistakes in a site file, each with its file and line
    └─ SettingsError                    an environment variable that makes no sense

Upstream failures have a tree of their own in `claude/errors.py`: they carry decisions (may it be retried, after
how long), and none of their text ever leaves the logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class ParlanceError(Exception):
    """The root of everything that Parlance raises on purpose."""


class Refusal(ParlanceError):
    """A request that is turned down, in the terms of the visitor protocol.

    `code` and `status` are the protocol's; the sentence that the visitor reads is chosen at the door, from the
    site's own words (`phrases.sentence`). `str(error)` is for logs and operators.
    """

    code = "invalid_request"
    status = 400

    def __init__(
        self,
        reason: str = "",
        *,
        retry_after: int | None = None,
        limit: str | None = None,
        turn: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason or self.code)
        self.retry_after = retry_after
        self.limit = limit
        self.turn = turn
        self.errors = errors
        self.headers = dict(headers or {})


class InvalidRequest(Refusal):
    code, status = "invalid_request", 400


class SessionExpired(Refusal):
    code, status = "session_expired", 401


class BudgetExhausted(Refusal):
    code, status = "budget_exhausted", 402


class OriginNotAllowed(Refusal):
    code, status = "origin_not_allowed", 403


class SiteNotFound(Refusal):
    code, status = "site_not_found", 404


class NotFound(Refusal):
    code, status = "not_found", 404


class MethodNotAllowed(Refusal):
    code, status = "method_not_allowed", 405


class Busy(Refusal):
    code, status = "busy", 409


class MessageTooLong(Refusal):
    code, status = "message_too_long", 413


class RequestTooLarge(Refusal):
    code, status = "request_too_large", 413


class RateLimited(Refusal):
    code, status = "rate_limited", 429


class Unavailable(Refusal):
    code, status = "unavailable", 503


class StoreUnavailable(ParlanceError):
    """Redis did not do what was asked in time. Whether it did it after all is unknown."""


class Fenced(ParlanceError):
    """A later epoch of this turn exists: its runner was presumed dead and replaced."""


class SettingsError(ParlanceError):
    """An environment variable holds nonsense. The message names it, says what it holds and what it may hold."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a site file. `line` counts from 1; `where` is a dotted path such as `limits.visitor.per_day`."""

    file: str
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


class SiteFileError(ParlanceError):
    """All the mistakes of one or more site files; nothing was applied."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = list(mistakes)


class StoreNotStarted(ParlanceError):
    """The embedded store could not be started. The message says why and what to do."""
