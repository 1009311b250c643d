"""The sites in the store: published, counted, kept in memory, and served when the store is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from parlance.errors import SiteFileError, SiteNotFound, StoreUnavailable
from parlance.site import Model, Passage, Site, Voice
from parlance.sites.library import ABSENT, FRESH_S, Library
from parlance.sites.rules import Rules
from parlance.store import keys
from parlance.store.client import Store

FERN = Site(key="fern", name="Fern", origins=("https://fern.example",), knowledge=(Passage("A", "é\n📚\u2028"),))
MOSS = Site(key="moss", name="Moss", origins=("https://*.moss.example",))


class Watched:
    """A store that counts its commands, and can be cut off."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[str] = []
        self.away = False

    def do(self, *command: Any) -> Any:
        return self._noted(command[0], lambda: self._store.do(*command))

    def many(self, commands: Any) -> Any:
        return self._noted("many", lambda: self._store.many(commands))

    def run(self, script: str, keys: Any, args: Any) -> Any:
        return self._noted(script, lambda: self._store.run(script, keys, args))

    def _noted(self, name: str, act: Callable[[], Any]) -> Any:
        if self.away:
            raise StoreUnavailable("cut off")
        self.asked.append(name)
        return act()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched(store: Store) -> Watched:
    return Watched(store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def library(watched: Watched, clock: Clock) -> Library:
    return Library(watched, clock=clock)  # type: ignore[arg-type]


@pytest.fixture
def other(store: Store) -> Library:
    """Another worker's."""
    return Library(store)


def test_it_gives_what_was_published(library: Library, other: Library) -> None:
    assert library.apply([FERN, MOSS], "first") == [replace(FERN, version=1), replace(MOSS, version=1)]
    assert other.get("fern") == replace(FERN, version=1)
    assert other.keys() == ["fern", "moss"]
    assert other.all() == [replace(FERN, version=1), replace(MOSS, version=1)]


def test_it_counts_changes_only(library: Library) -> None:
    library.apply([FERN])
    assert library.apply([FERN])[0].version == 1
    assert library.apply([replace(FERN, name="Fern & Fable")])[0].version == 2
    assert library.apply([replace(FERN, version=9)])[0].version == 3
    assert [version.number for version in library.versions("fern")] == [3, 2, 1]


def test_it_keeps_the_history(library: Library) -> None:
    changed = replace(FERN, voice=Voice(persona="You are Fern."))
    library.apply([FERN], "opening / öffnen")
    library.apply([changed], "a voice")
    newest, first = library.versions("fern")
    assert (newest.message, first.message) == ("a voice", "opening / öffnen")
    assert newest.at >= first.at > 1_700_000_000
    assert library.version("fern", 1) == replace(FERN, version=1)
    assert library.version("fern", 2) == replace(changed, version=2)


def test_it_has_no_version_that_was_not_published(library: Library) -> None:
    library.apply([FERN])
    assert library.versions("moss") == []
    with pytest.raises(SiteNotFound, match="no version 2"):
        library.version("fern", 2)


def test_it_applies_all_or_nothing(watched: Watched) -> None:
    library = Library(watched, Rules(models={"standard": 100_000, "cheap": 100_000}.get))  # type: ignore[arg-type]
    bad = replace(MOSS, model=Model(tier="gpt"))
    with pytest.raises(SiteFileError, match=r"moss:1: model\.tier: there is no priced model `gpt`"):
        library.apply([FERN, bad])
    assert watched.asked == []


def test_it_asks_the_store_once_while_a_site_is_fresh(library: Library, other: Library, watched: Watched) -> None:
    other.apply([FERN])
    assert [library.get("fern") for _ in range(3)] == [replace(FERN, version=1)] * 3
    assert watched.asked == ["HMGET"]


def test_it_asks_for_the_version_alone_when_a_site_is_stale(
    library: Library, other: Library, watched: Watched, clock: Clock
) -> None:
    other.apply([FERN])
    first = library.get("fern")
    clock.now += FRESH_S
    assert library.get("fern") is first
    assert library.get("fern") is first
    assert watched.asked == ["HMGET", "HGET"]


def test_it_sees_another_workers_publication_within_two_seconds(library: Library, other: Library, clock: Clock) -> None:
    other.apply([FERN])
    library.get("fern")
    other.apply([replace(FERN, name="New")])
    clock.now += FRESH_S - 0.001
    assert library.get("fern").name == "Fern"
    clock.now += 0.001
    assert (library.get("fern").name, library.get("fern").version) == ("New", 2)


def test_it_sees_its_own_publication_at_once(library: Library) -> None:
    with pytest.raises(SiteNotFound):
        library.get("fern")
    library.apply([FERN])
    assert library.get("fern").version == 1


def test_it_serves_what_it_knows_while_the_store_is_away(library: Library, watched: Watched, clock: Clock) -> None:
    library.apply([FERN])
    watched.away = True
    clock.now += 3600
    assert library.get("fern").name == "Fern"


def test_it_says_so_when_the_store_is_away_and_it_knows_nothing(library: Library, watched: Watched) -> None:
    watched.away = True
    with pytest.raises(StoreUnavailable):
        library.get("fern")
    with pytest.raises(StoreUnavailable):
        library.any_allows("https://fern.example")


def test_it_remembers_absence_for_two_seconds(library: Library, other: Library, watched: Watched, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(SiteNotFound):
            library.get("fern")
    assert watched.asked == ["HMGET"]
    other.apply([FERN])
    clock.now += FRESH_S
    assert library.get("fern").version == 1


def test_it_does_not_take_absence_for_granted_while_the_store_is_away(
    library: Library, watched: Watched, clock: Clock
) -> None:
    with pytest.raises(SiteNotFound):
        library.get("fern")
    watched.away = True
    clock.now += FRESH_S
    with pytest.raises(StoreUnavailable):
        library.get("fern")


def test_it_remembers_a_bounded_number_of_absent_keys(library: Library, watched: Watched) -> None:
    for number in range(ABSENT + 1):
        with pytest.raises(SiteNotFound):
            library.get(f"n{number}")
    watched.asked.clear()
    for key in ("n0", f"n{ABSENT}"):
        with pytest.raises(SiteNotFound):
            library.get(key)
    assert watched.asked == ["HMGET"]  # the oldest was forgotten, the newest was not


@pytest.mark.parametrize("key", ["", "Fern", "a b", "a}{b", "-a", "a" * 64, "ü", "fern\n", "a:b"])
def test_it_asks_nobody_about_what_can_be_no_key(library: Library, watched: Watched, key: str) -> None:
    with pytest.raises(SiteNotFound):
        library.get(key)
    assert watched.asked == []


def test_it_knows_whether_any_site_allows_an_origin(
    library: Library, other: Library, watched: Watched, clock: Clock
) -> None:
    other.apply([FERN, MOSS])
    assert library.any_allows("https://fern.example")
    assert library.any_allows("https://shop.moss.example")
    assert not library.any_allows("https://evil.example")
    assert watched.asked == ["HGETALL"]
    other.apply([replace(FERN, origins=("https://new.example",))])
    clock.now += FRESH_S
    assert library.any_allows("https://new.example")
    assert not library.any_allows("https://fern.example")
    watched.away = True
    clock.now += 3600
    assert library.any_allows("https://new.example")


def test_it_passes_over_a_name_whose_site_never_came(library: Library, store: Store) -> None:
    store.do("SADD", keys.sites(), "ghost")
    library.apply([FERN])
    assert [site.key for site in library.all()] == ["fern"]


def test_it_exports_what_is_stored_now(library: Library, other: Library) -> None:
    library.apply([FERN])
    other.apply([replace(FERN, name="New")])
    assert "name: New\n" in library.export("fern")
    with pytest.raises(SiteNotFound):
        library.export("moss")


def test_it_works_on_a_cluster(cluster_store: Store) -> None:
    library = Library(cluster_store)
    library.apply([FERN, MOSS])
    assert library.apply([replace(FERN, name="New"), MOSS]) == Library(cluster_store).all()
    assert [site.version for site in library.all()] == [2, 1]
    assert Library(cluster_store).any_allows("https://a.moss.example")
