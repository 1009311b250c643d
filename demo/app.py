"""The demo responder as a WSGI app.

Demo()(environ, start_response)

POST   /v1/messages                  an answer, streamed or whole
POST   /v1/messages/count_tokens
GET    /v1/models, /v1/models/{id}
POST   /_demo/script                 faults for the calls to come; DELETE forgets them
GET    /_demo/calls                  what was asked; DELETE forgets it
"""

from __future__ import annotations

import hashlib
import http
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from demo.answers import Reply, answer, listen
from demo.cache import Cache, Input
from demo.calls import Call, Calls, headers
from demo.checks import MAX_BODY_BYTES, check_count, check_length, check_message, check_version
from demo.errors import ApiError, Gone, invalid
from demo.models import MODELS, Model
from demo.prompt import Json, binding, blocks_of, layout, tokens, total
from demo.quota import Quota
from demo.script import NOTHING, Entry, Script, make
from demo.wire import Line, LocalLine, events, perform, pieces

Start = Callable[..., Any]
Environ = dict[str, Any]

PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
ORGANIZATION = "00000000-0000-4000-8000-000000000000"
THOUGHT = "Looking for it in the site's own texts."


class Answer:
    """A WSGI result that can be closed while it waits, as an in-process client does when it has heard enough.

    `ended` is called once, with True if the client left before the end.
    """

    def __init__(self, data: Iterator[bytes], line: Line, ended: Callable[[bool], None]) -> None:
        self._data = data
        self._line = line
        self._ended: Callable[[bool], None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._data)
        except StopIteration:
            self._end(left=False)
            raise
        except Gone as gone:
            self._end(left="client" in str(gone))
            raise

    def close(self) -> None:
        """Ends it for a client that has left; without effect after the end."""
        if isinstance(self._line, LocalLine):
            self._line.leave()
        self._end(left=True)

    def _end(self, left: bool) -> None:
        ended, self._ended = self._ended, None
        if ended:
            ended(left)


class Demo:
    """An emulated Messages API.

    `pace_s` is the pause before each word, `clock` gives seconds, `keys` are the API keys that are known (None: any),
    `remember` is how many calls `/_demo/calls` shows. `script` takes faults: see demo/script.py.
    """

    def __init__(
        self,
        pace_s: float = 0.02,
        clock: Callable[[], float] = time.time,
        script: Script | Iterable[Entry | Json] = (),
        keys: Iterable[str] | None = None,
        remember: int = 100,
    ) -> None:
        self.script = script if isinstance(script, Script) else Script(script)
        self.calls = Calls(remember)
        self._pace_s = pace_s
        self._clock = clock
        self._keys = None if keys is None else frozenset(keys)
        self._cache = Cache(clock)
        self._quota = Quota(clock)
        self._paused: set[str] = set()  # answers that stopped with pause_turn and may come back last

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        exchange = Exchange(self, environ, start)
        try:
            return exchange.route()
        except ApiError as error:
            return exchange.refuse(error)


class Exchange:
    """One request and its answer."""

    def __init__(self, demo: Demo, environ: Environ, start: Start) -> None:
        self.demo = demo
        self.environ = environ
        self.start = start
        self.line: Line = environ.get("demo.line") or LocalLine()
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"]
        self.key = ""
        self.entry = NOTHING
        self.call = Call(f"req_{uuid.uuid4().hex[:24]}", self.method, self.path, headers(environ), None, demo._clock())

    def route(self) -> Iterable[bytes]:
        if self.path.startswith("/_demo/"):
            return self._control()
        self.demo.calls.keep(self.call)
        self.key = self._authenticate()
        check_version(self.environ.get("HTTP_ANTHROPIC_VERSION"))
        match self.method, self.path:
            case "POST", "/v1/messages":
                return self._message()
            case "POST", "/v1/messages/count_tokens":
                return self._count()
            case "GET", "/v1/models":
                return self._models()
            case "GET", path if path.startswith("/v1/models/"):
                return self._model(path.removeprefix("/v1/models/"))
        if self.path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"):
            raise ApiError(405, "Method Not Allowed")
        raise ApiError(404, f"Not found: {self.path}")

    def refuse(self, error: ApiError) -> Iterable[bytes]:
        wait = [] if error.retry_after is None else [("retry-after", f"{error.retry_after:g}")]
        if self.entry.html:
            return self._whole(error.status, PROXY_PAGE, [("content-type", "text/html"), *wait])
        return self._json(error.body(self.call.id), error.status, wait)

    # what is asked

    def _message(self) -> Iterable[bytes]:
        body = self._body()
        self.entry = entry = self._scripted(body)
        self.line.wait(entry.first_byte_s)
        if entry.status >= 400:
            raise entry.refusal()
        model = check_message(body, self._resumes(body))
        row = layout(body, model)
        check_length(total(row), model)
        input = self.demo._cache.look_up(self.key, row, model)
        reply = self._reply(body, model)
        message = self._envelope(reply, model, input)
        self._account(input, message)
        return self._stream(message, reply) if body.get("stream") else self._at_once(message)

    def _count(self) -> Iterable[bytes]:
        body = self._body()
        model = check_count(body)
        return self._json({"input_tokens": total(layout(body, model))})

    def _models(self) -> Iterable[bytes]:
        data = [model.info() for model in MODELS.values()]
        return self._json({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})

    def _model(self, id: str) -> Iterable[bytes]:
        if id not in MODELS:
            raise ApiError(404, f"model: {id}")
        return self._json(MODELS[id].info())

    def _control(self) -> Iterable[bytes]:
        match self.method, self.path:
            case "POST", "/_demo/script":
                given = self._body(list)
                try:
                    self.demo.script.extend(make(entry) for entry in (given if isinstance(given, list) else [given]))
                except (TypeError, ValueError) as error:
                    raise invalid(str(error)) from error
                return self._json({})
            case "DELETE", "/_demo/script":
                self.demo.script.clear()
                return self._json({})
            case "GET", "/_demo/calls":
                return self._json([call.dump() for call in self.demo.calls])
            case "DELETE", "/_demo/calls":
                self.demo.calls.clear()
                return self._json({})
        raise ApiError(404, f"Not found: {self.path}")

    # what is read

    def _authenticate(self) -> str:
        bearer = self.environ.get("HTTP_AUTHORIZATION", "")
        key: str = self.environ.get("HTTP_X_API_KEY") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
        if not key:
            raise ApiError(401, "Authentication is required: send `authorization: Bearer` with an API key")
        if self.demo._keys is not None and key not in self.demo._keys:
            raise ApiError(401, "invalid API key")
        return key

    def _body(self, *also: type) -> Any:
        length = int(self.environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY_BYTES:
            raise ApiError(413, "Request exceeds the maximum size")
        try:
            text = self.environ["wsgi.input"].read(length).decode()
            body = json.loads(text)
            json.dumps(body, ensure_ascii=False).encode()  # a lone surrogate has no bytes
        except (ValueError, RecursionError) as error:
            raise invalid(f"The request body is not valid JSON: {type(error).__name__}") from error
        if not isinstance(body, (dict, *also)):
            raise invalid("The request body must be a JSON object")
        self.call.body = body
        return body

    def _scripted(self, body: Json) -> Entry:
        """The script looks only at what it can read: it may well be there to spoil a bad request."""
        messages = body.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        said = json.dumps(last.get("content"), ensure_ascii=False) if isinstance(last, dict) else ""
        return self.demo.script.take(self.key, str(body.get("model", "")), said)

    def _resumes(self, body: Json) -> bool:
        messages = body.get("messages")
        return isinstance(messages, list) and bool(messages) and _print(messages[-1]) in self.demo._paused

    # what is said

    def _reply(self, body: Json, model: Model) -> Reply:
        reply = self._scripted_reply(body) or answer(body, model)
        reply = self._thoughtful(reply, body, model)
        reply = _stopped(reply, body.get("stop_sequences") or [])
        reply = _limited(reply, body["max_tokens"], model)
        if self.entry.stop_reason:
            reply = _ended(reply, self.entry)
        if reply.stop_reason == "pause_turn":
            self.demo._paused.add(_print({"role": "assistant", "content": reply.blocks}))
        return reply

    def _scripted_reply(self, body: Json) -> Reply | None:
        if self.entry.blocks is not None:
            uses = any(block.get("type") == "tool_use" for block in self.entry.blocks)
            return Reply(self.entry.blocks, "tool_use" if uses else "end_turn")
        if self.entry.text is not None:
            return Reply([{"type": "text", "text": self.entry.text}])
        return None

    def _thoughtful(self, reply: Reply, body: Json, model: Model) -> Reply:
        """The reply behind the thinking block with which this model begins, if it does."""
        thinking = body.get("thinking") or {"type": "adaptive" if model.thinks else "disabled"}
        after_tools = any(block["type"] == "tool_result" for block in blocks_of(body["messages"][-1]))
        if thinking["type"] == "disabled" or (thinking["type"] == "between_tools" and not after_tools):
            return reply
        shown = THOUGHT if thinking.get("display") == "summarized" else ""
        block = {"type": "thinking", "thinking": shown, "signature": binding(body, len(body["messages"]), model)}
        spent = tokens(THOUGHT + listen(body).question[:400], model)
        return replace(reply, blocks=[block, *reply.blocks], thought=spent)

    def _envelope(self, reply: Reply, model: Model, input: Input) -> Json:
        spent = reply.thought + sum(_output(block, model) for block in reply.blocks)
        return {
            "id": f"msg_{uuid.uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": model.id,
            "content": reply.blocks,
            "stop_reason": reply.stop_reason,
            "stop_sequence": reply.stop_sequence,
            "stop_details": reply.stop_details,
            "container": None,
            "usage": {
                **input.usage(),
                "output_tokens": spent,
                "output_tokens_details": {"thinking_tokens": reply.thought},
                "server_tool_use": None,
                "service_tier": "standard",
                "inference_geo": "global",
            },
        }

    def _account(self, input: Input, message: Json) -> None:
        usage = message["usage"]
        self.call.usage = usage
        self.demo._cache.keep(self.key, input)
        billed = usage["input_tokens"] + usage["cache_creation_input_tokens"]
        self.demo._quota.use(self.key, requests=1, input_tokens=billed, output_tokens=usage["output_tokens"])

    # how it goes out

    def _stream(self, message: Json, reply: Reply) -> Iterable[bytes]:
        pace_s = self.demo._pace_s if self.entry.pace_s is None else self.entry.pace_s
        data = perform(events(message, reply, self.entry.deltas), self.entry, self.line, pace_s)
        self._begin(200, [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")])
        return Answer(self._counted(data), self.line, self._end)

    def _at_once(self, message: Json) -> Iterable[bytes]:
        self.line.wait(self.entry.stall_s)
        if self.entry.error:
            raise ApiError(500, self.entry.error.get("message", ""), type=self.entry.error.get("type", ""))
        if self.entry.cut:
            self.line.cut(self.entry.cut)
        return self._json(message)

    def _json(self, value: Any, status: int = 200, extra: Iterable[tuple[str, str]] = ()) -> Iterable[bytes]:
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        return self._whole(status, data, [("content-type", "application/json"), *extra])

    def _whole(self, status: int, data: bytes, head: Iterable[tuple[str, str]]) -> Iterable[bytes]:
        self._begin(status, [*head, ("content-length", str(len(data)))])
        return Answer(iter([data]), self.line, self._end)

    def _begin(self, status: int, head: list[tuple[str, str]]) -> None:
        self.call.status = status
        head += [("request-id", self.call.id), ("anthropic-organization-id", ORGANIZATION)]
        if self.key:
            head += self.demo._quota.headers(self.key)
        phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else "Error"
        self.start(f"{status} {phrase}", head + list((self.entry.headers or {}).items()))

    def _counted(self, data: Iterator[bytes]) -> Iterator[bytes]:
        for part in data:
            self.call.sent += 1
            yield part

    def _end(self, left: bool) -> None:
        self.call.ended = self.demo._clock()
        self.call.left = left


def _stopped(reply: Reply, stops: list[str]) -> Reply:
    """Cut before the first of the stop sequences that occurs in it."""
    for index, block in enumerate(reply.blocks):
        found = [(at, stop) for stop in stops if (at := block.get("text", "").find(stop)) >= 0]
        if found:
            at, stop = min(found)
            kept = [*reply.blocks[:index], *([block | {"text": block["text"][:at]}] if at else [])]
            return replace(reply, blocks=kept, stop_reason="stop_sequence", stop_sequence=stop)
    return reply


def _limited(reply: Reply, most: int, model: Model) -> Reply:
    """Cut where its tokens are spent. Thinking comes first and counts."""
    left = most - reply.thought
    if left < 0:
        return replace(reply, blocks=reply.blocks[:1] if most else [], stop_reason="max_tokens", thought=most)
    kept: list[Json] = []
    for block in reply.blocks:
        cost = _output(block, model)
        if cost > left:
            if block["type"] == "text" and (text := _fitting(block["text"], left, model)):
                kept.append(block | {"text": text})
            return replace(reply, blocks=kept, stop_reason="max_tokens")
        kept.append(block)
        left -= cost
    return reply


def _ended(reply: Reply, entry: Entry) -> Reply:
    """As the script ends it: at once, or after so many words of text."""
    blocks = reply.blocks
    if entry.after is not None and not entry.interrupts:
        blocks = [block for block in blocks if block["type"] == "thinking"]
        text = next((block["text"] for block in reply.blocks if block["type"] == "text"), "")
        if said := "".join(pieces(text, entry.deltas)[: max(0, entry.after)]):
            blocks = [*blocks, {"type": "text", "text": said}]
    details = entry.stop_details
    if entry.stop_reason == "refusal" and details is None:
        details = {"type": "refusal", "category": None, "explanation": None}
    return replace(reply, blocks=blocks, stop_reason=entry.stop_reason, stop_details=details)


def _fitting(text: str, most: int, model: Model) -> str:
    return text.encode()[: int(most * model.bytes_per_token)].decode(errors="ignore")


def _output(block: Json, model: Model) -> int:
    if block.get("type") == "thinking":
        return 0  # counted as thought
    if block.get("type") == "tool_use":
        return tokens(block["name"] + json.dumps(block["input"]), model)
    return tokens(block.get("text", ""), model)


def _print(message: Any) -> str:
    return hashlib.sha256(json.dumps(message, sort_keys=True, default=str).encode()).hexdigest()
