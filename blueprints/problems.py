"""Whatever goes wrong behind a door leaves it as RFC 9457 problem+json, in words for the visitor."""

from __future__ import annotations

import http
from typing import Any

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from blueprints import origins, services
from parlance import errors, phrases
from parlance.errors import Refusal, StoreUnavailable
from parlance.observe.logs import log

_BY_HTTP: dict[int, type[Refusal]] = {404: errors.NotFound, 405: errors.MethodNotAllowed, 413: errors.RequestTooLarge}


def answer_with_problems(app: Flask) -> None:
    app.register_error_handler(Refusal, problem)
    app.register_error_handler(StoreUnavailable, _store_unavailable)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def problem(refusal: Refusal) -> Response:
    """The problem document of a refusal, with `detail` in the site's own words."""
    body: dict[str, Any] = {
        "type": f"urn:parlance:problem:{refusal.code}",
        "title": http.HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": _sentence(refusal),
    }
    extras = {
        "retry_after": refusal.retry_after,
        "limit": refusal.limit,
        "turn": refusal.turn,
        "errors": refusal.errors,
    }
    body |= {name: value for name, value in extras.items() if value}
    response = Response(json.dumps(body), refusal.status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    for name, value in refusal.headers.items():
        response.headers[name] = value
    if refusal.retry_after:
        response.headers["Retry-After"] = str(refusal.retry_after)
    services().metrics.refused(refusal.code)
    if isinstance(refusal, errors.RateLimited):
        services().metrics.limited(g.get("site", ""), refusal.limit or "")
    if isinstance(refusal, errors.BudgetExhausted):
        services().metrics.budget_refused(g.get("site", ""), refusal.limit or "")
    return response


def _sentence(refusal: Refusal) -> str:
    site = origins.known_site()
    return phrases.sentence(
        refusal.code,
        fallbacks=site.fallbacks if site else {},
        site_locale=site.locale if site else "en",
        language=g.get("locale") or _asked_language(),
        name=site.name if site else "",
        retry_after=refusal.retry_after,
    )


def _asked_language() -> str:
    return next(iter(request.accept_languages.values()), "")


def _store_unavailable(error: StoreUnavailable) -> Response:
    log("store_unavailable", level="warning", request=g.get("request_id"), reason=str(error))
    return problem(errors.Unavailable("the store is out of reach", retry_after=2))


def _http(error: HTTPException) -> Response:
    """What Flask itself refuses: unknown paths, wrong methods, bodies too large or not readable."""
    status = error.code or 500
    if status < 400 or not request.path.startswith("/v1/"):
        return error.get_response()  # type: ignore[return-value]
    if status >= 500:
        return _unforeseen(error)
    refusal = _BY_HTTP.get(status, errors.InvalidRequest)(type(error).__name__)
    if isinstance(error, RequestEntityTooLarge):
        refusal.headers["Connection"] = "close"  # its body was not read
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        refusal.headers["Allow"] = ", ".join(error.valid_methods)
    return problem(refusal)


def _unforeseen(error: Exception) -> Response:
    log("request_failed", level="error", error=error, request=g.get("request_id"))
    return problem(errors.Unavailable("unforeseen"))
