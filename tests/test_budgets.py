"""Money: what is held, spent and given back, whatever happens in between; and that no budget is ever passed."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count

import gevent
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from demo import Demo
from parlance import budgets as budgets_module
from parlance import ids
from parlance.budgets import OVERHEAD_TOKENS, Budgets, Hold, worst_case
from parlance.claude import models as claude_models
from parlance.claude.models import Model, Price, UnknownPrice, Usage
from parlance.errors import Fenced
from parlance.ledger import Ledger, Row
from parlance.limits import LEASE_MS
from parlance.runner import BEAT_S, SWEEP_BEATS
from parlance.site import Budgets as Limits
from parlance.site import IpLimits, SiteLimits, VisitorLimits
from parlance.site import Limits as Rates
from parlance.site import Model as Wish
from parlance.store import client, keys
from parlance.store.client import Store
from tests.house import FERN, House, Reply, Stream, until

one_engine = pytest.mark.parametrize("redis_url", ["valkey"], indirect=True, scope="session")

DAY = "2026-11-20"
AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
GOLDEN = Price(date(2025, 1, 1), None, input=3_000, output=15_000, write_5m=3_750, write_1h=6_000, read=300)


def a_model(*prices: Price) -> Model:
    return Model("claude-x", 200_000, 8_000, 512, 0, {}, prices or (GOLDEN,))


def site_with(**limits: int) -> object:
    return replace(FERN, budgets=Limits(**limits))


class Bank:
    """The scripts of one store, one site, and what they have written."""

    def __init__(self, store: Store, tmp_path, **limits: int) -> None:
        self.store, self.site = store, site_with(**limits)
        self.budgets = Budgets(store)
        self.ledger = Ledger(store, tmp_path / "ledger", "w_1")

    def turn(self, name: str, epoch: int = 0, state: str = "running") -> str:
        self.store.do("HSET", keys.turn("fern", name), "epoch", epoch, "state", state)
        return name

    def hold(self, call: str, amount: int, **more: object) -> bool:
        return self.budgets.hold(self.site, call, amount, **more)

    def book(self, call: str, cost: int, at: str = f"{DAY}T12:00:00.000Z", **more: object) -> None:
        self.ledger.record(a_row(call, cost, at, **more))
        self.ledger.flush()

    def money(self, period: str | None = None, visitor: str = "") -> tuple[int, int]:
        """Spent and held, of this day unless another period is named."""
        key = keys.visitor_purse("fern", visitor) if visitor else keys.purse("fern")
        period = period or self.today()
        found = self.store.do("HMGET", key, f"{period}:spent", f"{period}:held")
        return int(found[0] or 0), int(found[1] or 0)

    def today(self) -> str:
        return datetime.fromtimestamp(int(self.store.do("TIME")[0]), UTC).date().isoformat()

    def hold_of(self, call: str) -> Hold | None:
        text = self.store.do("HGET", keys.holds("fern"), call)
        return Hold.parse(text) if text else None

    def date_back(self, call: str, day: str) -> None:
        """As if the hold had been taken on another day."""
        hold = self.hold_of(call)
        purses = [keys.purse("fern")] * 2 + [keys.visitor_purse("fern", hold.visitor)] * bool(hold.visitor)
        for purse, old, new in zip(purses, (hold.day, hold.day[:7], hold.day), (day, day[:7], day), strict=False):
            self.store.do("HINCRBY", purse, f"{old}:held", -hold.amount)
            self.store.do("HINCRBY", purse, f"{new}:held", hold.amount)
        text = f"{hold.amount}|{hold.turn}|{hold.epoch}|{day}|{hold.visitor}|{hold.until}"
        self.store.do("HSET", keys.holds("fern"), call, text)

    def total(self) -> int:
        return sum(row["cost_nano_usd"] for row in self.ledger.rows("fern"))


def a_row(call: str, cost: int, at: str = f"{DAY}T12:00:00.000Z", **more: object) -> Row:
    return Row(call, at, "fern", "c_1", "t_1", "claude-x", 1, cost_nano_usd=cost, **more)


def lost(**more: object) -> dict[str, object]:
    return {"error_class": "worker_lost", "estimated": True, **more}


@pytest.fixture
def bank_with(store, tmp_path) -> Iterator[Callable[..., Bank]]:
    banks: list[Bank] = []

    def build(**limits: int) -> Bank:
        banks.append(Bank(store, tmp_path, **limits))
        return banks[-1]

    yield build
    for bank in banks:
        bank.ledger.stop()


@pytest.fixture
def bank(bank_with) -> Bank:
    return bank_with(day=1000, month=5000, visitor_day=400)


@pytest.fixture
def no_grace(monkeypatch) -> None:
    monkeypatch.setattr(budgets_module, "GRACE_MS", 0)


# -- the worst case ----------------------------------------------------------------------------------------------------


def test_the_golden_case_costs_what_it_costs():
    usage = Usage(input=3, write_5m=12_304, output=550)
    assert a_model().cost(usage, AT) == 54_399_000


def test_no_call_costs_more_than_its_worst_case():
    model, most = claude_models.load().find("standard"), 1024
    bound = worst_case(model, 5_000, most, AT)
    for tokens in (Usage(input=6_000), Usage(write_5m=6_000), Usage(read=6_000), Usage(3_000, 3_000)):
        assert model.cost(replace(tokens, output=most), AT) <= bound
    assert model.cost(Usage(write_5m=5_000 + OVERHEAD_TOKENS, output=most), AT) == bound
    assert model.cost(Usage(write_1h=6_000, output=most), AT) > bound
    assert model.cost(Usage(write_1h=6_000, output=most), AT) == worst_case(model, 5_000, most, AT, hour=True)


def test_it_reckons_with_the_band_that_the_bound_lies_in():
    cheap = claude_models.load().find("cheap")
    below, above = (worst_case(cheap, size - OVERHEAD_TOKENS, 0, AT) for size in (100_000, 100_001))
    assert (below, above) == (100_000 * 125, 100_001 * 625)


def test_no_prompt_is_longer_than_the_models_context():
    assert worst_case(a_model(), 10**9, 0, AT) == 200_000 * 3_750


def test_it_reckons_with_the_price_of_the_day_that_is_about_to_begin():
    dearer = replace(GOLDEN, since=date(2026, 11, 21), input=9_000, write_5m=9_000)
    model = a_model(GOLDEN, dearer)
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    assert worst_case(model, 0, 0, midnight - 1) == 9_000 * OVERHEAD_TOKENS
    assert worst_case(model, 0, 0, midnight - 7_200) == 3_750 * OVERHEAD_TOKENS


def test_an_unknown_price_is_no_price():
    with pytest.raises(UnknownPrice):
        worst_case(a_model(), 100, 100, datetime(2024, 1, 1, tzinfo=UTC).timestamp())


# -- holds -------------------------------------------------------------------------------------------------------------


def test_it_holds_and_settles_in_every_period(bank):
    bank.turn("t_1")
    assert bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    today = bank.today()
    for period, visitor in ((today, ""), (today[:7], ""), (today, "v_1")):
        assert bank.money(period, visitor) == (0, 300)
    bank.book("u_1", 120)
    for period, visitor in ((today, ""), (today[:7], ""), (today, "v_1")):
        assert bank.money(period, visitor) == (120, 0)
    assert bank.hold_of("u_1") is None
    assert bank.total() == 120


@pytest.mark.parametrize(
    ("limits", "scope"),
    [({"day": 500}, "site_day"), ({"month": 500}, "site_month"), ({"visitor_day": 500}, "visitor_day")],
)
def test_it_refuses_what_has_no_room_and_holds_nothing(store, bank_with, limits, scope):
    told: list[tuple[str, str]] = []
    bank = bank_with(**limits)
    bank.budgets = Budgets(store, lambda *refused: told.append(refused))
    bank.turn("t_1")
    assert bank.hold("u_1", 500, turn="t_1", visitor="v_1")
    assert not bank.hold("u_2", 1, turn="t_1", visitor="v_1")
    assert told == [("fern", scope)]
    assert bank.hold_of("u_2") is None
    assert bank.money() == (0, 500)


def test_a_call_holds_more_or_less_when_more_is_known(bank):
    bank.turn("t_1")
    assert bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    assert bank.hold("u_1", 400, turn="t_1", visitor="v_1")
    assert not bank.hold("u_1", 401, turn="t_1", visitor="v_1")
    assert bank.money() == (0, 400)
    assert bank.hold("u_1", 100, turn="t_1", visitor="v_1")
    assert bank.money() == (0, 100)


def test_a_site_without_budgets_is_counted_and_never_refused(bank_with):
    bank = bank_with()
    bank.turn("t_1")
    assert bank.hold("u_1", 10**15, turn="t_1", visitor="v_1")
    bank.book("u_1", 7)
    assert bank.money() == bank.money(visitor="v_1") == (7, 0)


@pytest.mark.parametrize(("epoch", "state"), [(1, "running"), (0, "complete")])
def test_who_has_lost_the_turn_holds_nothing_more(bank, epoch, state):
    bank.turn("t_1", epoch, state)
    with pytest.raises(Fenced):
        bank.hold("u_1", 1, turn="t_1", epoch=0, visitor="v_1")
    with pytest.raises(Fenced):
        bank.hold("u_1", 1, turn="t_erased", visitor="v_1")
    assert bank.store.do("KEYS", "*purse*") == []


def test_the_background_leaves_the_last_tenth_to_visitors(bank):
    assert bank.hold("u_1", 900, background=True)
    assert not bank.hold("u_2", 1, background=True)
    bank.turn("t_1")
    assert bank.hold("u_3", 100, turn="t_1", visitor="v_1")


# -- rows --------------------------------------------------------------------------------------------------------------


def test_the_golden_case_reaches_the_purse_to_the_nano_dollar(bank):
    bank.book("u_1", a_model().cost(Usage(input=3, write_5m=12_304, output=550), AT))
    assert (bank.money(DAY), bank.total()) == ((54_399_000, 0), 54_399_000)


def test_a_row_is_booked_once_however_often_it_is_written(bank):
    bank.hold("u_1", 300)
    for _ in range(3):
        bank.book("u_1", 120)
    assert (bank.money(), bank.total()) == ((120, 0), 120)


def test_a_row_without_a_hold_is_spent_on_its_own_day(bank):
    bank.book("u_1", 120, "2026-10-31T23:59:59.999Z")
    assert (bank.money("2026-10-31"), bank.money("2026-10"), bank.total()) == ((120, 0), (120, 0), 120)


def test_a_lost_call_keeps_the_rest_of_its_hold_for_the_row_that_knows_better(bank):
    bank.turn("t_1")
    bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    bank.book("u_1", 100, **lost())
    assert bank.money() == bank.money(visitor="v_1") == (100, 200)
    bank.book("u_1", 250)
    assert bank.money() == bank.money(visitor="v_1") == (250, 0)
    assert bank.total() == 250


@pytest.mark.parametrize("worse", [{"estimated": True}, lost()])
def test_the_providers_figures_give_way_to_none(bank, worse):
    bank.hold("u_1", 300)
    bank.book("u_1", 120)
    bank.book("u_1", 200, **worse)
    assert (bank.money(), bank.total()) == ((120, 0), 120)


def test_an_estimate_of_the_worker_itself_frees_its_hold_at_once(bank):
    at = f"{bank.today()}T12:00:00.000Z"
    bank.hold("u_1", 300)
    bank.book("u_1", 120, at, estimated=True)
    assert bank.money() == (120, 0)
    bank.book("u_1", 90, at)
    assert (bank.money(), bank.total()) == ((90, 0), 90)


def test_many_rows_of_many_sites_are_booked_together(bank, monkeypatch):
    monkeypatch.setattr("parlance.ledger.AT_ONCE", 7)
    for number in range(20):
        for site in ("fern", "moss"):
            bank.ledger.record(replace(a_row(f"u_{site}{number}", number), site=site))
    bank.ledger.flush()
    assert bank.money(DAY) == (190, 0)
    assert bank.store.do("HGET", keys.purse("moss"), f"{DAY}:spent") == b"190"


def test_an_erased_visitors_purse_does_not_come_back(bank, no_grace):
    bank.turn("t_1")
    bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    bank.hold("u_2", 50, turn="t_1", visitor="v_1")
    bank.store.do("DEL", keys.visitor_purse("fern", "v_1"), keys.turn("fern", "t_1"))
    bank.book("u_1", 120)
    bank.budgets.free(["fern"])
    bank.budgets.free(["fern"])
    assert bank.money() == (120, 0)
    assert not [key for key in bank.store.do("KEYS", "*") if b"v_1" in key]


# -- midnight ----------------------------------------------------------------------------------------------------------


def test_what_was_held_yesterday_is_spent_yesterday(bank):
    bank.turn("t_1")
    bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    bank.date_back("u_1", "2026-10-31")
    assert bank.hold("u_2", 400, turn="t_1", visitor="v_1"), "yesterday's hold takes nothing of today"
    bank.book("u_1", 120, f"{DAY}T00:00:00.001Z")
    assert bank.money("2026-10-31") == bank.money("2026-10") == bank.money("2026-10-31", "v_1") == (120, 0)
    assert bank.money() == bank.money(visitor="v_1") == (0, 400)


@pytest.mark.parametrize(
    "day",
    ["2000-02-29", "2023-12-31", "2024-01-01", "2024-02-29", "2024-03-01", "2026-11-20", "2100-02-28", "2100-03-01"],
)
@one_engine
def test_the_scripts_know_the_calendar(store, day):
    part = dict(client._scripts())["hold"].partition("-- Hold money")[0]
    noon = int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    for second in (noon, noon - 43_200, noon + 43_199):
        assert store.do("EVAL", f"{part} return day_of({second})", 0).decode() == day


# -- money of the dead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ended", "erased", "taken over"])
def test_a_hold_that_nobody_will_settle_frees_itself_after_a_grace(bank, monkeypatch, how):
    bank.turn("t_1")
    bank.hold("u_1", 300, turn="t_1", visitor="v_1")
    assert bank.budgets.free(["fern"]) == 0
    assert bank.hold_of("u_1").until == 0, "its turn lives"
    if how == "erased":
        bank.store.do("DEL", keys.turn("fern", "t_1"))
    else:
        bank.turn("t_1", *((1, "running") if how == "taken over" else (0, "complete")))
    bank.budgets.free(["fern"])
    assert bank.money() == (0, 300), "its row may be on its way"
    assert bank.hold_of("u_1").until > 0
    assert bank.budgets.free(["fern"]) == 0, "the grace is not over"
    past = bank.store.do("HGET", keys.holds("fern"), "u_1").rpartition(b"|")[0] + b"|1"
    bank.store.do("HSET", keys.holds("fern"), "u_1", past)
    assert bank.budgets.free(["fern"]) == 1
    assert bank.money() == bank.money(visitor="v_1") == (0, 0)


def test_the_grace_and_the_lease_are_over_within_a_minute():
    sweep_s = 2 * BEAT_S * SWEEP_BEATS  # with room for a slow one
    assert LEASE_MS / 1000 + sweep_s + sweep_s + budgets_module.GRACE_MS / 1000 + sweep_s < 60


def test_background_work_that_died_gives_its_money_back(bank, monkeypatch):
    monkeypatch.setattr(budgets_module, "BACKGROUND_MS", 1)
    bank.hold("u_1", 300, background=True)
    gevent.sleep(0.01)
    assert bank.budgets.free(["fern"]) == 1
    assert bank.money() == (0, 0)


# -- any order of things -----------------------------------------------------------------------------------------------


CAPS = {"site_day": 1_000, "site_month": 1_500, "visitor_day": 600}


class Money(RuleBasedStateMachine):
    """Random interleavings of everything that moves money, against a book of who owes what for which day."""

    bank: Bank  # set by the test

    @initialize()
    def empty(self) -> None:
        self.bank.store.do("FLUSHALL")
        self.days = [self.bank.today()]
        self.turns: dict[str, tuple[str, int, bool]] = {}  # visitor, epoch, running
        self.held: dict[str, tuple[int, str, str, str, int]] = {}  # call -> amount, turn, day, visitor, epoch
        self.rows: dict[str, tuple[int, bool, str, str]] = {}  # call -> cost, whether lost, day, visitor
        self.dying: set[str] = set()
        self.erased: set[str] = set()
        self.number = count(1)

    def call_of(self, data: st.DataObject, calls: object) -> str:
        return data.draw(st.sampled_from(sorted(calls)))

    @rule(visitor=st.sampled_from(["v_1", "v_2", "v_3"]))
    def begin(self, visitor: str) -> None:
        if visitor not in self.erased and len(self.turns) < 8:
            turn = self.bank.turn(f"t_{next(self.number)}")
            self.turns[turn] = (visitor, 0, True)

    def running(self) -> list[str]:
        return [turn for turn, (_, _, running) in self.turns.items() if running]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), amount=st.integers(0, 400), background=st.booleans())
    def hold(self, data: st.DataObject, amount: int, background: bool) -> None:
        turn = self.call_of(data, self.running())
        visitor, epoch, _ = self.turns[turn]
        call = f"u_{next(self.number)}"
        day = self.bank.today()
        share = 0.9 if background else 1.0
        fits = all(self.sum(scope, day, visitor) + amount <= cap * share for scope, cap in CAPS.items())
        more = {"turn": turn, "epoch": epoch, "visitor": visitor, "background": background}
        assert self.bank.hold(call, amount, **more) == fits
        if fits:
            self.held[call] = (amount, turn, day, visitor, epoch)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def midnight(self, data: st.DataObject) -> None:
        """A hold turns out to be of another day, whose budgets are others."""
        call = self.call_of(data, self.live())
        amount, turn, _, visitor, epoch = self.held[call]
        if visitor not in self.erased:
            day = data.draw(st.sampled_from(["2024-02-29", "2024-03-01"]))
            if all(self.sum(scope, day, visitor) + amount <= cap for scope, cap in CAPS.items()):
                self.bank.date_back(call, day)
                self.held[call] = (amount, turn, day, visitor, epoch)

    def live(self) -> list[str]:
        """Calls that hold something and have not been booked."""
        return [call for call in self.held if call not in self.rows]

    @precondition(lambda self: self.live())
    @rule(data=st.data(), estimated=st.booleans())
    def settle(self, data: st.DataObject, estimated: bool) -> None:
        call = self.call_of(data, self.live())
        amount, _, day, visitor, _ = self.held.pop(call)
        cost = data.draw(st.integers(0, amount))
        self.bank.book(call, cost, f"{day}T01:00:00.000Z", estimated=estimated)
        self.rows[call] = (cost, False, day, visitor)
        self.dying.discard(call)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), booked=st.booleans())
    def crash(self, data: st.DataObject, booked: bool) -> None:
        """A worker dies; another takes its turn over, and reckons what its calls have cost, where it knows of them."""
        turn = self.call_of(data, self.running())
        visitor, epoch, _ = self.turns[turn]
        self.turns[turn] = (visitor, epoch + 1, True)
        self.bank.turn(turn, epoch + 1)
        for call in [call for call in self.live() if self.held[call][1] == turn and booked]:
            amount, _, day, _, of = self.held[call]
            cost = data.draw(st.integers(0, amount))
            self.bank.book(call, cost, f"{day}T01:00:00.000Z", **lost())
            self.rows[call] = (cost, True, day, visitor)
            if amount > cost:
                self.held[call] = (amount - cost, turn, day, visitor, of)
            else:
                del self.held[call]

    def reckoned(self) -> list[str]:
        return [call for call, (_, was_lost, _, _) in self.rows.items() if was_lost and call in self.held]

    @precondition(lambda self: self.reckoned())
    @rule(data=st.data())
    def late_row(self, data: st.DataObject) -> None:
        """What the dead worker had written itself comes after all."""
        call = self.call_of(data, self.reckoned())
        left, _, day, visitor, _ = self.held.pop(call)
        cost = data.draw(st.integers(0, self.rows[call][0] + left))
        self.bank.book(call, cost, f"{day}T01:00:00.000Z")
        self.rows[call] = (cost, False, day, visitor)
        self.dying.discard(call)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), cost=st.integers(0, 400))
    def row_again(self, data: st.DataObject, cost: int) -> None:
        """A row that nobody believes any more."""
        call = self.call_of(data, self.rows)
        self.bank.book(call, cost, f"{self.rows[call][2]}T01:00:00.000Z", **lost())

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        turn = self.call_of(data, self.running())
        visitor, epoch, _ = self.turns[turn]
        self.turns[turn] = (visitor, epoch, False)
        self.bank.turn(turn, epoch, "complete")

    @rule(visitor=st.sampled_from(["v_1", "v_2"]))
    def erase(self, visitor: str) -> None:
        self.erased.add(visitor)
        self.bank.store.do("DEL", keys.visitor_purse("fern", visitor))
        for turn, (of, epoch, _) in self.turns.items():
            if of == visitor:
                self.bank.store.do("DEL", keys.turn("fern", turn))
                self.turns[turn] = (of, epoch, False)

    @rule(waited=st.booleans())
    def sweep(self, waited: bool) -> None:
        """Once to see who is dead, and, when the grace is over, once more to bury them."""
        orphans = {call for call, (_, turn, _, _, epoch) in self.held.items() if self.turns[turn][1:] != (epoch, True)}
        if waited:
            for call in self.dying & set(self.held):
                text = self.bank.store.do("HGET", keys.holds("fern"), call)
                self.bank.store.do("HSET", keys.holds("fern"), call, text.rpartition(b"|")[0] + b"|1")
        freed = self.bank.budgets.free(["fern"])
        buried = self.dying & set(self.held) if waited else set()
        assert freed == len(buried)
        self.held = {call: hold for call, hold in self.held.items() if call not in buried}
        self.dying = orphans - buried
        self.rows = {call: (c, was and call in self.held, d, v) for call, (c, was, d, v) in self.rows.items()}

    def parts(self, scope: str, day: str, visitor: str) -> tuple[int, int]:
        """Spent and held in a scope, by the book."""

        def counts(its_day: str, its_visitor: str) -> bool:
            if scope == "visitor_day":
                return its_day == day and its_visitor == visitor and visitor not in self.erased
            return its_day == day if scope == "site_day" else its_day[:7] == day[:7]

        spent = sum(cost for cost, _, its_day, whose in self.rows.values() if counts(its_day, whose))
        held = sum(amount for amount, _, its_day, whose, _ in self.held.values() if counts(its_day, whose))
        return spent, held

    def sum(self, scope: str, day: str, visitor: str) -> int:
        return sum(self.parts(scope, day, visitor))

    @invariant()
    def every_purse_is_as_the_book_says_and_within_its_budget(self) -> None:
        if not hasattr(self, "rows"):
            return
        for day in {self.bank.today(), "2024-02-29", "2024-03-01"}:
            for visitor in ("v_1", "v_2", "v_3"):
                for scope, cap in CAPS.items():
                    whose = visitor if scope == "visitor_day" else ""
                    name = day[:7] if scope == "site_month" else day
                    spent, held = self.bank.money(name, whose)
                    assert (spent, held) == self.parts(scope, day, visitor), (scope, day, visitor)
                    assert spent <= spent + held <= cap

    @invariant()
    def the_ledger_is_what_was_spent(self) -> None:
        if hasattr(self, "rows"):
            assert self.bank.total() == sum(cost for cost, *_ in self.rows.values())

    def teardown(self) -> None:
        """When all have ended and every grace is over, nothing is held."""
        if not hasattr(self, "rows"):
            return
        for turn in self.running():
            self.bank.turn(turn, self.turns[turn][1], "complete")
            self.turns[turn] = (*self.turns[turn][:2], False)
        self.sweep(waited=False)
        self.sweep(waited=True)
        purse = self.bank.store.do("HGETALL", keys.purse("fern"))
        assert not [field for field, amount in purse.items() if field.endswith(b":held") and amount != b"0"]
        assert not self.bank.store.do("EXISTS", keys.holds("fern"))


@one_engine
def test_no_order_of_things_spends_more_than_a_budget(bank_with):
    bank = bank_with(day=CAPS["site_day"], month=CAPS["site_month"], visitor_day=CAPS["visitor_day"])
    machine = type("Tried", (Money,), {"bank": bank})
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    run_state_machine_as_test(
        machine, settings=effort(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=quiet)
    )


# -- in the house ------------------------------------------------------------------------------------------------------

BUDGET_WORDS = "Fern is done for today."
OPEN = Rates(VisitorLimits(1_000, 1_000), IpLimits(100_000), SiteLimits(100_000, 1_000))
RATES = {  # nano-dollars a token: input, written for 5 minutes, for an hour, read, output
    "claude-sonnet-5-5": (2_000, 2_500, 4_000, 100, 10_000),
    "claude-haiku-5-5": (100, 125, 200, 10, 500),
}


def brand(limits: Limits, **more: object) -> object:
    words = {**FERN.fallbacks, "budget_exhausted": BUDGET_WORDS}
    return replace(FERN, limits=OPEN, budgets=limits, fallbacks=words, **more)


@pytest.fixture
def house(settings, store) -> Iterator[House]:
    with House(settings, store.url, sites=[brand(Limits())]) as house:
        yield house


def worst(house: House, text: str = "Do you gift-wrap?", *, soft: bool = False) -> int:
    """What a first message holds."""
    message = {"text": text, "page": None}
    return house.services.questions.most(house.services.sites.get("fern"), message, time.time(), soft=soft)


def give(house: House, **limits: int) -> None:
    house.services.sites.apply([brand(Limits(**limits))])


def money(house: House, visitor: str = "") -> tuple[int, int]:
    """Spent and held today, once everything that has ended is booked."""
    house.services.ledger.flush()
    periods = house.services.budgets.show(house.services.sites.get("fern"), visitor)
    period = periods[-1] if visitor else periods[0]
    return period.spent, period.held


def billed(usage: dict, model: str) -> int:
    """What a call has cost by the upstream's own count."""
    plain, short, hour, read, output = RATES[model]
    written = usage["cache_creation"]
    return (
        usage["input_tokens"] * plain
        + written["ephemeral_5m_input_tokens"] * short
        + written["ephemeral_1h_input_tokens"] * hour
        + usage["cache_read_input_tokens"] * read
        + usage["output_tokens"] * output
    )


def bill(demo: Demo) -> int:
    return sum(billed(call.usage, call.body["model"]) for call in demo.calls if call.usage)


WATCHED = """
local function act() {script}
end
local reply = act()
for _, purse in ipairs(redis.call("KEYS", "*}}:purse")) do
  local fields = redis.call("HGETALL", purse)
  local spent, held = {{}}, {{}}
  for i = 1, #fields, 2 do
    local day, kind = string.match(fields[i], "^(%d+%-%d+%-%d+):(%a+)$")
    if kind == "spent" then spent[day] = tonumber(fields[i + 1]) end
    if kind == "held" then held[day] = tonumber(fields[i + 1]) end
    if day then
      local sum = (spent[day] or 0) + (held[day] or 0)
      local most = tonumber(redis.call("HGET", "watch", day) or 0)
      if sum > most then redis.call("HSET", "watch", day, string.format("%.0f", sum)) end
    end
  end
end
redis.call("HINCRBY", "watch", "looks", 1)
return reply
"""


@pytest.fixture
def watch(monkeypatch) -> None:
    """Looks into the purse at the end of every script that moves money, within the same atomic step."""
    scripts = dict(client._scripts())
    watched = {name: WATCHED.format(script=text) if "uses purse" in text else text for name, text in scripts.items()}
    monkeypatch.setattr(client, "_scripts", lambda: iter(watched.items()))


@one_engine
def test_two_hundred_visitors_at_once_spend_no_more_than_there_is(settings, watch, store):
    with House(settings, store.url, sites=[brand(Limits())], upstream=Demo(pace_s=0.002, remember=1000)) as house:
        budget = 40 * worst(house)
        give(house, day=budget)
        visitors = [house.visitor() for _ in range(200)]
        gates = [gevent.spawn(lambda visitor=visitor: finish(visitor.send())) for visitor in visitors]
        gevent.joinall(gates, timeout=60)
        ends = [gate.get() for gate in gates]
        answered = [end for end in ends if isinstance(end, Stream)]
        refused = [end for end in ends if isinstance(end, Reply)]
        assert len(answered) >= 40
        assert {stream.end.data["state"] for stream in answered} == {"complete"}
        for reply in refused:
            assert (reply.status, reply.code, reply.json["limit"]) == (402, "budget_exhausted", "site_day")
            assert reply.json["detail"] == BUDGET_WORDS
        spent, held = money(house)
        seen = {name.decode(): int(value) for name, value in store.do("HGETALL", "watch").items()}
        assert seen.pop("looks") >= 200
        assert 0 < max(seen.values()) <= budget
        assert (spent, held) == (sum(row["cost_nano_usd"] for row in house.rows()), 0)
        assert spent == bill(house.demo)


def finish(sent: Stream | Reply) -> Stream | Reply:
    if isinstance(sent, Stream):
        sent.all()
    return sent


@one_engine
def test_when_money_is_held_no_more_are_let_in_than_it_pays_for(house):
    """With no cheaper answer to fall back to, what is let in at once is what can be paid for in the worst case."""
    site = brand(Limits(), model=Wish(tier="cheap", max_tokens=256))
    house.services.sites.apply([site])
    house.services.sites.apply([replace(site, budgets=Limits(day=5 * worst(house)))])
    house.demo.script.add(text="word " * 200, pace_s=0.01, times=None)
    sent = [house.visitor().send() for _ in range(8)]
    refused = [reply for reply in sent if isinstance(reply, Reply)]
    assert len(refused) == 3
    assert {reply.code for reply in refused} == {"budget_exhausted"}
    assert {reply.headers["Retry-After"] for reply in refused} == {"30"}, "the money is only held, and soon free"
    for stream in sent[:5]:
        stream.close()
        assert isinstance(stream, Stream)


@pytest.mark.parametrize(
    ("limits", "scope"),
    [
        ({"day": 1}, "site_day"),
        ({"month": 1}, "site_month"),
        ({"visitor_day": 1}, "visitor_day"),
        ({"day": 0}, "site_day"),
    ],
)
@one_engine
def test_a_spent_budget_refuses_in_the_brands_words_and_takes_nothing(house, limits, scope):
    give(house, **limits)
    ann = house.visitor()
    reply = ann.send()
    assert (reply.status, reply.code, reply.json["limit"]) == (402, "budget_exhausted", scope)
    assert reply.json["detail"] == BUDGET_WORDS
    assert '"visitor_day";r=1000' in reply.headers["RateLimit"]
    assert ann.messages() == []
    assert money(house) == (0, 0)
    assert len(house.demo.calls) == 0
    now = datetime.now(UTC)
    midnight = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    wait = int(reply.headers["Retry-After"])
    if scope == "site_month":
        assert (datetime.fromtimestamp(now.timestamp() + wait + 1, UTC)).day == 1
        assert wait >= midnight - 5
    else:
        assert abs(wait - midnight) <= 5
    counted = f'parlance_budget_refused_total{{scope="{scope}",site="fern"}} 1.0'
    assert counted in house.services.metrics.render().decode()


@one_engine
def test_the_months_budget_outlasts_its_days(house, store):
    give(house, month=10 * worst(house))
    month = datetime.now(UTC).strftime("%Y-%m")
    house.services.ledger.record(a_row("u_1", 10 * worst(house), f"{month}-01T00:00:00.000Z"))
    house.services.ledger.flush()
    assert house.visitor().send().json["limit"] == "site_month"


@one_engine
def test_answers_become_cheap_and_short_before_they_become_none(house):
    give(house, day=10 * worst(house))
    ann = house.visitor()
    ann.ask().all()
    today = datetime.now(UTC).date().isoformat()
    house.services.ledger.record(a_row("u_1", 8 * worst(house), f"{today}T00:00:00.000Z"))
    house.services.ledger.flush()
    ann.ask().all()
    full, soft = (call.body for call in house.demo.calls)
    assert (full["model"], full["max_tokens"]) == ("claude-sonnet-5-5", 1024)
    assert (soft["model"], soft["max_tokens"]) == ("claude-haiku-5-5", 512)
    assert full["system"] == soft["system"], "the voice is the same"


@one_engine
def test_a_retry_that_cannot_be_paid_for_is_not_made_and_what_was_said_is_kept(house, monkeypatch):
    monkeypatch.setattr("parlance.ledger.GATHER_S", 5.0)  # the first call's hold is still there when the next is wanted
    give(house, day=worst(house) + 1)
    house.demo.script.add(text="one two three", after=2, cut="close")
    stream = house.visitor().ask()
    assert (stream.end.name, stream.end.data["state"], stream.text) == ("done", "interrupted", "one two")
    assert len(house.demo.calls) == 1
    assert money(house)[1] == 0


@one_engine
def test_where_nothing_was_said_the_visitor_reads_the_brands_words(house, monkeypatch):
    monkeypatch.setattr("parlance.ledger.GATHER_S", 5.0)
    give(house, day=worst(house) + 1)
    house.demo.script.add(status=529)
    end = house.visitor().ask().end
    assert (end.name, end.data["code"], end.data["detail"]) == ("error", "unavailable", BUDGET_WORDS)
    assert end.data["retry"] is False
    assert len(house.demo.calls) == 1
    assert money(house) == (0, 0)


@one_engine
def test_where_the_first_choice_cannot_be_paid_for_again_a_cheaper_model_is_asked(house, monkeypatch):
    monkeypatch.setattr("parlance.ledger.GATHER_S", 5.0)
    give(house, day=worst(house) + worst(house, soft=True) * 2)
    house.demo.script.add(status=529)
    assert house.visitor().ask().end.data["state"] == "complete"
    assert [call.body["model"] for call in house.demo.calls] == ["claude-sonnet-5-5", "claude-haiku-5-5"]


@one_engine
def test_a_prompt_that_turns_out_larger_than_foreseen_holds_more_before_it_is_sent(house, monkeypatch):
    monkeypatch.setattr(type(house.services.questions), "most", lambda self, *given, **more: 10)
    give(house, day=11)
    end = house.visitor().ask().end
    assert (end.data["code"], end.data["detail"]) == ("unavailable", BUDGET_WORDS)
    assert len(house.demo.calls) == 0
    give(house, day=10**9)
    assert house.visitor().ask().end.data["state"] == "complete"


@one_engine
def test_a_model_without_a_price_is_not_asked(house, monkeypatch):
    def none(self, day, whole_input):
        raise UnknownPrice("no price today")

    with monkeypatch.context() as patch:
        patch.setattr(Model, "price", none)
        ann = house.visitor()
        reply = ann.send()
        assert (reply.status, reply.code) == (503, "unavailable")
    assert ann.messages() == []
    assert (len(house.demo.calls), money(house)) == (0, (0, 0))


@one_engine
def test_what_a_visitor_costs_is_theirs(house):
    give(house, visitor_day=10**9)
    ann, bob = house.visitor(), house.visitor()
    ann.ask().all()
    spent = bill(house.demo)
    assert money(house, ann.id) == (spent, 0)
    assert money(house, bob.id) == (0, 0)
    ann.call("DELETE", "/v1/visitor")
    assert money(house, ann.id) == (0, 0)
    assert money(house) == (spent, 0), "what the site has spent it has spent"


@one_engine
def test_the_money_of_a_killed_worker_comes_back(settings, store, monkeypatch):
    """Its greenlets end without another step, as in a process that was killed; a second worker sweeps up."""
    monkeypatch.setattr(budgets_module, "GRACE_MS", 500)
    sites = [brand(Limits())]
    with House(settings, store.url, sites=sites) as house, House(settings, store.url, sites=sites, upstream=house.demo):
        give(house, day=50 * worst(house))
        house.demo.script.add(text="word " * 3_000, pace_s=0.01)
        stream = house.visitor().ask()
        stream.until("text", 3)
        held = worst(house)
        assert money(house)[1] == held
        kill(house)
        until(lambda: money(house)[0] > 0, 15)
        until(lambda: money(house)[1] == 0, 15)
        assert money(house)[0] == sum(row["cost_nano_usd"] for row in house.rows())
        assert {row["error_class"] for row in house.rows()} == {"worker_lost", ""}
        assert money(house)[0] < held


def kill(house: House) -> None:
    house.services.runner.stop()
    house.services.journal.stop()
    answers = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
    mine = [each for each in answers if getattr(each._run, "__self__", None) is house.services.runner]
    assert mine, "nothing to kill"
    gevent.killall(mine)


def test_in_a_cluster_too(settings, cluster_store):
    with House(settings, cluster_store.url, sites=[brand(Limits())]) as house:
        give(house, day=3 * worst(house), month=10**12, visitor_day=10**12)
        ann = house.visitor()
        house.demo.script.add(status=529)
        assert ann.ask().end.data["state"] == "complete"
        assert money(house) == (bill(house.demo), 0) == money(house, ann.id)
        today = datetime.now(UTC).date().isoformat()
        house.services.ledger.record(a_row("u_1", 3 * worst(house), f"{today}T00:00:00.000Z"))
        house.services.ledger.flush()
        assert ann.send().code == "budget_exhausted"
        assert house.services.budgets.free(["fern", "moss"]) == 0


@one_engine
def test_ledger_budgets_and_the_upstreams_own_count_agree(settings, store):
    """A few hundred turns: cached and not, retried, on the fallback model, broken off, cancelled, refused."""
    chance = random.Random(7)
    faults = (
        {},
        {},
        {"status": 529},
        {"status": 529, "times": 3, "model": "claude-sonnet-5-5"},
        {"status": 400},
        {"stop_reason": "refusal"},
        {"stop_reason": "max_tokens"},
        {"text": "word " * 300, "pace_s": 0.002},
    )
    with House(settings, store.url, sites=[brand(Limits())], upstream=Demo(pace_s=0.0, remember=5_000)) as house:
        give(house, day=10**12, visitor_day=10**12)
        visitors = [house.visitor() for _ in range(12)]

        def talk(visitor: object, fault: dict) -> int:
            """One turn; what the upstream could not tell any more is what was said of it, in thirds of letters."""
            text = f"Do you gift-wrap? {ids.message()}"
            if fault:
                house.demo.script.add(**{"when": text, **fault})
            stream = visitor.ask(text)
            if "pace_s" in fault:
                stream.until("text", 2)
                visitor.call("POST", f"/v1/turns/{stream.turn}/cancel")
            end = stream.end
            if end.data.get("state") != "cancelled":
                return 0
            (cut,) = (call for call in house.demo.calls if text in str(call.body["messages"][-1]))
            return unheard(cut, len(end.data["text"]))

        off = 0
        for _ in range(25):
            turns = [gevent.spawn(talk, visitor, chance.choice(faults)) for visitor in visitors]
            off += sum(turn.get(timeout=30) for turn in gevent.joinall(turns))
        rows = house.rows()
        assert len(rows) > 300
        assert {"cancelled", "overloaded", ""} <= {row["error_class"] for row in rows}
        assert {row["model"] for row in rows} == set(RATES)
        ledger = sum(row["cost_nano_usd"] for row in rows)
        assert money(house) == (ledger, 0)
        assert ledger == bill(house.demo) - off
        assert sum(money(house, visitor.id)[0] for visitor in visitors) == ledger


def unheard(call: object, letters: int) -> int:
    """What of a dropped call's planned output was not said."""
    said = max(1, letters // 3)
    return (call.usage["output_tokens"] - said) * RATES[call.body["model"]][-1]


# -- the command -------------------------------------------------------------------------------------------------------


@one_engine
def test_the_command_shows_how_the_budgets_stand(house):
    give(house, day=5 * 10**9, visitor_day=10**9)
    ann = house.visitor()
    ann.ask().all()
    spent, _ = money(house)
    run = house.app.test_cli_runner().invoke
    lines = run(args=["budgets", "show", "fern", "--visitor", ann.id]).output.splitlines()
    shown = f"0.{spent // 1000:06}"
    today = datetime.now(UTC).date().isoformat()
    assert [line.split() for line in lines[:4]] == [
        ["budget", "period", "spent", "held", "limit", "used"],
        ["site_day", today, shown, "0.000000", "5.000000", "0", "%"],
        ["site_month", today[:7], shown, "0.000000", "none"],
        ["visitor_day", today, shown, "0.000000", "1.000000", "0", "%"],
    ]
    assert lines[4].startswith("An answer holds up to 0.0")
    gone = run(args=["budgets", "show", "nobody"])
    assert (gone.exit_code, "flask sites list" in gone.output) == (1, True)
