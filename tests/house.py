"""A whole Parlance in this process, and visitors who talk to it: what the tests of the turn are made of.

    house = House(settings, url)                    one worker: the app, its greenlets, the demo responder behind it
    ann = house.visitor()                           a session of the site `fern`, from an origin that it lists
    stream = ann.ask("Do you gift-wrap?")           a stream, read as it comes
    assert stream.end.data["text"] == stream.text

Two houses on one store are two workers of one server.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gevent
from werkzeug.test import EnvironBuilder, run_wsgi_app

from app import create_app
from demo import Demo
from parlance.claude.retry import Policy
from parlance.services import Services
from parlance.settings import Settings
from parlance.site import Faq, Identity, Privacy, Site, Voice
from parlance.store.client import Store

ORIGIN = "https://fern.example"
OTHER_ORIGIN = "https://moss.example"
ANSWER_S = 20.0  # no answer in these tests takes longer

FERN = Site(
    key="fern",
    name="Fern & Fable",
    origins=(ORIGIN, "https://*.fern.example"),
    voice=Voice(
        persona="You are Fern, the shop's bookseller.",
        faqs=(Faq("Do you gift-wrap?", "Yes, free, at either shop or at checkout."),),
    ),
    fallbacks={
        "rate_limited": "Fern needs {retry_after} seconds.",
        "unavailable": {"en": "Fern is away from the till.", "de": "Fern ist kurz weg."},
        "overloaded": "Fern has her hands full.",
        "busy": {"de": "Fern spricht noch."},
    },
    identity=Identity("${secret:FERN_IDENTITY}"),
)
MOSS = Site(key="moss", name="Moss", origins=(OTHER_ORIGIN, "*"))

# Retries as in life, but nobody has to wait for them.
QUICK = Policy(base=0.01, most=0.05, jitter=lambda: 0.0)


class Event(NamedTuple):
    id: str
    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An answer that came whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_problem(self) -> bool:
        return self.headers.get("Content-Type") == "application/problem+json"

    @property
    def code(self) -> str:
        """The code of a problem document, once everything else in it is as RFC 9457 and the protocol want it."""
        assert self.is_problem, self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"]
        assert problem["title"]
        assert problem["detail"]
        assert (str(problem["retry_after"]) if "retry_after" in problem else None) == self.headers.get("Retry-After")
        return str(problem["code"])


class Stream:
    """An answer as it comes. Reading it further than it has come waits, at most `ANSWER_S`."""

    def __init__(self, headers: Mapping[str, str], parts: Iterable[bytes]) -> None:
        self.headers = headers
        self.status = 200
        self.raw = b""
        self.seen: list[Event] = []
        self.comments = 0
        self._looked = 0
        self._parts = parts
        self._iterator = iter(parts)
        self._rest = b""

    def __iter__(self) -> Iterator[Event]:
        """The events that have not been looked at yet."""
        while self._looked < len(self.seen) or self._read_on():
            if self._looked < len(self.seen):
                self._looked += 1
                yield self.seen[self._looked - 1]

    def until(self, name: str, count: int = 1) -> Event:
        """Read on to the `count`th event of this name from here."""
        for event in self:
            count -= event.name == name
            if not count:
                return event
        raise AssertionError(f"no {name} before the end: {self.seen}")

    def all(self) -> list[Event]:
        """Every event to the end of the stream."""
        for _ in self:
            pass
        return self.seen

    @property
    def end(self) -> Event:
        """The last event, after the whole stream was read; there is exactly one, and it is the last."""
        lasts = [event for event in self.all() if event.name in ("done", "error")]
        assert len(lasts) == 1, self.seen
        assert self.seen[-1] is lasts[0]
        return lasts[0]

    @property
    def text(self) -> str:
        """What a visitor sees: the text since the last reset."""
        shown = ""
        for event in self.all():
            shown = "" if event.name == "reset" else shown + event.data.get("text", "") * (event.name == "text")
        return shown

    @property
    def names(self) -> list[str]:
        """The kinds of events in order, each run of one kind once: `["start", "text", "done"]`."""
        names = [event.name for event in self.all()]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    @property
    def turn(self) -> str:
        if not self.seen:
            next(iter(self))
        return str(self.seen[0].data["turn"])

    def close(self) -> None:
        """Leave: what a browser does when its page goes."""
        parts, self._parts, self._iterator = self._parts, (), iter(())
        getattr(parts, "close", lambda: None)()

    def _read_on(self) -> bool:
        with gevent.Timeout(ANSWER_S, TimeoutError("the stream stands still")):
            part = next(self._iterator, None)
        if part is None:
            self.close()
            assert not self._rest, f"half an event at the end: {self._rest!r}"
            return False
        self.raw += part
        *frames, self._rest = (self._rest + part).split(b"\n\n")
        for frame in frames:
            if frame.startswith(b":"):
                self.comments += 1
            else:
                self.seen.append(_event(frame))
        return True


def _event(frame: bytes) -> Event:
    """One event, which has exactly an id, a name and one line of data, in this order."""
    lines = [line.split(b": ", 1) for line in frame.split(b"\n")]
    assert [name for name, _ in lines] == [b"id", b"event", b"data"], frame
    return Event(lines[0][1].decode(), lines[1][1].decode(), json.loads(lines[2][1]))


class House:
    """One worker. `upstream` is the demo behind it; with `anthropic_base_url` in `settings` it is asked over HTTP."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        *,
        upstream: Demo | None = None,
        sites: Iterable[Site] = (FERN, MOSS),
        policy: Policy = QUICK,
    ) -> None:
        self.demo = upstream or Demo(pace_s=0.0, remember=1000)
        over_http = bool(settings.anthropic_api_key)
        self.app = create_app(
            replace(settings, grace_s=1),
            store=Store(url),
            upstream=None if over_http else self.demo,
            policy=policy,
        )
        self.services: Services = self.app.extensions["parlance"]
        self.services.sites.apply(list(sites))
        self._alive = True
        self.services.start(lambda: self._alive)
        self._stopped = False

    @property
    def store(self) -> Store:
        return self.services.store

    def call(self, method: str, path: str, **given: Any) -> Reply:
        """A request whose whole answer is read."""
        reply = self.open(method, path, **given)
        if isinstance(reply, Stream):
            reply.all()
            return Reply(200, reply.headers, reply.raw)
        return reply

    def open(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        token: str | None = None,
        origin: str | None = ORIGIN,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
        peer: str = "192.0.2.1",
    ) -> Reply | Stream:
        """A request; a stream comes back unread."""
        fields = dict(headers or {})
        if origin is not None:
            fields["Origin"] = origin
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        builder = EnvironBuilder(path=path, method=method, headers=fields, environ_base={"REMOTE_ADDR": peer})
        environ = builder.get_environ()
        if json is not None:
            data = _dumped(json)
        if data is not None:
            environ["wsgi.input"] = io.BytesIO(data)
            environ["CONTENT_TYPE"] = "application/json"
            if chunked:
                environ["wsgi.input_terminated"] = True  # as gunicorn says of a body of unknown length
            else:
                environ["CONTENT_LENGTH"] = str(len(data))
        parts, status, received = run_wsgi_app(self.app, environ)
        known = dict(received.items())
        if known.get("Content-Type", "").startswith("text/event-stream"):
            return Stream(known, parts)
        try:
            return Reply(int(status.split()[0]), known, b"".join(parts))
        finally:
            getattr(parts, "close", lambda: None)()

    def visitor(self, site: Site = FERN, **session: Any) -> Visitor:
        """Somebody new, with a session."""
        origin = site.origins[0]
        reply = self.call("POST", "/v1/sessions", json={"site": site.key, **session}, origin=origin)
        assert reply.status == 201, reply
        return Visitor(self, reply.json, origin)

    def rows(self, site: Site = FERN) -> list[dict[str, Any]]:
        """The ledger's rows, all that have been recorded."""
        until(lambda: not self.services.ledger.waiting)
        return list(self.services.ledger.rows(site.key))

    def stored(self) -> list[str]:
        """Every key in the store."""
        return sorted(key.decode() for key in self.store.do("KEYS", "*"))

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End as a worker does that is told to; what is still being answered is given up for others."""
        if not self._stopped:
            self._stopped, self._alive = True, False
            self.services.stop()
            self.store.close()


class Visitor:
    """Somebody with a session, at one house (`at` takes them to another)."""

    def __init__(self, house: House, session: Mapping[str, Any], origin: str) -> None:
        self.house = house
        self.session = session
        self.origin = origin
        self.token = session["token"]
        self.id = session["visitor"]["id"]
        self.conversation = session["conversation"]["id"]

    def at(self, house: House) -> Visitor:
        """The same visitor, whom a load balancer has sent to another worker."""
        return Visitor(house, self.session, self.origin)

    def call(self, method: str, path: str, **given: Any) -> Reply:
        return self.house.call(method, path, **{"token": self.token, "origin": self.origin, **given})

    def message(self, text: str = "Do you gift-wrap?", **fields: Any) -> dict[str, Any]:
        return {"conversation": self.conversation, "id": str(uuid.uuid4()), "text": text, **fields}

    def send(self, text: str = "Do you gift-wrap?", *, given: Mapping[str, Any] | None = None, **fields: Any) -> Any:
        """A message; what comes back may be a stream or a refusal."""
        return self.house.open(
            "POST",
            "/v1/messages",
            **{"json": self.message(text, **fields), "token": self.token, "origin": self.origin, **(given or {})},
        )

    def ask(self, text: str = "Do you gift-wrap?", **fields: Any) -> Stream:
        stream = self.send(text, **fields)
        assert isinstance(stream, Stream), stream
        return stream

    def watch(self, turn: str, after: str = "") -> Any:
        """A turn's stream from after an event id."""
        path = f"/v1/turns/{turn}/events" + (f"?after={after}" if after else "")
        return self.house.open("GET", path, token=self.token, origin=self.origin)

    def messages(self) -> list[dict[str, Any]]:
        reply = self.call("GET", "/v1/conversation")
        assert reply.status == 200, reply
        return list(reply.json["messages"])


def until(true: Any, seconds: float = 10.0) -> None:
    """Wait for something that other greenlets bring about."""
    with gevent.Timeout(seconds, AssertionError(f"not so within {seconds:.0f} s")):
        while not true():
            gevent.sleep(0.01)


def unwatched_after(seconds: int, site: Site = FERN) -> Site:
    """The site with its patience for answers that nobody watches changed."""
    return replace(site, privacy=Privacy(unwatched_seconds=seconds))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
