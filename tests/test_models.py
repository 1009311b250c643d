"""Models: which there are, what they cost on which day, and that an unknown price is never nothing."""

from __future__ import annotations

import copy
import tomllib
from datetime import UTC, date, datetime
from importlib import resources

import pytest

from parlance.claude import models
from parlance.claude.models import Catalogue, UnknownPrice, Usage

DATA = tomllib.loads(resources.files("parlance.claude").joinpath("models.toml").read_text("utf-8"))


@pytest.fixture
def catalogue():
    return models.load()


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def changed(change) -> Catalogue:
    data = copy.deepcopy(DATA)
    change(data)
    return Catalogue(data)


def test_each_tier_leads_to_a_model_with_a_price_today(catalogue):
    assert set(catalogue.tiers) == {"reasoning", "standard", "cheap"}
    assert catalogue.unpriced(at("2026-11-20")) == []
    for model in catalogue.models.values():
        assert model.cost(Usage(1, 1, 1, 1, 1), at("2026-11-20")) > 0
        assert model.context > model.cache_minimum > 0
        assert model.max_output > 0


@pytest.mark.parametrize("kind", ["input", "write_5m", "write_1h", "read", "output"])
def test_each_kind_of_token_has_its_own_price(catalogue, kind):
    model = catalogue.find("standard")
    cost = model.cost(Usage(**{kind: 1000}), at("2026-11-20"))
    assert cost == 1000 * {"input": 2000, "write_5m": 2500, "write_1h": 4000, "read": 100, "output": 10_000}[kind]


def test_a_price_holds_from_its_day_on(catalogue):
    model, read = catalogue.find("claude-sonnet-5-5"), Usage(read=1)
    assert model.cost(read, at("2026-10-06T23:59:59")) == 200
    assert model.cost(read, at("2026-10-07T00:00:00")) == 100


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input=100_000), 100_000 * 100),
        (Usage(input=100_001), 100_001 * 500),
        (Usage(input=1, read=100_000), 500 + 100_000 * 50),
        (Usage(input=1, output=500_000), 100 + 500_000 * 500),
        (Usage(write_5m=60_000, write_1h=40_000), 60_000 * 125 + 40_000 * 200),
        (Usage(write_5m=60_000, write_1h=40_001), 60_000 * 625 + 40_001 * 1000),
    ],
)
def test_the_whole_input_decides_the_band_and_the_band_prices_all(catalogue, usage, cost):
    assert catalogue.find("cheap").cost(usage, at("2026-11-20")) == cost


def test_money_is_whole(catalogue):
    for model in catalogue.models.values():
        for price in model.prices:
            assert all(
                type(getattr(price, kind)) is int for kind in ("input", "output", "write_5m", "write_1h", "read")
            )


def test_an_unknown_model_has_no_price(catalogue):
    assert not catalogue.knows("claude-9")
    with pytest.raises(UnknownPrice):
        catalogue.find("claude-9")
    with pytest.raises(UnknownPrice):
        catalogue.choose("standard", ("claude-9",))


def test_a_model_has_no_price_before_its_first(catalogue):
    with pytest.raises(UnknownPrice):
        catalogue.find("standard").cost(Usage(input=1), at("2026-08-31"))
    assert set(catalogue.unpriced(at("2026-08-31"))) == set(catalogue.tiers.values())


def test_a_band_that_ends_leaves_what_is_beyond_it_without_a_price():
    def no_upper_band(data):
        data["models"]["claude-haiku-5-5"]["prices"] = data["models"]["claude-haiku-5-5"]["prices"][:1]

    cheap = changed(no_upper_band).find("cheap")
    assert cheap.cost(Usage(input=100_000), at("2026-11-20"))
    with pytest.raises(UnknownPrice):
        cheap.cost(Usage(input=100_001), at("2026-11-20"))


def test_a_tier_that_leads_nowhere_refuses_to_start():
    with pytest.raises(UnknownPrice, match="standard"):
        changed(lambda data: data["tiers"].update(standard="claude-9"))


def test_models_are_asked_in_order_and_each_once(catalogue):
    chosen = catalogue.choose("standard", ("claude-sonnet-5-5", "cheap", "cheap", "reasoning"))
    assert [model.id for model in chosen] == ["claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5"]


def test_prices_stand_from_a_date_on():
    for name, spec in DATA["models"].items():
        for row in spec["prices"]:
            assert isinstance(row["from"], date), name
