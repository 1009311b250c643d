"""Answering one turn: which model, which attempt, what to do with each end. Everything that happens comes out as a
step: text to show, a reset, a call for the ledger, and last the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from parlance import ids
from parlance.claude import errors
from parlance.claude.client import Client
from parlance.claude.errors import UpstreamError
from parlance.claude.models import Model, Usage
from parlance.claude.request import Said, build
from parlance.claude.retry import Policy
from parlance.claude.stream import Sources, Stream, pieces

RESTARTS = 1  # answers that broke after the first word and are begun anew
FINISHED = ("end_turn", "stop_sequence")
CONTINUATIONS = 3  # of a `pause_turn`
LETTERS_A_TOKEN = 3  # to reckon what was said when the provider could not tell any more


class Stopped(BaseException):
    """Raised inside an interruptible wait, when somebody stops the turn. No error: nothing catches it by accident."""


class Stop(Protocol):
    """The turn's abort signal."""

    @property
    def reason(self) -> str: ...
    def interruptible(self) -> AbstractContextManager[None]: ...
    def sleep(self, seconds: float) -> None: ...


class Allowance(Protocol):
    """The money for one answer. Every call is held for before it is made, under its id."""

    @property
    def first_call(self) -> str:
        """The id of a call that has been held for already, or ""."""

    def hold(self, call: str, model: Model, request: Mapping[str, Any]) -> bool:
        """Whether this request may be made."""


class Unlimited:
    """The allowance of those who need none: every call may be made."""

    first_call = ""

    def hold(self, call: str, model: Model, request: Mapping[str, Any]) -> bool:
        return True


UNLIMITED = Unlimited()


class Tools(Protocol):
    """What Claude may use while it answers. `use` carries out the calls among the blocks of one message and returns
    their results, in order; it waits, and may be interrupted. `spent`: from now on it carries out nothing more."""

    @property
    def spent(self) -> bool: ...
    def definitions(self) -> Sequence[dict[str, Any]]: ...
    def use(self, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]: ...


class _NoTools:
    spent = True

    def definitions(self) -> Sequence[dict[str, Any]]:
        return ()

    def use(self, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return []


NO_TOOLS = _NoTools()


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. `tries` are the conversations to try in turn, each shorter than the one before, should the model
    find the first too long. `deadline` is on the loop's clock, in seconds."""

    system: str
    tries: Sequence[Sequence[Said]]
    models: Sequence[Model]
    max_tokens: int
    user: str
    deadline: float
    allowance: Allowance = field(default_factory=Unlimited)
    tools: Tools = field(default_factory=lambda: NO_TOOLS)


@dataclass(slots=True)
class Call:
    """One upstream call, for the ledger. `at` is seconds since the epoch; durations are seconds, -1.0 for not yet."""

    model: Model
    retries: int
    at: float
    began: float
    id: str = field(default_factory=ids.call)
    usage: Usage = field(default_factory=Usage)
    first_token: float = -1.0
    duration: float = -1.0
    stop_reason: str = ""
    error: str = ""
    request_id: str = ""
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """A call is about to be made: if this process dies, this is all that is known of it."""

    call: Call


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reset:
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that the answer cites: `n` is what the marker `[n]` in its text shows."""

    n: int
    title: str
    url: str

    def data(self) -> dict[str, Any]:
        """As the protocol has it: no `url` where there is none."""
        return {"n": self.n, "title": self.title} | ({"url": self.url} if self.url else {})


@dataclass(frozen=True, slots=True)
class Ended:
    """The end. `code` is "" where there is an answer, whole or not: then `complete` says which, and `text` is what the
    visitor keeps of it. Else the protocol's error code, and whether asking again may help; `words` is the code whose
    sentence says it best, where that is another one."""

    text: str
    stop_reason: str
    complete: bool
    code: str = ""
    retry: bool = False
    retry_after: float | None = None
    words: str = ""
    sources: tuple[Source, ...] = ()


Step = Opening | Text | Reset | Source | Call | Ended


class Claude:
    """`clock` is monotonic seconds, `wall` seconds since the epoch."""

    def __init__(
        self,
        client: Client,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._policy = policy or Policy()
        self._clock = clock
        self._wall = wall

    def answer(self, question: Question, stop: Stop) -> Iterator[Step]:
        """Answer a question. Ends with exactly one Ended; each Opening is followed by its Call."""
        return _Answering(self._client, self._policy, self._clock, self._wall, question, stop).steps()


class _Answering:
    """The state of one answer: what the visitor sees (`shown`), and how often was tried."""

    def __init__(self, client: Client, policy: Policy, clock: Any, wall: Any, question: Question, stop: Stop) -> None:
        self.client, self.policy, self.clock, self.wall = client, policy, clock, wall
        self.question, self.stop = question, stop
        self.shown: list[str] = []
        self.spoken = False  # by the present attempt
        self.apart = False  # what comes next is another message than what was shown last
        self.sources = self.cited = Sources()  # of the present attempt, and of the one whose text is shown
        self.restarts = 0
        self.shorter = 0
        self.calls = 0
        self.error: UpstreamError | None = None

    def steps(self) -> Iterator[Step]:
        for model in self.question.models:
            ended = yield from self._ask(model)
            if ended:
                yield ended
                return
        yield self._failed()

    def _ask(self, model: Model) -> Generator[Step, None, Ended | None]:
        """Ask one model until it answers or there is no point any more. Returns the end, or None for: try another."""
        attempts = 0
        while True:
            attempts += 1
            try:
                return (yield from self._attempt(model))
            except Stopped:
                return self._so_far(self.stop.reason)
            except UpstreamError as error:
                self.error = error
            if self.error.code == errors.TOO_LONG and self.shorter + 1 < len(self.question.tries):
                self.shorter += 1
                continue
            if self.shown and self.restarts >= RESTARTS:
                return self._failed()
            wait = self.policy.delay(attempts, self.error, self.question.deadline - self.clock())
            if wait is None:
                return None if self.error.elsewhere else self._failed()
            self.restarts += bool(self.shown)
            try:
                self.stop.sleep(wait)
            except Stopped:
                return self._so_far(self.stop.reason)

    def _attempt(self, model: Model) -> Generator[Step, None, Ended]:
        """One answer of one model: one call, and another whenever the provider pauses it or it has used tools."""
        begun: list[dict[str, Any]] = []
        self.spoken, self.sources, pauses = False, Sources(), 0
        tools = self.question.tools
        usable = bool(tools.definitions())
        while True:
            stream = yield from self._call(model, begun)
            if stream.stop_reason == "tool_use" and usable and stream.tool_uses:
                usable = not tools.spent  # once more after that: then Claude is told so, and answers with what it has
                begun = [*begun, _said(stream), {"role": "user", "content": self._use(tools, stream)}]
                self.apart = True
            elif stream.stop_reason == "pause_turn" and pauses < CONTINUATIONS:
                begun, pauses = [*begun, _said(stream)], pauses + 1
            else:
                return self._judge(stream)

    def _use(self, tools: Tools, stream: Stream) -> list[dict[str, Any]]:
        with self.stop.interruptible():
            return tools.use(stream.blocks)

    def _call(self, model: Model, begun: list[dict[str, Any]]) -> Generator[Step, None, Stream]:
        asked = self.question
        said, tools = asked.tries[self.shorter], asked.tools.definitions()
        params = build(model, asked.system, said, asked.max_tokens, asked.user, tools)
        params["messages"] = [*params["messages"], *begun]
        id = (not self.calls and asked.allowance.first_call) or ids.call()
        if not asked.allowance.hold(id, model, params):
            raise errors.unpaid()
        call, stream = Call(model, self.calls, self.wall(), self.clock(), id), Stream(self.sources)
        self.calls += 1
        yield Opening(call)
        failure: UpstreamError | Stopped | None = None
        try:
            with self.stop.interruptible(), self.client.open(params) as opened:
                call.request_id = opened.request_id
                for text in pieces(opened.chunks, stream):
                    if call.first_token < 0:
                        call.first_token, call.usage = self.clock() - call.began, stream.usage
                    yield from self._show(text)
                    yield from self._cite()
            if not stream.complete:
                raise errors.truncated(call.request_id)
            if stream.stop_reason in FINISHED and not self._text().strip():
                raise errors.empty(call.request_id)
        except UpstreamError as error:
            call.error, call.request_id = error.kind, call.request_id or error.request_id
            failure = error
        except Stopped as stopped:
            call.error, failure = self.stop.reason, stopped
        self._reckon(call, stream)
        yield call
        if failure:
            raise failure
        return stream

    def _text(self) -> str:
        """What the present attempt has said."""
        return "".join(self.shown) if self.spoken else ""

    def _show(self, text: str) -> Iterator[Step]:
        """Show text; the first of a new attempt takes away what an earlier one left, and not sooner: should this
        attempt bring nothing, the visitor keeps that."""
        if not self.spoken and self.shown:
            self.shown.clear()
            yield Reset("retry")
        self.cited = self.sources
        if self.spoken and self.apart:
            text = "\n\n" + text.lstrip()
        self.spoken, self.apart = True, False
        self.shown.append(text)
        yield Text(text)

    def _cite(self) -> Iterator[Source]:
        """The sources whose markers have just been shown."""
        fresh, self.sources.fresh = self.sources.fresh, []
        yield from map(_source, fresh)

    def _reckon(self, call: Call, stream: Stream) -> None:
        """The provider's figures where it gave them; where the stream was cut, what was said tells the least it was."""
        call.duration = self.clock() - call.began
        call.stop_reason = stream.stop_reason
        call.usage = stream.usage
        if stream.message and not stream.stop_reason:
            said = len(stream.text) // LETTERS_A_TOKEN
            usage = stream.usage
            call.usage = Usage(usage.input, usage.write_5m, usage.write_1h, usage.read, max(usage.output, said))
            call.estimated = True

    def _judge(self, stream: Stream) -> Ended:
        """`stop_reason`, case by case. What is unknown counts as cut off, never as complete."""
        text, reason = self._text(), stream.stop_reason
        if reason in FINISHED:
            return self._so_far(reason, complete=True)
        if reason == "refusal":
            return Ended("", reason, complete=False, code=errors.REFUSED)
        if reason == "model_context_window_exceeded" and not text:
            raise errors.context_exceeded("")
        if not text:
            return Ended("", reason, complete=False, code=errors.CUT, retry=True)
        return self._so_far(reason)

    def _so_far(self, reason: str, *, complete: bool = False) -> Ended:
        """The end, with what is shown and what that cites."""
        return Ended("".join(self.shown), reason, complete, sources=tuple(map(_source, self.cited.all)))

    def _failed(self) -> Ended:
        """No model answered. What was shown is kept; else the visitor is told what the last error means for them."""
        error = self.error
        if self.shown:
            return self._so_far("error")
        code = error.code if error else errors.UNAVAILABLE
        after = error.retry_after if error else None
        if error and error.kind == "budget":
            # The protocol's `error` event has no code for it. The brand's words for it are the true ones all the same.
            return Ended("", "error", complete=False, code=code, words="budget_exhausted")
        retry = code not in (errors.REFUSED, errors.TOO_LONG)
        return Ended("", "error", complete=False, code=code, retry=retry, retry_after=after)


def _said(stream: Stream) -> dict[str, Any]:
    """What Claude said, as it has to be sent back: to the letter, thinking and signatures included. Texts without a
    word may come from the API, and are refused by it."""
    said = [block for block in stream.blocks if block and (block.get("type") != "text" or block["text"].strip())]
    return {"role": "assistant", "content": said}


def _source(cited: dict[str, Any]) -> Source:
    """Only what can be a link is one: passages without an address have a name of their own in its place."""
    url = cited["source"] if cited["source"].startswith(("https://", "http://")) else ""
    return Source(cited["n"], cited["title"], url)
