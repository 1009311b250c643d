"""The demo's website: pages that hold together, and a door that serves nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag

import pytest
from flask import Flask
from flask.testing import FlaskClient

from blueprints.website import FOLDER, POLICY, website
from demo.answers import answer
from demo.models import MODELS
from parlance.sites import yamlfile
from parlance.voice import render

PAGES = sorted(path.stem for path in FOLDER.glob("*.html"))
SITE_FILE = Path(__file__).parent.parent / "sites" / "demo" / "site.yaml"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__)
    app.register_blueprint(website)
    return app.test_client()


def page(client: FlaskClient, name: str) -> Page:
    with client.get(f"/demo/{'' if name == 'index' else name}") as response:
        assert response.status_code == 200
        return Page(response.text)


def test_there_are_pages_to_walk_between() -> None:
    assert len(PAGES) >= 5


@pytest.mark.parametrize("name", PAGES)
def test_a_page_carries_the_widget_and_nothing_inline(client: FlaskClient, name: str) -> None:
    found = page(client, name)
    assert found.all("script") == [{"src": "/widget.js", "data-site": "demo", "data-accent": "#1d5c63", "async": ""}]
    assert not found.all("style")
    assert not [
        tag for tag, attributes in found.tags if "style" in attributes or any(a.startswith("on") for a in attributes)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound(client: FlaskClient, name: str) -> None:
    found = page(client, name)
    assert len(found.all("h1")) == 1
    assert len(found.all("main")) == 1
    assert found.all("html") == [{"lang": "en"}]
    assert all("alt" in image and image["width"] and image["height"] for image in found.all("img"))


@pytest.mark.parametrize("name", PAGES)
def test_everything_a_page_points_at_is_there(client: FlaskClient, name: str) -> None:
    found = page(client, name)
    addresses = [a.get("href") or a.get("src", "") for tag, a in found.tags if tag in ("a", "link", "img")]
    for address, anchor in map(urldefrag, addresses):
        if address.startswith("mailto:"):
            continue
        target = (
            page(client, address.removeprefix("/demo/") or "index")
            if address.endswith("/") or "." not in address
            else None
        )
        if target is None:
            with client.get(address) as response:
                assert response.status_code == 200, address
        elif anchor:
            assert anchor in (found if not address else target).ids


def test_every_page_is_honest_about_the_shop(client: FlaskClient) -> None:
    for name in PAGES:
        with client.get(f"/demo/{'' if name == 'index' else name}") as response:
            assert "This shop does not exist. It is the demo of Parlance" in response.text


def test_pages_come_with_a_strict_policy_and_are_cached_briefly(client: FlaskClient) -> None:
    for path in ("/demo/", "/demo/style.css", "/demo/images/mark.svg"):
        with client.get(path) as response:
            assert response.headers["Content-Security-Policy"] == POLICY
            assert 0 < response.cache_control.max_age <= 300
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY


def test_pictures_load_nothing_themselves() -> None:
    for path in (FOLDER / "images").iterdir():
        text = path.read_text()
        assert not re.search(r"<script|<style|href=|url\(|\son\w+=", text), path.name


@pytest.mark.parametrize(
    "path",
    [
        "/demo/nothing",
        "/demo/..%2fsite.yaml",
        "/demo/%2e%2e/site.yaml",
        "/demo/images/..%2f..%2fsite.yaml",
        "/demo/images",
        "/demo/images/",
        "/demo/.",
        "/demo/index%00.html",
        "/demo/" + "a" * 3000,
    ],
)
def test_there_is_nothing_beside_the_pages(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        assert response.status_code == 404


# The shop's chat


SITE = yamlfile.read([SITE_FILE]).sites[0]


def test_the_site_file_is_without_mistakes_or_warnings() -> None:
    assert yamlfile.read([SITE_FILE]).warnings == []
    assert (SITE.key, len(SITE.voice.faqs) >= 10, len(SITE.knowledge) >= 6) == ("demo", True, True)


def test_the_sites_own_words_come_in_three_languages() -> None:
    for code, words in SITE.fallbacks.items():
        assert set(words) == {"en", "de", "fr"}, code


def test_knowledge_points_at_pages_that_exist(client: FlaskClient) -> None:
    for passage in SITE.knowledge:
        address, anchor = urldefrag(passage.url)
        found = page(client, address.rsplit("/", 1)[1])
        assert not anchor or anchor in found.ids, passage.url


def test_what_the_pages_and_the_chat_say_about_prices_agrees() -> None:
    told = render.render(SITE)
    for name in PAGES:
        for price in re.findall(r"£[0-9.]*[0-9]", (FOLDER / f"{name}.html").read_text()):
            assert re.search(re.escape(price) + r"(?![0-9])", told), (name, price)


def test_the_demo_passes_the_shops_evals_that_need_no_judge() -> None:
    system = render.render(SITE)
    checked = 0
    for case in SITE.evals:
        messages = [{"role": "user", "content": case.ask[-1]}]
        said = answer({"system": system, "messages": messages}, MODELS["claude-haiku-5-5"]).blocks[0]["text"]
        for wanted in (item for item in case.expect if {"contains", "icontains"} & set(item)):
            checked += 1
            for text in wanted.values():
                assert str(text).lower() in said.lower(), (case.name, said)
    assert checked >= 5
