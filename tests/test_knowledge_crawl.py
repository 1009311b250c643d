"""Reading a website: its owner's pages, politely, each once, and no more than was allowed."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from parlance.errors import ParlanceError
from parlance.knowledge import sitemap
from parlance.knowledge.crawl import Bounds, Page, Report, canonical, crawl
from parlance.knowledge.robots import Robots

HOME = "https://fern.example"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    final_url: str = ""


class Website:
    """A web of these addresses, which remembers what it was asked; everything else is 404."""

    def __init__(self, **pages: Reply | str) -> None:
        self.pages: dict[str, Reply] = {}
        self.asked: list[str] = []
        self.sent: list[Mapping[str, str]] = []
        self.slept: list[float] = []

    def put(self, path: str, body: str | bytes, kind: str = "text/markdown", **headers: str) -> None:
        url = path if path.startswith("http") else HOME + path
        body = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[url] = Reply(200, body, {"content-type": kind, **named}, url)

    def request(self, method, url, headers=None, body=b"", *, timeout_s=10.0, max_bytes=262_144, redirects=0) -> Reply:
        self.asked.append(url)
        self.sent.append(headers or {})
        reply = self.pages.get(url, Reply(404, final_url=url))
        if reply.status == 0:
            raise ParlanceError("it did not answer")
        if headers and reply.headers.get("etag") and headers.get("If-None-Match") == reply.headers["etag"]:
            return Reply(304, final_url=url)
        return reply

    def crawl(self, *addresses: str, known: tuple[Page, ...] = (), **bounds: float) -> Report:
        whole = [each if each.startswith("http") else HOME + each for each in addresses]
        return crawl(self, whole, HOME.__eq__, known, Bounds(**bounds), self.slept.append)


@pytest.fixture
def web() -> Website:
    website = Website()
    website.put("/a", "# Delivery\n\nWe post on working days.")
    website.put("/b", "# Mending\n\nWe mend in ten days.")
    return website


def listing(*urls: str, kind: str = "urlset") -> str:
    entry = "url" if kind == "urlset" else "sitemap"
    places = "".join(f"<{entry}><loc>{url}</loc></{entry}>" for url in urls)
    return f'<?xml version="1.0"?><{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{places}</{kind}>'


def why(report: Report) -> dict[str, str]:
    return {each.url.removeprefix(HOME): each.why for each in report.skipped}


def test_given_addresses_become_passages(web):
    report = web.crawl("/a", "/b")
    assert [each.passage().title for each in report.pages] == ["Delivery", "Mending"]
    assert report.pages[0].passage().url == HOME + "/a"
    assert report.skipped == ()


def test_a_sitemap_leads_to_its_pages_and_an_index_to_its_sitemaps(web):
    web.put("/sitemap.xml", listing(f"{HOME}/one.xml.gz", kind="sitemapindex"), "application/xml")
    web.put("/one.xml.gz", gzip.compress(listing(f"{HOME}/a", f"{HOME}/b").encode()), "application/gzip")
    assert [each.title for each in web.crawl("/sitemap.xml").pages] == ["Delivery", "Mending"]


def test_a_plain_list_of_addresses_is_a_sitemap_and_plain_prose_is_a_page(web):
    web.put("/sitemap.txt", f"{HOME}/a\n{HOME}/b\n", "text/plain")
    web.put("/prose.txt", f"See {HOME}/a for more.", "text/plain")
    assert len(web.crawl("/sitemap.txt").pages) == 2
    assert len(web.crawl("/prose.txt").pages) == 1


def test_links_on_a_page_are_not_followed(web):
    web.put("/links", f"# Links\n\n[Delivery]({HOME}/a)")
    assert [each.title for each in web.crawl("/links").pages] == ["Links"]


def test_what_robots_txt_keeps_back_is_not_asked_for(web):
    web.put("/robots.txt", "User-agent: *\nDisallow: /b\n", "text/plain")
    report = web.crawl("/a", "/b")
    assert [each.title for each in report.pages] == ["Delivery"]
    assert "robots.txt" in why(report)["/b"]
    assert web.asked == [f"{HOME}/robots.txt", f"{HOME}/a"]


def test_a_website_in_trouble_is_left_alone(web):
    for trouble in (Reply(503), Reply(429), Reply(0)):
        web.pages[f"{HOME}/robots.txt"] = trouble
        assert web.crawl("/a").pages == ()
    web.pages[f"{HOME}/robots.txt"] = Reply(403)
    assert len(web.crawl("/a").pages) == 1


def test_there_is_a_pause_before_each_page_and_longer_if_the_website_asks(web):
    web.crawl("/a", "/b", delay_s=0.5)
    assert web.slept == [0.5, 0.5]
    web.put("/robots.txt", "User-agent: *\nCrawl-delay: 3\n", "text/plain")
    web.crawl("/a", delay_s=0.5)
    assert web.slept[2:] == [3]
    assert Robots("User-agent: *\nCrawl-delay: 3600\n").delay(0.5) == 10


def test_only_the_owners_origins_are_asked(web):
    web.put("/sitemap.xml", listing("https://other.example/a", "http://fern.example/a", f"{HOME}/a"), "text/xml")
    report = web.crawl("/sitemap.xml")
    assert [each.url for each in report.pages] == [f"{HOME}/a"]
    assert all(url.startswith(HOME + "/") for url in web.asked)
    assert "own origins" in why(report)["https://other.example/a"]


@pytest.mark.parametrize(
    "address", ["ftp://fern.example/a", "javascript:alert(1)", "https://", "https://u:p@fern.example/"]
)
def test_what_is_no_address_of_a_page_is_skipped(web, address):
    report = crawl(web, [address], lambda origin: True, sleep=web.slept.append)
    assert [each.url for each in report.skipped] == [address]
    assert web.asked == []


def test_a_page_with_several_addresses_is_read_once(web):
    report = web.crawl("/a", "/a#how", "/a?utm_source=letter&utm_medium=mail", "https://FERN.example:443/a")
    assert len(report.pages) == 1
    assert web.asked.count(f"{HOME}/a") == 1


def test_pages_that_say_the_same_are_one(web):
    web.put("/copy", "# Delivery\n\nWe post on working days.")
    report = web.crawl("/a", "/copy")
    assert [each.url for each in report.pages] == [f"{HOME}/a"]
    assert "another page" in why(report)["/copy"]


def html(canonical: str) -> str:
    text = "We mend umbrellas of every maker, as long as the frame is metal or wood. " * 8
    return f"<html><head><link rel='canonical' href='{canonical}'></head><body><main><p>{text}</p></main></body></html>"


def test_a_page_goes_by_its_proper_address_if_that_is_the_owners(web):
    web.put("/long?id=7", html(f"{HOME}/short"), "text/html")
    assert web.crawl("/long?id=7").pages[0].url == f"{HOME}/short"
    web.put("/stolen", html("https://other.example/a"), "text/html")
    assert web.crawl("/stolen").pages[0].url == f"{HOME}/stolen"


def test_a_second_crawl_asks_only_for_what_changed(web):
    web.put("/a", "# Delivery\n\nWe post.", etag='"v1"', last_modified="Fri, 20 Nov 2026 10:00:00 GMT")
    first = web.crawl("/a", "/b")
    second = web.crawl("/a", "/b", known=first.pages)
    assert second.pages == first.pages
    assert second.unchanged == 1
    conditions = {name: value for name, value in web.sent[-2].items() if name.startswith("If-")}
    assert conditions == {"If-None-Match": '"v1"', "If-Modified-Since": "Fri, 20 Nov 2026 10:00:00 GMT"}
    web.put("/a", "# Delivery\n\nWe post daily.", etag='"v2"')
    assert "daily" in web.crawl("/a", known=second.pages).pages[0].text


def test_every_bound_holds(web):
    for n in range(10):
        web.put(f"/{n}", f"# Page {n}\n\nText {n}.")
    assert len(web.crawl(*(f"/{n}" for n in range(10)), pages=3).pages) == 3
    assert len(web.crawl(*(f"/{n}" for n in range(10)), total_bytes=30).pages) == 2
    for n in range(10):
        web.put(f"/map{n}.xml", listing(f"{HOME}/map{n + 1}.xml", kind="sitemapindex"), "text/xml")
    web.asked.clear()
    report = web.crawl("/map0.xml", sitemaps=4)
    assert len(web.asked) == 1 + 5
    assert "sitemaps" in why(report)["/map4.xml"]


def test_a_sitemap_that_lists_itself_ends(web):
    web.put("/map.xml", listing(f"{HOME}/map.xml", f"{HOME}/a", kind="sitemapindex"), "text/xml")
    assert len(web.crawl("/map.xml").pages) == 1


def test_one_bad_page_stops_nothing(web):
    web.pages[f"{HOME}/dead"] = Reply(0)
    web.pages[f"{HOME}/broken"] = Reply(500)
    web.put("/paper.pdf", b"%PDF", "application/pdf")
    web.put("/bad.xml", "<urlset><url>", "text/xml")
    report = web.crawl("/dead", "/broken", "/paper.pdf", "/bad.xml", "/gone", "/a")
    assert len(report.pages) == 1
    assert why(report).keys() == {"/dead", "/broken", "/paper.pdf", "/bad.xml", "/gone"}
    assert why(report)["/dead"] == "it did not answer"


def test_a_sitemap_that_would_grow_is_refused():
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><urlset><url><loc>&a;</loc></url></urlset>'
    with pytest.raises(ValueError, match="definitions"):
        sitemap.read(bomb)
    with pytest.raises(ValueError, match="more than"):
        sitemap.read(gzip.compress(b"<urlset>" + b" " * (sitemap.BYTES + 1)))
    with pytest.raises(ValueError, match="gzip"):
        sitemap.read(b"\x1f\x8bnonsense")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTPS://Fern.Example", "https://fern.example/"),
        ("https://fern.example:443/a?b=1#c", "https://fern.example/a?b=1"),
        ("http://fern.example:8080/", "http://fern.example:8080/"),
        ("https://fern.example/a b/ü", "https://fern.example/a%20b/%C3%BC"),
        ("https://fern.example/a%20b", "https://fern.example/a%20b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://fern.example/?page&utm_term=x&q=a", "https://fern.example/?page&q=a"),
        ("http://[::1]:8000/", "http://[::1]:8000/"),
    ],
)
def test_one_page_has_one_address(url, same):
    assert canonical(url) == canonical(canonical(url)) == same
