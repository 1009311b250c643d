"""How the Messages API says no: one exception, dumped as its error body.

    ApiError(status, type, message, code?, retry_after?)     an answer that is a refusal
    Gone                                                     nobody listens any more, or the script cut the line

The API's types of error go by status; `TYPES` is that table.
"""

from __future__ import annotations

from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """A refusal. `code` is the API's `details.error_code`, `retry_after` is in seconds."""

    def __init__(
        self, status: int, message: str, *, type: str = "", code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type or TYPES.get(status, "api_error")
        self.code = code
        self.retry_after = retry_after

    def body(self, request_id: str) -> dict[str, Any]:
        error: dict[str, Any] = {"type": self.type, "message": str(self)}
        if self.code:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": request_id}


class Gone(ConnectionError):
    """The connection is over before the answer is."""


def invalid(message: str) -> ApiError:
    return ApiError(400, message)
