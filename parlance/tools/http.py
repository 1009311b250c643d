"""The tools that a site declares: an HTTP call each, with the arguments as its JSON body (with GET, as its query)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from parlance import site
from parlance.observe.logs import log
from parlance.tools.data import as_data
from parlance.tools.secrets import NoSecret, Secrets
from parlance.tools.tool import Context, Result, Tool
from parlance.web.errors import OutboundError
from parlance.web.outbound import Outbound, Reply

ANSWER_MOST = 262_144  # bytes
SOONEST_S = 0.1  # a call is given at least this much of what is left of the turn

# Statuses whose answer says something about what was asked, rather than about the service.
_ABOUT_THE_QUESTION = {400, 404, 409, 410, 422}

Lookup = Callable[[str], str | None]


def tool(declared: site.Tool, outbound: Outbound, secret: Lookup, clock: Callable[[], float] = time.monotonic) -> Tool:
    """`secret(name)` is the value of a `${secret:NAME}`, or None; `clock` is that of the context's deadline."""
    run = _Call(declared.name, declared.http, outbound, secret, clock)
    return Tool(declared.name, declared.description, declared.label, declared.input_schema, run)


def declared(of: site.Site, outbound: Outbound, secret: Lookup) -> list[Tool]:
    """A site's tools, in the order of its file."""
    return [tool(each, outbound, secret) for each in of.tools]


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    http: site.Http
    outbound: Outbound
    secret: Lookup
    clock: Callable[[], float]

    def __call__(self, arguments: Mapping[str, Any], context: Context) -> Result:
        secrets = Secrets(self.secret)
        try:
            reply = self._ask(arguments, context, secrets)
        except NoSecret as missing:
            self._note(context, f"there is no secret {missing}; set it in the environment")
            return Result.failed("This tool is not set up completely.")
        except OutboundError as error:
            self._note(context, f"{type(error).__name__}: {secrets.scrub(str(error))}")
            return Result.failed(error.told)
        result = _read(reply, secrets)
        if result.is_error:
            self._note(context, f"answered {reply.status}, {reply.media_type or 'of no type'}, {len(reply.body)} bytes")
        return result

    def _ask(self, arguments: Mapping[str, Any], context: Context, secrets: Secrets) -> Reply:
        url, body = secrets.fill_address(self.http.url), b""
        headers = {"Accept": "application/json", "Idempotency-Key": context.call}
        if self.http.method == "GET":
            url = _with_query(url, arguments)
        else:
            body = json.dumps(arguments, ensure_ascii=False).encode("utf-8", "backslashreplace")
            headers["Content-Type"] = "application/json"
        # A site's own header takes the place of ours, however it is written.
        given = {name: secrets.fill(value) for name, value in self.http.headers.items()}
        own = {name.lower() for name in given}
        headers = {name: value for name, value in headers.items() if name.lower() not in own} | given
        left = max(SOONEST_S, context.deadline - self.clock())
        return self.outbound.request(
            self.http.method, url, headers, body, timeout_s=min(self.http.timeout_s, left), max_bytes=ANSWER_MOST
        )

    def _note(self, context: Context, why: str) -> None:
        log("tool_failed", level="warning", site=context.site, turn=context.turn, tool=self.name, why=why)


def _read(reply: Reply, secrets: Secrets) -> Result:
    """What a reply means, status by status, in words for Claude."""
    if 200 <= reply.status < 300:
        return _answer(reply, secrets)
    if 300 <= reply.status < 400:
        return Result.failed("The service sent the request on to somewhere else, which is not followed.")
    if reply.status in _ABOUT_THE_QUESTION:
        why = _json(reply, secrets)
        said = f"\n{as_data(why[0])}" if why else ""
        return Result(f"The service turned the request down with status {reply.status}.{said}", is_error=True)
    if reply.status in (401, 403):
        return Result.failed("The service does not accept the credentials that this tool has.")
    if reply.status == 429:
        return Result.failed("The service is being asked too often at the moment.")
    return Result.failed(f"The service failed with status {reply.status}.")


def _answer(reply: Reply, secrets: Secrets) -> Result:
    if reply.status == 204 or not reply.body:
        return Result("The service did what was asked, and had nothing to add.")
    found = _json(reply, secrets)
    if not found:
        return Result.failed("The service answered with something that is not JSON.")
    return Result(as_data(found[0]))


def _json(reply: Reply, secrets: Secrets) -> tuple[Any] | None:
    """The value that a reply holds, scrubbed, in a tuple; None where it holds none. A service is taken at its word:
    what it does not call JSON is not read as such."""
    if reply.media_type != "application/json" and not reply.media_type.endswith("+json"):
        return None
    try:
        return (secrets.scrub_all(json.loads(reply.body)),)
    except (ValueError, RecursionError):
        return None


def _with_query(url: str, arguments: Mapping[str, Any]) -> str:
    address = url.partition("#")[0]
    query = urlencode([pair for name, value in arguments.items() for pair in _pairs(name, value)], quote_via=quote)
    return f"{address}{'&' if '?' in address else '?'}{query}" if query else address


def _pairs(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A list is given as several values of its name, nothing as nothing, and what else is no text as JSON."""
    if isinstance(value, list):
        yield from (pair for each in value for pair in _pairs(name, each))
    elif isinstance(value, str):
        yield name, value.encode("utf-8", "replace").decode("utf-8")
    elif value is not None:
        yield name, json.dumps(value)
