"""Secrets by reference: `${secret:NAME}` becomes a value for the length of one call, and the value never comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\{secret:([A-Z][A-Z0-9_]{0,63})\}")
_SHORTEST = 4  # masking anything shorter would make holes in ordinary words
MASK = "***"


class NoSecret(Exception):
    """A reference that nothing is kept under. The message is the name."""


class Secrets:
    """The secrets of one call. `lookup(name)` finds a value, or None."""

    def __init__(self, lookup: Callable[[str], str | None]) -> None:
        self._lookup = lookup
        self._known: set[str] = set()

    def fill(self, text: str) -> str:
        """A text with its references replaced. Raises NoSecret."""
        return _REFERENCE.sub(lambda found: self._value(found[1]), text)

    def fill_address(self, url: str) -> str:
        """As `fill`; in an address a value stands encoded, so that it cannot change what the address means."""
        return _REFERENCE.sub(lambda found: quote(self._value(found[1]), safe=""), url)

    def _value(self, name: str) -> str:
        value = self._lookup(name)
        if not value:
            raise NoSecret(name)
        self._known |= {value, quote(value, safe="")}
        return value

    def scrub(self, text: str) -> str:
        """A text without any value that this call has used."""
        for value in sorted(self._known, key=len, reverse=True):
            if len(value) >= _SHORTEST:
                text = text.replace(value, MASK)
        return text

    def scrub_all(self, value: Any) -> Any:
        """As `scrub`, of every text in a JSON value, names included."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, Mapping):
            return {self.scrub(name): self.scrub_all(inner) for name, inner in value.items()}
        return [self.scrub_all(inner) for inner in value] if isinstance(value, list) else value
