"""What visitors leave for the people behind a site: messages (leads), and wishes for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parlance.store import keys
from parlance.store.client import Store

Entry = dict[str, Any]


class Inbox:
    """One kind of thing left. `place(site)` is its key: a hash of `<visitor>:<id>` to an entry as JSON. Every entry has
    `at` (RFC 3339 UTC). Every method may raise StoreUnavailable."""

    def __init__(self, store: Store, place: Callable[[str], str]) -> None:
        self._store = store
        self._place = place

    def keep(self, site: str, visitor: str, id: str, entry: Mapping[str, Any]) -> bool:
        """Keep an entry; the same id again replaces it. False where the visitor has been erased meanwhile.

        Looking after writing closes the gap: `erase` is called when the visitor's record is gone, so it finds whatever
        was written before, and whoever writes later sees that the record is gone.
        """
        place, name = self._place(site), f"{visitor}:{id}"
        _, there = self._store.many(
            [
                ("HSET", place, name, json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace")),
                ("EXISTS", keys.visitor(site, visitor)),
            ]
        )
        if not there:
            self._store.do("HDEL", place, name)
        return bool(there)

    def entries(self, site: str, since: str = "") -> list[Entry]:
        """What was left from `since` (RFC 3339 or a date) on, oldest first."""
        found = (json.loads(text) for text in self._scan(site).values())
        return sorted((entry for entry in found if entry["at"] >= since), key=lambda entry: str(entry["at"]))

    def erase(self, site: str, visitor: str) -> int:
        """Remove what a visitor left; how many that were. To be called when the visitor's record is gone."""
        return self._remove(site, self._scan(site, f"{visitor}:*"))

    def forget(self, site: str, before: str) -> int:
        """Remove what was left before a time or day; how many that were."""
        return self._remove(site, (name for name, text in self._scan(site).items() if json.loads(text)["at"] < before))

    def _remove(self, site: str, names: Iterator[bytes] | Mapping[bytes, bytes]) -> int:
        gone = list(names)
        return int(self._store.do("HDEL", self._place(site), *gone)) if gone else 0

    def _scan(self, site: str, pattern: str = "*") -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        cursor: Any = None
        while cursor is None or int(cursor):
            place = self._place(site)
            cursor, part = self._store.do("HSCAN", place, int(cursor or 0), "MATCH", pattern, "COUNT", 1000)
            found |= part
        return found
