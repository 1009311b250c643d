"""Money: what is held, spent and given back, whatever happens in between; and that no budget is ever passed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count

import gevent
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from demo import Demo
from parlance import budgets as budgets_module
from parlance import ids
from parlance.budgets import OVERHEAD_TOKENS, Budgets, Hold, text_bytes, worst_case
from parlance.claude import models as claude_models
from parlance.claude.models import Model, Price, UnknownPrice, Usage
from parlance.errors import BudgetExhausted, Fenced
from parlance.ledger import Ledger, Row
from parlance.limits import Limits as Admission
from parlance.limits import Message
from parlance.site import Budgets as Limits
from parlance.site import IpLimits, SiteLimits
from parlance.site import Limits as Rates
from parlance.site import Model as Wish
from parlance.store import keys
from parlance.store.client import Store
from tests.house import FERN, House, Reply, Stream, until

one_engine = pytest.mark.parametrize("redis_url", ["valkey"], indirect=True, scope="session")

DAY, MONTH = "2026-11-20", "2026-11"
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


def test_it_reckons_with_the_price_of_the_day_that_is_about_to_begin():
    dearer = replace(GOLDEN, since=date(2026, 11, 21), input=9_000, write_5m=9_000)
    model = a_model(GOLDEN, dearer)
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    assert worst_case(model, 0, 0, midnight - 1) == 9_000 * OVERHEAD_TOKENS
    assert worst_case(model, 0, 0, midnight - 7_200) == 3_750 * OVERHEAD_TOKENS


def test_an_unknown_price_is_no_price():
    with pytest.raises(UnknownPrice):
        worst_case(a_model(), 100, 100, datetime(2024, 1, 1, tzinfo=UTC).timestamp())


def test_it_counts_the_bytes_of_every_text():
    asked = {"system": [{"text": "ä"}], "tools": None, "n": 12}
    assert text_bytes(asked) == len("systemtext") + 2 + len("tools") + len("None") + len("n") + 2


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
    bank.hold("u_1", 300)
    bank.book("u_1", 120, estimated=True)
    assert bank.money() == (120, 0)
    bank.book("u_1", 90)
    assert (bank.total(), bank.money(DAY)[0] + bank.money()[0] * (bank.today() != DAY)) == (90, 90)


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
    "day", ["2000-02-29", "2023-12-31", "2024-01-01", "2024-02-29", "2024-03-01", "2026-11-20", "2100-02-28", "2100-03-01"]
)
@one_engine
def test_the_scripts_know_the_calendar(store, day):
    from parlance.store.client import _scripts

    part = dict(_scripts())["hold"].partition("-- Hold money")[0]
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
    from parlance.limits import LEASE_MS
    from parlance.runner import BEAT_S, SWEEP_BEATS

    sweep_s = 2 * BEAT_S * SWEEP_BEATS  # with room for a slow one
    assert LEASE_MS / 1000 + sweep_s + sweep_s + budgets_module.GRACE_MS / 1000 + sweep_s < 60


def test_background_work_that_died_gives_its_money_back(bank, monkeypatch):
    monkeypatch.setattr(budgets_module, "BACKGROUND_MS", 1)
    bank.hold("u_1", 300, background=True)
    gevent.sleep(0.01)
    assert bank.budgets.free(["fern"]) == 1
    assert bank.money() == (0, 0)
