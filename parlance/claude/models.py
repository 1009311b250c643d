"""Which models there are, what they take, and what a call costs: `models.toml`, checked once at start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any

from parlance.errors import ParlanceError


class UnknownPrice(ParlanceError):
    """A model that has no price today. Never treated as free."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `input` is the part that no cache held; the whole input is the sum of the first four."""

    input: int = 0
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0
    output: int = 0

    @property
    def whole_input(self) -> int:
        return self.input + self.write_5m + self.write_1h + self.read


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars a token, from a date on, for requests of at most `up_to` input tokens (None: any)."""

    since: date
    up_to: int | None
    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int

    def cost(self, usage: Usage) -> int:
        return (
            usage.input * self.input
            + usage.write_5m * self.write_5m
            + usage.write_1h * self.write_1h
            + usage.read * self.read
            + usage.output * self.output
        )


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """`request` holds the parameters that go with every request; all counts are tokens."""

    id: str
    context: int
    max_output: int
    cache_minimum: int
    headroom: int
    request: Mapping[str, Any]
    prices: tuple[Price, ...]

    def price(self, day: date, whole_input: int) -> Price:
        """The price of a request on a day. Raises UnknownPrice."""
        since = max((price.since for price in self.prices if price.since <= day), default=None)
        for price in self.prices:
            if price.since == since and (price.up_to is None or whole_input <= price.up_to):
                return price
        raise UnknownPrice(f"models.toml has no price of {self.id} for {whole_input} input tokens on {day}")

    def cost(self, usage: Usage, at: float) -> int:
        """Nano-dollars of a call made at `at` (seconds since the epoch). Raises UnknownPrice."""
        return self.price(datetime.fromtimestamp(at, UTC).date(), usage.whole_input).cost(usage)


class Catalogue:
    """The models and tiers of a `models.toml`."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.tiers: Mapping[str, str] = dict(data["tiers"])
        self.models = {name: _model(name, spec) for name, spec in data["models"].items()}
        for tier, name in self.tiers.items():
            if name not in self.models:
                raise UnknownPrice(f"models.toml maps the tier {tier} to {name}, of which it knows no price")

    def knows(self, name: str) -> bool:
        """Whether `name` is a tier or a model id that has a price."""
        return name in self.tiers or name in self.models

    def find(self, name: str) -> Model:
        """The model of a tier or id. Raises UnknownPrice for what the file does not hold."""
        model = self.models.get(self.tiers.get(name, name))
        if model is None:
            raise UnknownPrice(f"models.toml has no tier and no model {name}")
        return model

    def choose(self, first: str, fallback: Sequence[str]) -> list[Model]:
        """The models to ask, in order, each once."""
        return list(dict.fromkeys(self.find(name) for name in (first, *fallback)))

    def unpriced(self, at: float) -> list[str]:
        """The models that a tier leads to and that have no price at `at`."""
        day = datetime.fromtimestamp(at, UTC).date()
        return [name for name in self.tiers.values() if not any(p.since <= day for p in self.models[name].prices)]


def load() -> Catalogue:
    text = resources.files("parlance.claude").joinpath("models.toml").read_text("utf-8")
    return Catalogue(tomllib.loads(text))


def _model(name: str, spec: Mapping[str, Any]) -> Model:
    prices = tuple(
        Price(
            since=row["from"],
            up_to=row.get("up_to"),
            **{kind: int(row[kind]) for kind in ("input", "output", "write_5m", "write_1h", "read")},
        )
        for row in spec["prices"]
    )
    return Model(
        id=name,
        context=spec["context"],
        max_output=spec["max_output"],
        cache_minimum=spec["cache_minimum"],
        headroom=spec["headroom"],
        request=spec["request"],
        prices=prices,
    )
