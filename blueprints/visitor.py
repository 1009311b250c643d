"""The visitor protocol, version 1, to the letter of docs/protocol.md."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, g, json, jsonify, request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from blueprints import services, transcripts
from blueprints.addresses import client_ip
from blueprints.origins import admit, guard
from blueprints.schemas import FeedbackSchema, MessageSchema, SessionSchema
from blueprints.sse import stream
from parlance import ids
from parlance.conversations import Conversation, Message, stamp
from parlance.errors import InvalidRequest, NotFound, OriginNotAllowed, SessionExpired
from parlance.site import Site
from parlance.sites import origins
from parlance.visitors import Session

visitor = Blueprint("visitor", __name__, url_prefix="/v1")
guard(visitor)

# Made once: a schema copies all its fields whenever it is made.
_SESSION, _MESSAGE, _FEEDBACK = SessionSchema(), MessageSchema(), FeedbackSchema()

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


# -- sites and sessions ------------------------------------------------------------------------------------------------


@visitor.get("/sites/<key>")
def site(key: str) -> Response:
    """The public configuration of a site. Holds no secret, prompt, tool address or limit."""
    found = admit(services().sites.get(key))
    response = jsonify(_public(found))
    response.headers["Cache-Control"] = "public, max-age=60"
    response.add_etag()
    response.make_conditional(request)
    return response


@visitor.post("/sessions")
def open_session() -> tuple[Response, int]:
    body = _load(_SESSION)
    g.locale = body["locale"]
    found = admit(services().sites.get(body["site"]))
    held = _held(found)
    if held is None and "Origin" not in request.headers and not origins.allows_none(found.origins):
        raise OriginNotAllowed("a session needs an Origin that the site lists")
    now = time.time()
    person = services().visitors.identify(found.identity, body["identity"], now) if body["identity"] else None
    session = services().visitors.open(
        found.key, found.privacy.retain_days, now, locale=body["locale"] or found.locale, held=held, person=person
    )
    conversation = _current(found, session)
    return jsonify(
        token=services().visitors.token(session),
        expires_at=stamp(session.expires),
        visitor={"id": session.visitor},
        conversation=_conversation(conversation),
    ), 201


def _held(found: Site) -> Session | None:
    """The session of a token that is still good and of this site; anything else makes a new visitor."""
    try:
        session = services().visitors.read_token(_bearer(), time.time())
        services().visitors.check(session)
    except SessionExpired:
        return None
    return session if session.site == found.key else None


# -- the conversation --------------------------------------------------------------------------------------------------


@visitor.get("/conversation")
def conversation() -> Response:
    found, session = _authenticate()
    return jsonify(_conversation(_current(found, session)))


@visitor.post("/conversation")
def new_conversation() -> tuple[Response, int]:
    found, session = _authenticate()
    begun = services().conversations.start(found.key, session.visitor, found.privacy.retain_days, time.time())
    return jsonify(_conversation(begun)), 201


@visitor.get("/conversation/transcript")
def transcript() -> Response:
    """The current conversation as text, Markdown or JSON, whichever the client prefers."""
    found, session = _authenticate()
    current = _current(found, session)
    offered = {
        "text/plain": lambda: transcripts.as_text(found, current),
        "text/markdown": lambda: transcripts.as_markdown(found, current),
        "application/json": lambda: json.dumps(_conversation(current)),
    }
    chosen = request.accept_mimetypes.best_match(list(offered), default="text/plain")
    response = Response(offered[chosen](), content_type=f"{chosen}; charset=utf-8")
    response.vary.add("Accept")
    return response


@visitor.post("/messages")
def ask() -> Response:
    """One visitor message; its answer streams back."""
    found, session = _session()
    body = _load(_MESSAGE)
    begun = services().turns.begin(
        found,
        session,
        conversation=body["conversation"],
        id=str(body["id"]),
        text=body["text"],
        ip=client_ip(),
        page=body["page"] if found.privacy.page_context else None,
    )
    g.turn, g.conversation = begun.turn, body["conversation"]
    return stream(begun.stream, begun.headers)


@visitor.put("/messages/<message>/feedback")
def rate(message: str) -> Response:
    found, session = _authenticate()
    body = _load(_FEEDBACK)
    services().conversations.rate(
        found.key, session.visitor, _id(message), body["rating"], body["reason"], found.privacy.retain_days
    )
    return jsonify(message=message, rating=body["rating"])


# -- turns -------------------------------------------------------------------------------------------------------------


@visitor.get("/turns/<turn>/events")
def events(turn: str) -> Response:
    """The stream of a turn again, from where the client left off, live to its end."""
    found, session = _authenticate()
    g.turn = _id(turn)
    after = request.args.get("after") or request.headers.get("Last-Event-ID") or ""
    for name in request.args:
        if name != "after":
            raise InvalidRequest("unknown parameter", errors={name: ["Unknown parameter."]})
    if after:
        _check_event_id(after)
    return stream(services().turns.events(found.key, session.visitor, turn, after), {})


@visitor.post("/turns/<turn>/cancel")
def cancel(turn: str) -> Response:
    found, session = _authenticate()
    g.turn = _id(turn)
    return jsonify(turn=turn, state=services().turns.cancel(found.key, session.visitor, turn))


# -- the visitor -------------------------------------------------------------------------------------------------------


@visitor.delete("/visitor")
def erase() -> Response:
    """Forget this visitor: everything kept, and with it every token."""
    found, session = _authenticate()
    receipt = services().turns.erase(found.key, session.visitor)
    return jsonify(visitor=session.visitor, erased_at=stamp(time.time()), erased=asdict(receipt))


# -- what the calls above are made of ----------------------------------------------------------------------------------


def _session() -> tuple[Site, Session]:
    """The site and the session of the bearer token, its origin checked; not yet whether it was revoked."""
    session = services().visitors.read_token(_bearer(), time.time())
    g.visitor, g.locale = session.visitor, session.locale
    return admit(services().sites.get(session.site)), session


def _authenticate() -> tuple[Site, Session]:
    """As `_session`, and it still holds. A message is spared this: its admission looks at the same time."""
    found, session = _session()
    services().visitors.check(session)
    return found, session


def _bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise SessionExpired("no bearer token")
    return token.strip()


def _load(schema: Schema) -> dict[str, Any]:
    """The body, checked. Raises InvalidRequest, which names each field."""
    try:
        body = json.loads(_sent().decode())
    except (BadRequest, RecursionError, ValueError) as error:
        raise InvalidRequest("not JSON", errors={"body": ["Must be JSON in UTF-8."]}) from error
    if not isinstance(body, dict):
        raise InvalidRequest("not an object", errors={"body": ["Must be a JSON object."]})
    try:
        return dict(schema.load(body))
    except ValidationError as error:
        raise InvalidRequest("refused", errors=_named(error.messages_dict)) from error


def _sent() -> bytes:
    """The request's body. One that comes in chunks is cut at the limit without a word; so the limit here is a byte
    more, and whether that byte has come tells. Raises RequestEntityTooLarge."""
    most = request.max_content_length or 0
    request.max_content_length = most + 1
    data = request.get_data(cache=False)
    if len(data) > most:
        raise RequestEntityTooLarge
    return data


def _named(messages: Mapping[Any, Any], path: str = "") -> dict[str, list[str]]:
    """Marshmallow's nested messages by dotted field: `{"page.url": ["..."]}`."""
    flat: dict[str, list[str]] = {}
    for name, value in messages.items():
        where = _printable(f"{path}.{name}" if path else str(name))
        if isinstance(value, Mapping):
            flat |= _named(value, where)
        else:
            flat[where] = [str(message) for message in value]
    return flat


def _printable(name: str) -> str:
    """A field's name as a stranger wrote it, fit to be sent back."""
    return name[:100].encode("utf-8", "replace").decode()


def _id(text: str) -> str:
    """An id from a path, fit to be part of a key. What cannot be an id of ours does not exist."""
    if not _ID.fullmatch(text):
        raise NotFound("not an id")
    return text


def _check_event_id(text: str) -> None:
    try:
        ids.parse_event(text)
    except ValueError as error:
        raise InvalidRequest("not an event id", errors={"after": ["Must be the id of an event."]}) from error


def _current(found: Site, session: Session) -> Conversation:
    """The current conversation; a new one where there is none (any more)."""
    conversations = services().conversations
    return conversations.current(found.key, session.visitor) or conversations.start(
        found.key, session.visitor, found.privacy.retain_days, time.time()
    )


def _conversation(current: Conversation) -> dict[str, Any]:
    running = {"turn": {"id": current.turn, "state": "running"}} if current.turn else {}
    return {
        "id": current.id,
        "messages": [_message(message) for message in current.messages],
        **running,
        "answered_by": current.answered_by,
    }


def _message(message: Message) -> dict[str, Any]:
    optional = {"sources": list(message.sources), "feedback": message.feedback}
    return {
        "id": message.id,
        "role": message.role,
        "text": message.text,
        "created_at": message.created_at,
        "state": message.state,
        **{name: value for name, value in optional.items() if value},
    }


def _public(found: Site) -> dict[str, Any]:
    theme = found.widget.theme
    proactive = found.widget.proactive
    return {
        "name": found.name,
        "title": found.widget.title or found.name,
        "greeting": found.widget.greeting,
        "suggestions": list(found.widget.suggestions),
        "theme": {"accent": theme.accent, "scheme": theme.scheme, "position": theme.position},
        "locale": found.locale,
        "features": {
            "page_context": found.privacy.page_context,
            "identity": found.identity is not None,
            "proactive": asdict(proactive) if proactive else None,
        },
        "demo": services().settings.demo,
    }
