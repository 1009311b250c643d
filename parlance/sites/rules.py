"""What a site file is checked against that only other parts of the house know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from marshmallow.experimental.context import Context

from parlance.site import Site

TIERS = ("reasoning", "standard", "cheap")


@dataclass(frozen=True, slots=True)
class Rules:
    """Passed in by whoever builds the house; the defaults find nothing wrong.

    `models`: the most output tokens of a tier or of an exact model id; None if it does not exist or has no price.
    `volatile`: what is wrong with a text of the voice, None if nothing is (`voice.lint.refusal`).
    `warnings`: what a whole site had better not do, as (dotted path, message) (`voice.lint.warnings`).
    """

    models: Callable[[str], int | None] = lambda name: 1_000_000
    volatile: Callable[[str], str | None] = lambda text: None
    warnings: Callable[[Site], Iterable[tuple[str, str]]] = lambda site: ()


TRUSTING = Rules()


def rules() -> Rules:
    """The rules of the load under way; what comes out of the store was checked before it went in."""
    found: Rules = Context.get(TRUSTING)
    return found
