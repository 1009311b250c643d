"""Admission: one script call that checks every limit and stores the message, or refuses and consumes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parlance import site as sites
from parlance.errors import BudgetExhausted, Busy, NotFound, RateLimited, SessionExpired
from parlance.store import keys
from parlance.store.client import Store

LEASE_MS = 4_000
TURN_S = 86_400
SOFT_PERCENT = 80  # of a budget; beyond it, answers are short and by the cheap tier
RUNNING_JOURNAL_S = 3_600
ENDED_JOURNAL_S = 900

_MINUTE, _DAY = 60, 86_400
HELD_S = 30  # what is only held by others is free again when their answers have ended
# What the visitor is told: the script's names on the left, the protocol's on the right.
_LIMIT = {"visitor_minute": "visitor", "visitor_day": "visitor", "ip_minute": "ip", "site_minute": "site"}


@dataclass(frozen=True, slots=True)
class Rate:
    """A GCRA rate and where a message leaves it: `remaining` of `quota` in `period` seconds, full again in `reset`."""

    name: str
    quota: int
    period: int
    remaining: int = 0
    reset: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """`joined` is the turn that this message's id began earlier; else `turn` has just been admitted. `soft`: a budget
    comes to its end, so the answer is to be a cheap one. `remembered` is what `Conversations.recalled` reads: it comes
    along because the answer asks for it at once."""

    turn: str
    joined: bool
    headers: Mapping[str, str]
    soft: bool = False
    remembered: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What asks for admission. Ids as in the protocol; `issued_ms` is when the session's token was made. `call` is the
    id of the first upstream call, which holds `hold` nano-dollars, or `soft_hold` in the soft stage."""

    visitor: str
    issued_ms: int
    conversation: str
    id: str
    ip: str
    stored: str  # the message as the conversation keeps it, JSON
    start: bytes  # the start event's frame
    turn: str
    record: Mapping[str, str | int]  # the turn's record
    call: str = ""
    hold: int = 0
    soft_hold: int = 0


class Limits:
    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, site: sites.Site, message: Message) -> Admitted:
        """Take a place for one message in every limit of its site, hold the money for its first upstream call, and
        store it with its turn.

        Raises SessionExpired, NotFound (not the visitor's current conversation), Busy, RateLimited, BudgetExhausted,
        StoreUnavailable.
        """
        rates = _rates(site, message)
        reply = self._store.run("admit", _keys(site, message, rates), _args(site, message, rates))
        outcome = reply[0].decode()
        if outcome == "expired":
            raise SessionExpired("the session was revoked, or its visitor erased")
        if outcome == "not_found":
            raise NotFound("not the visitor's current conversation")
        if outcome == "joined":
            return Admitted(reply[1].decode(), joined=True, headers={})
        if outcome == "busy":
            raise Busy("this conversation is being answered", turn=reply[1].decode(), headers=_headers(reply[2:]))
        if outcome == "limited":
            raise _limited(reply)
        if outcome == "budget":
            raise _exhausted(reply)
        return Admitted(message.turn, False, _headers(reply[3:]), soft=bool(reply[1]), remembered=reply[2])


def _rates(site: sites.Site, message: Message) -> list[tuple[Rate, str]]:
    """Each rate with whom it counts. An address counts per site: every key of an admission has the site's hash tag."""
    limits = site.limits
    return [
        (Rate("visitor_minute", limits.visitor.per_minute, _MINUTE), message.visitor),
        (Rate("visitor_day", limits.visitor.per_day, _DAY), message.visitor),
        (Rate("ip_minute", limits.ip.per_minute, _MINUTE), message.ip),
        (Rate("site_minute", limits.site.per_minute, _MINUTE), "all"),
    ]


def _keys(site: sites.Site, message: Message, rates: list[tuple[Rate, str]]) -> list[str]:
    return [
        keys.visitor(site.key, message.visitor),
        keys.visitor_asked(site.key, message.visitor),
        keys.visitor_turns(site.key, message.visitor),
        keys.conversation(site.key, message.conversation),
        keys.messages(site.key, message.conversation),
        keys.message_order(site.key, message.conversation),
        keys.visitor_conversations(site.key, message.visitor),
        keys.leases(site.key),
        keys.turn(site.key, message.turn),
        keys.events(site.key, message.turn),
        keys.purse(site.key),
        keys.holds(site.key),
        keys.visitor_purse(site.key, message.visitor),
        *(keys.rate(site.key, rate.name, who) for rate, who in rates),
    ]


def _args(site: sites.Site, message: Message, rates: list[tuple[Rate, str]]) -> list[str | int | bytes]:
    budgets = site.budgets
    args: list[str | int | bytes] = [
        message.issued_ms,
        message.conversation,
        message.id,
        message.turn,
        message.stored,
        message.start,
        LEASE_MS,
        site.limits.site.concurrent,
        site.privacy.retain_days * _DAY,
        TURN_S,
        RUNNING_JOURNAL_S,
        message.visitor,
        message.call,
        message.hold,
        message.soft_hold,
        *("" if budget is None else budget for budget in (budgets.day, budgets.month, budgets.visitor_day)),
        SOFT_PERCENT,
        len(rates),
    ]
    for rate, _ in rates:
        args += [rate.name, rate.period * 1_000_000, rate.quota, rate.quota]
    for name, value in message.record.items():
        args += [name, value]
    return args


def _limited(reply: list) -> RateLimited:
    name = reply[1].decode()
    wait = max(1, math.ceil(int(reply[2]) / 1_000_000))
    return RateLimited(
        f"over the limit {name}", retry_after=wait, limit=_LIMIT.get(name, name), headers=_headers(reply[3:])
    )


def _exhausted(reply: list) -> BudgetExhausted:
    """To come back when the next day or month begins; at once, nearly, where the money is only held at this moment."""
    scope, spent = reply[1].decode(), bool(reply[3])
    now = datetime.fromtimestamp(int(reply[2]) / 1000, UTC)
    wait = math.ceil((_next(scope, now) - now).total_seconds()) if spent else HELD_S
    return BudgetExhausted(
        f"the budget {scope} is spent" if spent else f"the rest of the budget {scope} is held by others",
        retry_after=max(1, wait),
        limit=scope,
        headers=_headers(reply[4:]),
    )


def _next(scope: str, now: datetime) -> datetime:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if scope == "site_month":
        return (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return today + timedelta(days=1)


def _headers(states: list) -> dict[str, str]:
    """RateLimit fields (draft-ietf-httpapi-ratelimit-headers): what this visitor may still do. How busy the whole site
    is stays the operator's business."""
    periods = {"visitor_minute": _MINUTE, "visitor_day": _DAY, "ip_minute": _MINUTE}
    shown = [(s[0].decode(), int(s[1]), int(s[2]), int(s[3])) for s in states if s[0].decode() in periods]
    return {
        "RateLimit-Policy": ", ".join(f'"{name}";q={quota};w={periods[name]}' for name, quota, _, _ in shown),
        "RateLimit": ", ".join(f'"{name}";r={remaining};t={reset}' for name, _, remaining, reset in shown),
    }
