"""The pages of a site's own website, read politely: given addresses, or all that its sitemaps list.

One page at a time, with a pause between two; nothing that robots.txt keeps back; nothing outside the owner's own
origins; each page once, however many addresses it has. A second crawl that is given the first one's pages asks for
what has changed since. Links are not followed: what a page links to, its owner may not have meant.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import gevent

from parlance.errors import ParlanceError
from parlance.knowledge import extract, sitemap
from parlance.knowledge.robots import AGENT, Robots
from parlance.site import Passage

_STRAY = frozenset({"fbclid", "gclid", "msclkid", "mc_cid", "mc_eid"})  # of a link's sender, not of the page
_SAFE = "/?%:@!$&'()*+,;=~-._"
_USUAL_PORT = {"http": 80, "https": 443}
_ACCEPT = "text/html, application/xhtml+xml, text/markdown, text/plain, application/xml;q=0.9, */*;q=0.1"


class Reply(Protocol):
    """What came back. Header names are in lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def final_url(self) -> str: ...


class Web(Protocol):
    """How addresses are asked: guarded, with redirects on the same host only. Raises ParlanceError."""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_s: float = ...,
        max_bytes: int = ...,
        redirects: int = ...,
    ) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one crawl may read, and how fast."""

    pages: int = 500
    total_bytes: int = 50_000_000
    page_bytes: int = 3_000_000
    sitemaps: int = 50
    delay_s: float = 1.0
    timeout_s: float = 15.0
    redirects: int = 4


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read. `etag` and `last_modified` are its server's, for asking whether it has changed."""

    url: str
    title: str
    text: str
    etag: str = ""
    last_modified: str = ""
    digest: str = ""  # of the text: two addresses of one page have the same

    def passage(self) -> Passage:
        return Passage(self.title or self.url, self.text, self.url)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An address that gave no page, and why, in a sentence for the owner."""

    url: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    pages: tuple[Page, ...]
    skipped: tuple[Skipped, ...]
    unchanged: int  # how many of the pages are as they were known


class _Skip(Exception):
    """This address gives no page; the message is the reason."""


def crawl(
    web: Web,
    addresses: Iterable[str],
    owns: Callable[[str], bool],
    known: Sequence[Page] = (),
    bounds: Bounds = Bounds(),
    sleep: Callable[[float], object] = gevent.sleep,
) -> Report:
    """Reads pages and sitemaps at `addresses`. `owns("https://fern.example")` says whether an origin is the owner's;
    `known` are the pages of an earlier crawl."""
    return _Crawl(web, owns, known, bounds, sleep).run(addresses)


def canonical(url: str) -> str:
    """One address for what is one page: no fragment, usual port or sender's marks; host in small letters, path escaped.

    Raises ValueError for what is no http(s) address.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in _USUAL_PORT or not parts.hostname or parts.username or parts.password:
        raise ValueError("it is no address of a page")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
    if parts.port not in (None, _USUAL_PORT[parts.scheme]):
        host += f":{parts.port}"
    query = "&".join(each for each in parts.query.split("&") if not _of_a_sender(each.partition("=")[0]))
    return urlunsplit((parts.scheme, host, quote(parts.path or "/", safe=_SAFE), quote(query, safe=_SAFE), ""))


def _of_a_sender(name: str) -> bool:
    return name.startswith("utm_") or name in _STRAY


def _origin(url: str) -> str:
    return "://".join(urlsplit(url)[:2])


class _Crawl:
    def __init__(
        self,
        web: Web,
        owns: Callable[[str], bool],
        known: Sequence[Page],
        bounds: Bounds,
        sleep: Callable[[float], object],
    ) -> None:
        self._web, self._owns, self._bounds, self._sleep = web, owns, bounds, sleep
        self._known = {page.url: page for page in known}
        self._robots: dict[str, Robots] = {}
        self._queue: deque[str] = deque()
        self._met: set[str] = set()
        self._digests: set[str] = set()
        self._pages: list[Page] = []
        self._skipped: list[Skipped] = []
        self._sitemaps = self._bytes = self._unchanged = 0

    def run(self, addresses: Iterable[str]) -> Report:
        self._enqueue(addresses)
        while self._queue:
            url = self._queue.popleft()
            try:
                self._visit(url)
            except _Skip as reason:
                self._skipped.append(Skipped(url, str(reason)))
        return Report(tuple(self._pages), tuple(self._skipped), self._unchanged)

    def _enqueue(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            try:
                url = canonical(address)
            except ValueError as error:  # urlsplit's own, and a host that is no name, too
                self._skipped.append(Skipped(address[:500], f"it cannot be asked: {error}"))
                continue
            if url not in self._met and len(self._met) < sitemap.ADDRESSES:
                self._met.add(url)
                self._queue.append(url)

    def _visit(self, url: str) -> None:
        self._admit(url)
        known = self._known.get(url)
        reply = self._asked(url, _conditions(known) if known else {})
        if reply.status == 304 and known:
            self._unchanged += 1
            self._keep(known)
        elif reply.status != 200:
            raise _Skip(f"the server answered {reply.status}")
        elif (listed := self._listed(reply)) is not None:
            self._enqueue((*listed.sitemaps, *listed.pages))
        else:
            self._keep(self._read(reply))

    def _admit(self, url: str) -> None:
        if len(self._pages) >= self._bounds.pages:
            raise _Skip(f"{self._bounds.pages} pages had been read by then")
        if self._bytes >= self._bounds.total_bytes:
            raise _Skip(f"{self._bounds.total_bytes} bytes had been read by then")
        if not self._owns(_origin(url)):
            raise _Skip("it is not on one of the site's own origins")
        if not self._rules(_origin(url)).allow(url):
            raise _Skip("the website's robots.txt keeps it back")

    def _rules(self, origin: str) -> Robots:
        if origin not in self._robots:
            try:
                reply = self._request(origin + "/robots.txt", {})
                self._robots[origin] = Robots.answered(reply.status, reply.body)
            except ParlanceError:
                self._robots[origin] = Robots.answered(503, b"")
        return self._robots[origin]

    def _asked(self, url: str, conditions: Mapping[str, str]) -> Reply:
        self._sleep(self._rules(_origin(url)).delay(self._bounds.delay_s))
        try:
            reply = self._request(url, conditions)
        except ParlanceError as error:
            raise _Skip(str(getattr(error, "told", "") or error)) from error
        self._bytes += len(reply.body)
        return reply

    def _request(self, url: str, conditions: Mapping[str, str]) -> Reply:
        bounds = self._bounds
        return self._web.request(
            "GET",
            url,
            {"User-Agent": f"{AGENT}/1", "Accept": _ACCEPT, **conditions},
            timeout_s=bounds.timeout_s,
            max_bytes=bounds.page_bytes,
            redirects=bounds.redirects,
        )

    def _listed(self, reply: Reply) -> sitemap.Sitemap | None:
        try:
            found = sitemap.read(reply.body, reply.headers.get("content-type", ""))
        except ValueError as error:
            raise _Skip(f"it is no sitemap that can be read: {error}") from error
        if found is not None:
            self._sitemaps += 1
            if self._sitemaps > self._bounds.sitemaps:
                raise _Skip(f"{self._bounds.sitemaps} sitemaps had been read by then")
        return found

    def _read(self, reply: Reply) -> Page:
        try:
            found = extract.read(reply.body, reply.headers.get("content-type", ""))
        except extract.Unreadable as error:
            raise _Skip(str(error)) from error
        return Page(
            url=self._proper(reply.final_url, found.canonical),
            title=found.title,
            text=found.text,
            etag=reply.headers.get("etag", ""),
            last_modified=reply.headers.get("last-modified", ""),
            digest=hashlib.sha256(found.text.encode("utf-8", "replace")).hexdigest(),
        )

    def _proper(self, url: str, claimed: str) -> str:
        """The address that a page claims, if it is one of the owner's; a page may not point elsewhere."""
        try:
            proper = canonical(urljoin(url, claimed))
        except ValueError:
            return canonical(url)
        return proper if self._owns(_origin(proper)) else canonical(url)

    def _keep(self, page: Page) -> None:
        if page.digest in self._digests:
            raise _Skip("it says what another page says")
        self._digests.add(page.digest)
        self._met.add(page.url)
        self._pages.append(page)


def _conditions(page: Page) -> dict[str, str]:
    conditions = {"If-None-Match": page.etag, "If-Modified-Since": page.last_modified}
    return {name: value for name, value in conditions.items() if value}
