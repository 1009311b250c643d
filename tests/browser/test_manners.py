"""A polite guest: what the widget asks of a page, what it leaves of it, and what it lets nobody do."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from browser.conftest import Chat, Guests, Host, Model

GLOBALS = "Object.getOwnPropertyNames(window).filter(name => !/^\\d+$/.test(name)).sort()"


def test_it_asks_and_keeps_nothing_before_the_first_open(guests: Guests, home: str, server: str) -> None:
    page = guests.context().new_page()
    page.add_init_script(
        "window.written = 0; const set = Storage.prototype.setItem;"
        "Storage.prototype.setItem = function (...pair) { window.written++; return set.apply(this, pair) }"
    )
    page.goto(home)
    chat = Chat(page)
    expect(chat.launcher).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert [url for url in guests.requests if url.startswith(server)] == [f"{server}/widget.js"]
    assert page.evaluate("window.written + localStorage.length + sessionStorage.length") == 0
    assert page.evaluate("indexedDB.databases()") == []
    assert page.context.cookies() == []
    chat.open()
    assert page.evaluate("window.written") > 0
    assert page.context.cookies() == []


def test_it_fetches_the_panel_when_somebody_is_about_to_open_it(guests: Guests, home: str, server: str) -> None:
    chat = guests.visit(home)
    with chat.page.expect_request("**/panel.js"):
        chat.launcher.hover()
    assert chat.page.evaluate("localStorage.length") == 0
    assert not [url for url in guests.requests if "/v1/" in url]


def test_it_adds_one_global_and_one_element(guests: Guests, host: Host, home: str, model: Model) -> None:
    model.script(text="Hello.")
    bare = guests.context().new_page()
    bare.goto(host.page("/bare", ""))
    before = bare.evaluate(GLOBALS)
    chat = guests.visit(home).open().ask("Hi").complete()
    assert set(chat.page.evaluate(GLOBALS)) - set(before) == {"Parlance"}
    assert chat.page.evaluate("Object.isFrozen(Parlance)")
    assert chat.page.evaluate("[...document.body.children].map(each => each.localName)") == ["main", "parlance-chat"]
    assert chat.page.evaluate("document.querySelectorAll('head > *').length") == 3
    assert chat.page.evaluate("document.documentElement.getAttributeNames()") == ["lang"]
    assert chat.page.evaluate("document.body.getAttributeNames()") == []


def test_it_is_harmless_twice(guests: Guests, host: Host, tag: str, strict: str) -> None:
    chat = guests.visit(host.page("/twice", tag + tag, policy=strict))
    expect(chat.launcher).to_have_count(1)
    chat.open()
    expect(chat.panel).to_have_count(1)


def test_two_sites_on_one_page_are_two_widgets(guests: Guests, host: Host, tag: str, server: str) -> None:
    other = f'<script src="{server}/widget.js" data-site="narrow" async></script>'
    chat = guests.visit(host.page("/two", tag + other))
    expect(chat.launcher).to_have_count(2)


def test_it_lives_through_a_change_of_the_body(guests: Guests, home: str, model: Model) -> None:
    words = " ".join(f"word{n}" for n in range(60))
    model.script(text=words, deltas=60, pace_s=0.05)
    chat = guests.visit(home).open().ask("Tell me something long")
    expect(chat.prose).to_contain_text("word5")
    chat.page.evaluate(
        "document.body.replaceWith(document.body.cloneNode(true))"
    )  # with a copy of us in it, as Turbo's
    expect(chat.launcher).to_have_count(1)
    expect(chat.panel).to_be_visible()
    chat.complete(words)
    assert not [url for url in guests.requests if "/events" in url]  # the stream was never interrupted


def test_it_comes_back_after_it_was_removed(guests: Guests, home: str, tag: str, server: str, model: Model) -> None:
    model.script(text="Hello.")
    chat = guests.visit(home).open().ask("Hi").complete()
    chat.page.evaluate("document.querySelector('parlance-chat').remove()")
    expect(chat.launcher).to_have_count(0)
    chat.page.evaluate(
        """src => new Promise(loaded => {
            const script = Object.assign(document.createElement('script'), {onload: loaded});
            script.dataset.site = 'fern';
            script.src = trustedTypes.createPolicy('test', {createScriptURL: url => url}).createScriptURL(src);
            document.body.append(script);
        })""",
        f"{server}/widget.js",
    )
    expect(chat.launcher).to_have_count(1)
    expect(chat.panel).to_be_visible()
    chat.complete("Hello.")


def test_calls_made_before_it_is_there_wait_for_it(guests: Guests, host: Host, tag: str) -> None:
    url = host.page("/queue", f"<script>window.Parlance = [['open']]</script>{tag}")
    chat = guests.visit(url)
    expect(chat.panel).to_be_visible()
    chat.page.evaluate("Parlance.close()")
    expect(chat.panel).to_be_hidden()
    chat.page.evaluate("Parlance.push(['toggle'], ['constructor'], ['nonsense'])")
    expect(chat.panel).to_be_visible()


def test_a_script_tag_without_a_site_says_so(guests: Guests, host: Host, server: str) -> None:
    chat = guests.visit(host.page("/keyless", f'<script src="{server}/widget.js"></script>'))
    assert chat.page.evaluate("typeof Parlance") == "undefined"
    assert guests.errors == ['Parlance: the script tag needs data-site="…".']
    guests.errors.clear()


def test_the_page_cannot_reach_into_it_with_its_styles(guests: Guests, host: Host, home: str, tag: str) -> None:
    rules = (
        "* { color: red !important; font: 7px serif !important; position: static !important; display: block !important;"
        " margin: 40px !important; letter-spacing: 9px !important; text-transform: uppercase !important }"
        " html { font-size: 12px } button, dialog, textarea { all: unset !important }"
    )
    looks = """() => ['.launcher', '.panel', 'h2', '.welcome', '.suggestions button', 'textarea', '.send'].map(part => {
        const element = document.querySelector('parlance-chat').shadowRoot.querySelector(part);
        const {color, font, position, letterSpacing, textTransform, direction} = getComputedStyle(element);
        const {x, y, width, height} = element.getBoundingClientRect();
        return [part, color, font, position, letterSpacing, textTransform, direction, x, y, width, height].join(' ');
    })"""
    quiet, loud = guests.visit(home), guests.visit(host.page("/loud", tag, head=f"<style>{rules}</style>"))
    for chat in (quiet, loud):
        chat.open().page.wait_for_timeout(600)  # the panel's entrance
    assert loud.page.evaluate(looks) == quiet.page.evaluate(looks)


HOSTILE = """<img src=x onerror="window.hacked=1"> <script>window.hacked=2</script> <svg onload="window.hacked=3">
[click](javascript:window.hacked=4) [click](JaVa\tScript:window.hacked=5) [click](data:text/html,<script>1</script>)
![pixel](http://evil.example/pixel.png) <iframe src="javascript:window.hacked=6"></iframe> <style>*{all:unset}</style>

| <b onmouseover="window.hacked=7">x</b> | y |
|---|---|
| ![a](http://evil.example/a.png) | [b](vbscript:x) |

> <a href="javascript:window.hacked=8">quote</a>

```<script>window.hacked=9</script>
<script>window.hacked=10</script>
```
"""


@pytest.mark.parametrize("deltas", [1, 37, 200])
def test_what_the_model_says_is_never_run_nor_fetched(guests: Guests, home: str, model: Model, deltas: int) -> None:
    model.script(text=HOSTILE, deltas=deltas)
    chat = guests.visit(home).open().ask("Hi").complete()
    tags = chat.prose.locator("*").evaluate_all("all => all.map(each => each.localName)")
    assert set(tags) <= {
        "p",
        "a",
        "br",
        "code",
        "pre",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "blockquote",
    }
    links = chat.prose.locator("a")
    assert set(links.evaluate_all("all => all.map(link => new URL(link.href).protocol)")) == {"http:"}
    for link in links.all():
        assert link.get_attribute("rel") == "noopener nofollow"
        assert link.get_attribute("target") == "_blank"
        link.hover()
    assert chat.page.evaluate("window.hacked") is None
    attributes = chat.prose.locator("*").evaluate_all("all => all.flatMap(each => each.getAttributeNames())")
    assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")]


def test_what_a_visitor_types_is_shown_as_it_was_typed(guests: Guests, home: str, model: Model) -> None:
    model.script(text="I see.")
    chat = guests.visit(home).open().ask("<b>**not bold**</b> http://evil.example").complete()
    expect(chat.questions).to_have_text("<b>**not bold**</b> http://evil.example")
    assert chat.questions.evaluate("element => element.children.length") == 0


def test_a_site_may_dress_it(guests: Guests, host: Host, server: str) -> None:
    url = host.page("/narrow", f'<script src="{server}/widget.js" data-site="narrow"></script>')
    chat = guests.visit(url).open()
    assert chat.launcher.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(242, 193, 78)"
    assert chat.panel.evaluate("element => element.getBoundingClientRect().left") < 100
    assert chat.panel.evaluate("element => getComputedStyle(element).colorScheme") == "dark"
    chat.page.reload()  # from the first moment of the next page
    assert chat.launcher.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(242, 193, 78)"


def test_an_owner_may_dress_the_launcher_before_anything_is_asked(guests: Guests, host: Host, server: str) -> None:
    attributes = 'data-site="fern" data-accent="#123456" data-position="left" data-locale="de"'
    chat = guests.visit(host.page("/dressed", f'<script src="{server}/widget.js" {attributes}></script>'))
    assert chat.launcher.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(18, 52, 86)"
    assert chat.launcher.evaluate("element => element.getBoundingClientRect().left") < 100
    chat.open()
    expect(chat.panel.get_by_role("textbox", name="Ihre Nachricht")).to_be_visible()


def test_an_accent_that_is_no_colour_is_not_taken(guests: Guests, host: Host, server: str) -> None:
    attributes = 'data-site="fern" data-accent="red} * { display: none"'
    chat = guests.visit(host.page("/odd", f'<script src="{server}/widget.js" {attributes}></script>'))
    expect(chat.launcher).to_be_visible()
    assert chat.launcher.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(47, 95, 208)"
