"""The corpus of hostile addresses, hostile_addresses.jsonl: none of them reaches a private address.

A line is one address and what makes it hostile: its form, the name's answers (one list a lookup), or where its server
redirects to. New ones are welcome at the end of their kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from parlance.web import guard
from parlance.web.errors import OutboundError, Refused, Unreachable
from tests.places import SHOP_AT, Place, Web

CORPUS = [json.loads(line) for line in (Path(__file__).parent / "hostile_addresses.jsonl").read_text().splitlines()]


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def corpus(*kinds: str) -> pytest.MarkDecorator:
    cases = [case for case in CORPUS if case["kind"] in kinds]
    assert cases
    return pytest.mark.parametrize("case", cases, ids=[f"{case['kind']}: {case['why']}" for case in cases])


@corpus("address", "form", "port", "name")
def test_it_is_refused_before_anything_is_looked_up(case, place):
    web = Web(place)
    with pytest.raises(Refused):
        web.get(case["url"])
    assert web.asked == web.reached == place.heard == []


@corpus("dns")
def test_it_is_refused_by_what_the_name_stands_for(case, place):
    web = Web(place)
    web.answers = case["answers"]
    with pytest.raises((Refused, Unreachable)):
        web.get(case["url"])
    assert len(web.asked) == 1
    assert web.reached == place.heard == []


@corpus("rebinding")
def test_it_is_asked_at_the_address_that_was_checked_and_the_next_answer_is_checked_anew(case, place):
    web = Web(place)
    web.answers = case["answers"]
    assert web.get(case["url"]).status == 200
    with pytest.raises(Refused):
        web.get(case["url"])
    assert len(web.asked) == 2
    assert web.reached == [(SHOP_AT, 443)]


@corpus("redirect")
def test_it_is_not_followed_to_elsewhere(case, place):
    web = Web(place)
    place.says = f"HTTP/1.1 302 Found\r\nLocation: {case['location']}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    assert web.get(case["url"]).status == 302
    with pytest.raises(OutboundError):
        web.get(case["url"], redirects=5)
    assert len(place.heard) == (7 if case["location"] == "/again" else 2)
    assert set(web.reached) == {(SHOP_AT, 443)}
    assert set(web.asked) == {"api.shop.example"}


@corpus("rebinding")
def test_a_redirect_to_itself_after_dns_has_changed_is_refused(case, place):
    web = Web(place)
    web.answers = case["answers"]
    place.says = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(Refused):
        web.get(case["url"], redirects=5)
    assert web.reached == [(SHOP_AT, 443)]


def test_the_corpus_is_as_large_as_was_promised_and_says_nothing_twice():
    said = Counter(json.dumps([case["url"], case.get("answers"), case.get("location")]) for case in CORPUS)
    assert len(said) >= 120
    assert said.most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://shop.example@10.0.0.1/", "user name"),
        ("https://10%2e0.0.1/", "% signs"),
        ("https://10.0.0.1/", "private"),
        ("https://127.1/", "four decimal numbers"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:1.1.1.1]/", "mapped"),
        ("https://[64:ff9b::1.1.1.1]/", "NAT64"),
        ("https://[2001::1]/", "Teredo"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[4000::1]/", "no range that is given out"),
        ("http://shop.example/", "use https"),
        ("https://shop.example:22/", "port 22"),
    ],
)
def test_a_refusal_says_why_to_the_operator(url, why):
    with pytest.raises(Refused, match=why):
        guard.destination(url)


NEIGHBOURS = """
    93.184.216.34 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255
    192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700:4700::1111 2a00:1450:4001::1 2001:200::1 2003::1
    2620:4f:7fff::1
"""


@pytest.mark.parametrize("address", NEIGHBOURS.split())
def test_public_addresses_next_to_the_refused_ranges_pass(address):
    assert guard.not_public(address) is None


def test_what_python_calls_global_and_we_do_not_is_refused_on_purpose():
    """Our own list does not lean on that of the interpreter, which changes between versions; it is stricter."""
    for address in ("168.63.129.16", "64:ff9b::7f00:1", "2002:7f00:1::", "192.88.99.1"):
        assert guard.not_public(address)
