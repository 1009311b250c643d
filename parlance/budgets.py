"""Budgets: what a site and a visitor may cost, held before each upstream call and settled from its ledger row.

A hold is the worst that a call may cost. It is taken in the same step that finds room for it (a visitor's first call
in `admit.lua`, every other one in `hold.lua`) and given back when the call's row is booked (`book.lua`). Spent and held
together stay within each budget, so what is spent does, however calls, crashes and midnights fall. docs/budgets.md
tells it to operators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from parlance.claude.models import Model
from parlance.errors import Fenced, StoreUnavailable
from parlance.observe.logs import log
from parlance.site import Site
from parlance.store import keys
from parlance.store.client import Store

SOFT_TIER, SOFT_TOKENS = "cheap", 512
BACKGROUND_PERCENT = 90  # of a budget; the rest is the visitors' alone
BACKGROUND_MS = 600_000  # the life of a hold that no turn stands behind
GRACE_MS = 20_000  # a dead worker's own row comes within this time, with the worker that replaces it
PRICE_S = 3_600  # a call may be made so long after its price was looked up
OVERHEAD_TOKENS = 1_000  # what the provider puts around a prompt, and before one with tools


def worst_case(model: Model, input_bytes: int, max_tokens: int, at: float, *, hour: bool = False) -> int:
    """The most that a call made at about `at` can cost, in nano-dollars.

    `input_bytes` is the prompt's length as JSON in UTF-8. It bounds the tokens: each stands for at least one byte, in
    any language, also for a visitor who looks for letters that are dear. Each is reckoned at the dearest rate that may
    apply: none is read from the cache, all are written to it, for an hour if `hour`. `max_tokens` is the request's own
    bound of the output, thinking included. What is longer than the model's context is refused, and costs nothing.
    Raises UnknownPrice.
    """
    tokens = min(input_bytes + OVERHEAD_TOKENS, model.context)
    days = {datetime.fromtimestamp(second, UTC).date() for second in (at, at + PRICE_S)}
    prices = [model.price(day, tokens) for day in days]
    dearest = [max(price.input, price.read, price.write_5m, price.write_1h * hour) for price in prices]
    return max(rate * tokens + price.output * max_tokens for rate, price in zip(dearest, prices, strict=True))


@dataclass(frozen=True, slots=True)
class Period:
    """One budget as it stands. `limit` is None where the site sets none; amounts are nano-dollars."""

    scope: str  # site_day | site_month | visitor_day
    name: str  # "2026-11-20" or "2026-11", UTC
    spent: int
    held: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Hold:
    """What `holds` keeps of a call: see lua/parts/purse.lua."""

    amount: int
    turn: str
    epoch: int
    day: str
    visitor: str
    until: int  # ms

    @classmethod
    def parse(cls, text: bytes) -> Hold:
        amount, turn, epoch, day, visitor, until = text.decode().split("|")
        return cls(int(amount), turn, int(epoch), day, visitor, int(until))


@dataclass(slots=True)
class Allowance:
    """The money of one turn in one worker's hands. `held` is what its calls hold already: the first, from admission."""

    budgets: Budgets
    site: Site
    turn: str
    epoch: int
    visitor: str
    held: dict[str, int] = field(default_factory=dict)

    @property
    def first_call(self) -> str:
        """The id under which admission has held money, or ""."""
        return next(iter(self.held), "")

    def hold(self, call: str, model: Model, request: Mapping[str, Any]) -> bool:
        """Hold what this request may cost; whether it may be made. Where the store cannot say so, it may not.

        Raises Fenced where the turn is no longer this worker's, UnknownPrice.
        """
        amount = _worst_of(model, request, self.budgets.now())
        if amount <= self.held.get(call, -1):
            return True
        try:
            fine = self.budgets.hold(self.site, call, amount, turn=self.turn, epoch=self.epoch, visitor=self.visitor)
        except StoreUnavailable as error:
            log("call_not_held", level="warning", error=error, site=self.site.key, turn=self.turn, call=call)
            return False
        if fine:
            self.held[call] = amount
        return fine


class Budgets:
    """`refused` is told of each further call that finds no room, with site and scope; `now` is seconds since the epoch.
    Every method may raise StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        refused: Callable[[str, str], None] = lambda site, scope: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._refused = store, refused
        self.now = now

    def hold(
        self,
        site: Site,
        call: str,
        amount: int,
        *,
        turn: str = "",
        epoch: int = 0,
        visitor: str = "",
        background: bool = False,
    ) -> bool:
        """Hold money for a call, or more or less for one that holds some; False where a budget has no room.

        Work in the background leaves the last tenth of each budget to the visitors. Without a turn the hold frees
        itself after ten minutes. Raises Fenced where the turn has ended or is another worker's.
        """
        limits = site.budgets
        reply = self._store.run(
            "hold",
            [keys.purse(site.key), keys.holds(site.key), _purse_of(site.key, visitor), keys.turn(site.key, turn)],
            [
                call,
                amount,
                *("" if limit is None else limit for limit in (limits.day, limits.month, limits.visitor_day)),
                BACKGROUND_PERCENT if background else 100,
                turn,
                epoch,
                visitor,
                BACKGROUND_MS,
            ],
        )
        outcome = reply[0].decode()
        if outcome == "fenced":
            raise Fenced(turn)
        if outcome == "budget":
            self._refused(site.key, reply[1].decode())
        return outcome == "held"

    def show(self, site: Site, visitor: str = "") -> list[Period]:
        """How the budgets of this month and day stand; the visitor's too, where one is given."""
        seconds, _ = self._store.do("TIME")
        day = datetime.fromtimestamp(int(seconds), UTC).date().isoformat()
        limits, purse = site.budgets, keys.purse(site.key)
        periods = [("site_day", purse, day, limits.day), ("site_month", purse, day[:7], limits.month)]
        if visitor:
            periods.append(("visitor_day", keys.visitor_purse(site.key, visitor), day, limits.visitor_day))
        found = self._store.many([("HMGET", key, f"{name}:spent", f"{name}:held") for _, key, name, _ in periods])
        return [
            Period(scope, name, int(spent or 0), int(held or 0), limit)
            for (scope, _, name, limit), (spent, held) in zip(periods, found, strict=True)
        ]

    def free(self, sites: Iterable[str]) -> int:
        """Free the holds that nobody will settle, each a grace after it was first seen to be one; return how many.

        Once a turn has ended, was erased or has a later owner, that stays so: what is judged here cannot be wrong by
        the time the script acts on it.
        """
        listed = list(sites)
        held = self._store.many([("HGETALL", keys.holds(site)) for site in listed])
        return sum(self._free(site, found) for site, found in zip(listed, held, strict=True) if found)

    def _free(self, site: str, found: Mapping[bytes, bytes]) -> int:
        holds = {call.decode(): Hold.parse(text) for call, text in found.items()}
        turns = self._store.many([("HMGET", keys.turn(site, hold.turn), "epoch", "state") for hold in holds.values()])
        orphans = {
            call: hold
            for (call, hold), (epoch, state) in zip(holds.items(), turns, strict=True)
            if hold.until or state != b"running" or int(epoch) != hold.epoch
        }
        if not orphans:
            return 0
        purses = [_purse_of(site, hold.visitor) for hold in orphans.values()]
        return int(self._store.run("free_holds", [keys.purse(site), keys.holds(site), *purses], [GRACE_MS, *orphans]))


def _worst_of(model: Model, request: Mapping[str, Any], at: float) -> int:
    """`worst_case` of a request as it will be sent."""
    prompt = msgspec.json.encode([request.get(part) for part in ("tools", "system", "messages")])
    return worst_case(model, len(prompt), request["max_tokens"], at, hour=b'"ttl":"1h"' in prompt)


def _purse_of(site: str, visitor: str) -> str:
    """A visitor's purse; where there is none, the site's, so that a script has a key of the right slot in its place."""
    return keys.visitor_purse(site, visitor) if visitor else keys.purse(site)
