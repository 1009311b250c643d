"""The sites in the store. Reading is what every request does, so a worker keeps what it has read.

A kept site is asked after every `FRESH_S` seconds, by its version alone and beside the requests, as long as it is used.
When the store is out of reach it is served as it was last seen: an answer in yesterday's voice is better than none.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gevent

from parlance.errors import Mistake, SiteFileError, SiteNotFound, StoreUnavailable
from parlance.site import Site
from parlance.sites import form, origins, yamlfile
from parlance.sites.kinds import SITE_KEY
from parlance.sites.rules import TRUSTING, Rules
from parlance.store import keys
from parlance.store.client import Store

FRESH_S = 2.0
LATE_S = 4.0  # without news of a site for so long, a request asks for itself
USED_S = 60.0
ABSENT = 1000  # how many keys of no site are remembered; a visitor may ask for any


@dataclass(frozen=True, slots=True)
class Version:
    """One published version. `at` is seconds since 1970."""

    number: int
    at: int
    message: str


@dataclass(slots=True)
class _Kept:
    """What was last seen of a key: its site, or that it has none."""

    site: Site | None
    asked_at: float
    used_at: float


class Library:
    """All sites. `rules` is what new ones are checked against."""

    def __init__(self, store: Store, rules: Rules = TRUSTING, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._absent: dict[str, _Kept] = {}
        self._origins: tuple[list[str], ...] = ()
        self._origins_at = -FRESH_S
        self._refresher: gevent.Greenlet | None = None

    def get(self, key: str) -> Site:
        """The published site. Raises SiteNotFound; StoreUnavailable for a site not seen before the store went away."""
        if not SITE_KEY.fullmatch(key):
            raise SiteNotFound(f"{key[:80]!r} cannot be a site's key")
        kept, now = self._kept.get(key) or self._absent.get(key), self._clock()
        if kept is None or now - kept.asked_at >= (LATE_S if self._refresher else FRESH_S):
            kept = self._asked_again(key, kept)
        kept.used_at = now
        if kept.site is None:
            raise SiteNotFound(f"there is no site {key!r}")
        return kept.site

    def keys(self) -> list[str]:
        """The keys of all sites, in order."""
        return sorted(member.decode() for member in self._store.do("SMEMBERS", keys.sites()))

    def all(self) -> list[Site]:
        """Every site, by key."""
        found = self._store.many([("HMGET", keys.site(key), "version", "json") for key in self.keys()])
        return [form.from_json(text, int(version)) for version, text in found if text is not None]

    def any_allows(self, origin: str) -> bool:
        """Whether some site allows this origin: a preflight does not say which site it is about."""
        if self._clock() - self._origins_at >= FRESH_S:
            self._ask_for_origins()
        return any(origins.allows(entries, origin) for entries in self._origins)

    def read(self, paths: Iterable[str | Path]) -> yamlfile.Reading:
        """The sites in these files, by this house's rules; the store is not asked. Raises SiteFileError."""
        return yamlfile.read(paths, self._rules)

    def apply(self, sites: Sequence[Site], message: str = "") -> list[Site]:
        """Publishes these sites and gives them back with their versions; what is unchanged keeps its version.

        All are checked before the first is stored: SiteFileError names what is wrong, with the key in the file's place.
        """
        if mistakes := [mistake for site in sites for mistake in self._mistakes(site)]:
            raise SiteFileError(mistakes)
        if sites:
            self._list(sites)
        return [self._publish(site, message) for site in sites]

    def export(self, key: str) -> str:
        """The site file of a published site, as it is in the store now."""
        if (site := self._fetched(key)) is None:
            raise SiteNotFound(f"there is no site {key!r}")
        return yamlfile.write(site)

    def versions(self, key: str) -> list[Version]:
        """What was published of a site, newest first."""
        rows = self._store.do("HGETALL", keys.site_versions(key))
        found = [(int(number), json.loads(row)) for number, row in rows.items()]
        return [Version(number, row["at"], row["message"]) for number, row in sorted(found, key=lambda each: -each[0])]

    def version(self, key: str, number: int) -> Site:
        """A site as it was published once. Raises SiteNotFound."""
        row = self._store.do("HGET", keys.site_versions(key), number)
        if row is None:
            raise SiteNotFound(f"there is no version {number} of site {key!r}")
        return form.from_json(json.loads(row)["json"], number)

    def _ask_for_origins(self) -> None:
        try:
            listed = self._store.do("HGETALL", keys.origins())
        except StoreUnavailable:
            if not self._origins:
                raise
        else:
            self._origins, self._origins_at = tuple(json.loads(entries) for entries in listed.values()), self._clock()

    def refresh(self) -> None:
        """Ask after the sites in use, all at once. Raises StoreUnavailable."""
        now = self._clock()
        used = [key for key, kept in self._kept.items() if now - kept.used_at < USED_S]
        versions = self._store.many([("HGET", keys.site(key), "version") for key in used])
        for key, version in zip(used, versions, strict=True):
            kept = self._kept[key]
            if kept.site and version is not None and int(version) == kept.site.version:
                kept.asked_at = now
            else:
                self._remember(key, self._fetched(key))

    def start(self) -> None:
        """Refresh from now on beside the requests, so that none of them waits for it."""
        self._refresher = self._refresher or gevent.spawn(self._refresh_on)

    def stop(self) -> None:
        if self._refresher:
            self._refresher.kill()
            self._refresher = None

    def _refresh_on(self) -> None:
        """Every site from the start: an outage may come before a site's first visitor does."""
        with contextlib.suppress(StoreUnavailable):
            for site in self.all():
                self._remember(site.key, site)
        while True:
            gevent.sleep(FRESH_S)
            with contextlib.suppress(StoreUnavailable):
                self.refresh()

    def _asked_again(self, key: str, kept: _Kept | None) -> _Kept:
        try:
            return self._remember(key, self._current(key, kept.site if kept else None))
        except StoreUnavailable:
            if kept is None or kept.site is None:
                raise
            return kept

    def _current(self, key: str, known: Site | None) -> Site | None:
        """The site as the store has it; the one that is known already, if its version still stands."""
        if known is None:
            return self._fetched(key)
        version = self._store.do("HGET", keys.site(key), "version")
        return known if version is not None and int(version) == known.version else self._fetched(key)

    def _fetched(self, key: str) -> Site | None:
        version, text = self._store.do("HMGET", keys.site(key), "version", "json")
        return None if text is None else form.from_json(text, int(version))

    def _remember(self, key: str, site: Site | None) -> _Kept:
        kept = _Kept(site, self._clock(), self._clock())
        self._kept.pop(key, None)
        self._absent.pop(key, None)
        (self._absent if site is None else self._kept)[key] = kept
        while len(self._absent) > ABSENT:
            del self._absent[next(iter(self._absent))]
        return kept

    def _mistakes(self, site: Site) -> list[Mistake]:
        _, problems = form.read(form.write(site), self._rules)
        return [Mistake(site.key, 1, ".".join(path), message) for path, message in problems]

    def _list(self, sites: Sequence[Site]) -> None:
        """Names and origins go first, on whatever nodes those are: `all` passes over a name without a site."""
        listed = [part for site in sites for part in (site.key, json.dumps(site.origins))]
        self._store.many([("SADD", keys.sites(), *(site.key for site in sites)), ("HSET", keys.origins(), *listed)])
        self._origins_at = -FRESH_S

    def _publish(self, site: Site, message: str) -> Site:
        text = form.to_json(site)
        where = (keys.site(site.key), keys.site_versions(site.key))
        version, _ = self._store.run("publish", where, [text, message])
        published = form.from_json(text, int(version))
        self._remember(site.key, published)
        return published
