"""Conversations: what was said, by whom, and what the visitor thought of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from parlance import ids
from parlance.errors import NotFound
from parlance.store import keys
from parlance.store.client import Store

VISITOR, ASSISTANT, PERSON, NOTICE = "visitor", "assistant", "person", "notice"
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a transcript. `page` is where the visitor was; `turn` joins a question with its answer or notice."""

    id: str
    role: str
    text: str
    created_at: str
    state: str = "complete"
    turn: str = ""
    sources: tuple[Mapping[str, Any], ...] = ()
    page: Mapping[str, str] | None = None
    feedback: Mapping[str, Any] | None = None
    code: str = ""  # of a notice: why there is no answer

    def to_json(self) -> str:
        """As the store keeps it: without what is empty and need not be there; feedback lives in a place of its own."""
        values = ((name, getattr(self, name)) for name in _KEPT)
        return msgspec.json.encode({name: value for name, value in values if value or name == "text"}).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Message:
        return _message(text)


_KEPT = tuple(field.name for field in fields(Message) if field.name != "feedback")
_message = msgspec.json.Decoder(Message).decode


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    messages: tuple[Message, ...] = ()
    turn: str = ""  # the running one, or ""
    answered_by: str = "assistant"


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where a conversation's window stands, and its messages from there on."""

    start: int
    messages: tuple[Message, ...]


def remembered(reply: Sequence[bytes]) -> Remembered | None:
    """What lua/parts/remembered.lua returns, read."""
    return Remembered(int(reply[0]), tuple(map(Message.from_json, reply[1:]))) if reply else None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure removed, how many of each."""

    conversations: int
    messages: int
    feedback: int
    turns: int
    identities: int
    left: int = 0  # messages, wishes for a person, questions without an answer


def stamp(seconds: float) -> str:
    """RFC 3339 UTC with milliseconds: `2026-11-20T15:04:05.678Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Conversations:
    """All times come in as arguments, in seconds since the epoch. Every method may raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, site: str, visitor: str, retain_days: int, now: float) -> Conversation:
        """A new, empty conversation, which is the visitor's current one from now on."""
        conversation, life = ids.conversation(), retain_days * _DAY
        listed = keys.visitor_conversations(site, visitor)
        record = keys.conversation(site, conversation)
        self._store.many(
            [
                ("HSET", record, "visitor", visitor, "created", stamp(now), "turn", "", "answered_by", "assistant"),
                ("EXPIRE", record, life),
                ("RPUSH", listed, conversation),
                ("EXPIRE", listed, life),
                ("HSET", keys.visitor(site, visitor), "conversation", conversation),
            ]
        )
        return Conversation(conversation)

    def current(self, site: str, visitor: str) -> Conversation | None:
        """The visitor's current conversation, with all its messages; None where there is none any more."""
        current = self._store.do("HGET", keys.visitor(site, visitor), "conversation")
        return self.read(site, current.decode()) if current else None

    def read(self, site: str, conversation: str) -> Conversation | None:
        record, order, texts, feedback = self._store.many(
            [
                ("HGETALL", keys.conversation(site, conversation)),
                ("LRANGE", keys.message_order(site, conversation), 0, -1),
                ("HGETALL", keys.messages(site, conversation)),
                ("HGETALL", keys.feedback(site, conversation)),
            ]
        )
        if not record:
            return None
        messages = (Message.from_json(texts[message]) for message in order if message in texts)
        rated = {message.decode(): json.loads(rating) for message, rating in feedback.items()}
        return Conversation(
            conversation,
            tuple(replace(message, feedback=rated.get(message.id)) for message in messages),
            record.get(b"turn", b"").decode(),
            record.get(b"answered_by", b"assistant").decode(),
        )

    def recall(self, site: str, conversation: str) -> Remembered | None:
        """What is remembered of a conversation; None where there is none any more."""
        places = [
            keys.conversation(site, conversation),
            keys.message_order(site, conversation),
            keys.messages(site, conversation),
        ]
        return remembered(self._store.run("recall", places))

    def message(self, site: str, conversation: str, message: str) -> Message | None:
        text = self._store.do("HGET", keys.messages(site, conversation), message)
        return Message.from_json(text) if text else None

    def slide(self, site: str, conversation: str, start: int, retain_days: int) -> None:
        """Move the window: what lies before it is kept, and not recalled any more."""
        place = keys.conversation(site, conversation)
        # Should it have been erased in this moment, it must not come back for good.
        self._store.many([("HSET", place, "window", start), ("EXPIRE", place, retain_days * _DAY, "NX")])

    def rate(self, site: str, visitor: str, message: str, rating: str | None, reason: str, retain_days: int) -> None:
        """Keep what a visitor thinks of an answer of theirs; a rating of None takes it back.

        Raises NotFound for a message that is no answer to this visitor.
        """
        conversation = self._conversation_of(site, visitor, message)
        place = keys.feedback(site, conversation)
        if rating is None:
            self._store.do("HDEL", place, message)
            return
        value = json.dumps({"rating": rating, **({"reason": reason} if reason else {})}, ensure_ascii=False)
        self._store.many([("HSET", place, message, value), ("EXPIRE", place, retain_days * _DAY)])

    def _conversation_of(self, site: str, visitor: str, message: str) -> str:
        listed = self._store.do("LRANGE", keys.visitor_conversations(site, visitor), 0, -1)
        found = self._store.many([("HGET", keys.messages(site, c.decode()), message) for c in listed])
        for conversation, text in zip(listed, found, strict=True):
            if text and Message.from_json(text).role in (ASSISTANT, PERSON):
                return str(conversation.decode())
        raise NotFound("no such answer of this visitor")

    def erase(self, site: str, visitor: str) -> Receipt:
        """Remove everything kept of a visitor, and with the visitor's record every token that names it.

        A turn that runs at that moment finds its record gone and stops without leaving anything.
        """
        record = keys.visitor(site, visitor)
        listed, turns, subject = self._store.many(
            [
                ("LRANGE", keys.visitor_conversations(site, visitor), 0, -1),
                ("LRANGE", keys.visitor_turns(site, visitor), 0, -1),
                ("HGET", record, "subject"),
            ]
        )
        conversations = [c.decode() for c in listed]
        counts = self._store.many(
            [
                *(("HLEN", keys.messages(site, c)) for c in conversations),
                *(("HLEN", keys.feedback(site, c)) for c in conversations),
            ]
        )
        gone = [
            record,
            keys.visitor_conversations(site, visitor),
            keys.visitor_asked(site, visitor),
            keys.visitor_turns(site, visitor),
            keys.visitor_purse(site, visitor),
        ]
        for c in conversations:
            gone += [
                keys.conversation(site, c),
                keys.messages(site, c),
                keys.message_order(site, c),
                keys.feedback(site, c),
            ]
        for t in (turn.decode() for turn in turns):
            gone += [keys.turn(site, t), keys.events(site, t), keys.watched(site, t)]
        if subject:
            gone.append(keys.identity(site, subject.decode()))
        rates = [keys.rate(site, limit, visitor) for limit in ("visitor_minute", "visitor_day")]
        self._store.many([("DEL", key) for key in gone + rates])
        if turns:
            self._store.do("ZREM", keys.leases(site), *turns)
        return Receipt(
            conversations=len(conversations),
            messages=sum(counts[: len(conversations)]),
            feedback=sum(counts[len(conversations) :]),
            turns=len(turns),
            identities=1 if subject else 0,
        )
