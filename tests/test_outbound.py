"""Requests that leave the house: what comes back, what is refused, and that nobody out there holds on to a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gevent
import pytest
from gevent import socket as cooperative
from gevent.server import StreamServer

from parlance.web import outbound as module
from parlance.web.errors import Garbled, RedirectedElsewhere, Refused, TooBig, TooSlow, Unreachable
from parlance.web.outbound import Lookups, Outbound
from tests.places import OK, SHOP, SHOP_AT, Place, Web


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def web(place: Place) -> Web:
    return Web(place)


# ---- it works ----


def test_it_asks_the_checked_address_under_the_name_that_was_meant(web, place):
    reply = web.get("https://API.shop.example/orders?q=a%20b#part")
    assert (reply.status, reply.body, reply.media_type) == (200, b"{}", "application/json")
    assert reply.final_url == "https://api.shop.example/orders?q=a%20b"
    assert web.reached == [(SHOP_AT, 443)]
    assert web.asked == place.names == ["api.shop.example"]
    first, *fields = place.heard[0].decode().split("\r\n")
    assert first == "GET /orders?q=a%20b HTTP/1.1"
    assert {"Host: api.shop.example", "Accept-Encoding: identity", "Connection: close"} <= set(fields)


def test_it_sends_headers_and_a_body(web, place):
    key = {"Authorization": "Bearer k"}
    web.outbound.request("POST", "https://api.shop.example:8443/x", key, b'{"a":1}', timeout_s=5)
    head, _, body = place.heard[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    fields = head.decode().split("\r\n")
    assert {"Authorization: Bearer k", "Content-Length: 7", "Host: api.shop.example:8443"} <= set(fields)


def test_it_takes_an_address_for_a_host_if_the_certificate_names_it(web):
    assert web.get("https://93.184.216.34/").status == 200
    assert web.asked == []


def test_it_reads_names_of_every_script(web, place):
    with pytest.raises(Unreachable):  # the certificate is not for it
        web.get("https://Bücher.example/größe")
    assert place.names == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde and more",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
    ],
    ids=["chunked", "counted", "to the end"],
)
def test_it_reads_every_kind_of_body(web, place, says):
    place.says = says
    assert web.get().body == b"abcde"


def test_it_tries_the_next_address_where_nobody_is(web):
    web.answers = [["2606:4700::1111", SHOP_AT, SHOP_AT]]
    web.unreachable = {"2606:4700::1111"}
    assert web.get().status == 200
    assert web.reached == [("2606:4700::1111", 443), (SHOP_AT, 443)]


def test_it_tries_a_few_addresses_only(web):
    web.answers = [[f"93.184.216.{n}" for n in range(1, 100)]]
    web.unreachable = set(web.answers[0])
    with pytest.raises(Unreachable):
        web.get()
    assert len(web.reached) == module.ADDRESSES_TRIED


def test_it_gives_a_redirect_back_like_any_reply(web, place):
    place.says = b"HTTP/1.1 302 Found\r\nLocation: https://api.shop.example/b\r\nContent-Length: 0\r\n\r\n"
    assert web.get().status == 302
    assert len(place.heard) == 1


def test_it_follows_redirects_on_the_same_host_where_asked_and_looks_again_each_time(web, place):
    onward = b"HTTP/1.1 301 Moved\r\nLocation: ../b?c=%C3%A9\r\nContent-Length: 0\r\n\r\n"
    place.says = lambda heard: OK if b"GET /b?" in heard else onward
    assert web.get("https://api.shop.example/a/", redirects=5).final_url == "https://api.shop.example/b?c=%C3%A9"
    assert web.asked == ["api.shop.example"] * 2


def test_it_looks_names_up_as_the_system_does():
    assert "127.0.0.1" in Lookups()("localhost", 80)


# ---- the operator's own network ----


def test_it_reaches_the_private_hosts_that_are_named_over_http(place):
    web = Web(place, frozenset({"orders.lan:8080", "[::1]:8080", "127.0.0.1:80"}))
    web.answers = [["10.0.0.7"]]
    assert web.get("http://Orders.LAN:8080/").status == 200
    assert web.get("http://[0:0::1]:8080/").status == 200
    assert web.get("http://127.0.0.1/").status == 200
    assert web.reached == [("10.0.0.7", 8080), ("::1", 8080), ("127.0.0.1", 80)]


@pytest.mark.parametrize(
    "url",
    [
        "http://orders.lan/",
        "http://orders.lan:8081/",
        "http://x.orders.lan:8080/",
        "http://10.0.0.7:8080/",
        "http://orders.lan.:8080/",
        "http://2130706433:80/",
        "http://[::ffff:127.0.0.1]:80/",
    ],
)
def test_it_reaches_nothing_beside_them(place, url):
    web = Web(place, frozenset({"orders.lan:8080", "127.0.0.1:80"}))
    web.answers = [["10.0.0.7"]]
    with pytest.raises(Refused):
        web.get(url)
    assert web.reached == []


# ---- what else is refused ----


def test_it_refuses_a_certificate_for_another_name(web):
    with pytest.raises(Unreachable, match="certificate"):
        web.get("https://www.shop.example/")


def test_it_refuses_a_certificate_of_an_unknown_authority(web, place):
    web.outbound = Outbound(resolver=web.resolve, connect=web.connect)
    with pytest.raises(Unreachable, match="certificate"):
        web.get()
    assert place.heard == []


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "X Y", "X:", "", "X\r\nY"])
def test_it_refuses_headers_that_are_its_own_or_none(web, name):
    with pytest.raises(Refused):
        web.get(headers={name: "1"})


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\0", "é", "a\x7f"])
def test_it_refuses_values_that_would_end_their_line_and_does_not_repeat_them(web, value):
    with pytest.raises(Refused) as refusal:
        web.get(headers={"X-Key": "sesame" + value})
    assert "sesame" not in str(refusal.value)
    assert web.place.heard == []


def test_it_refuses_a_method_that_is_none(web):
    with pytest.raises(Refused):
        web.outbound.request("GET / HTTP/1.1\r\nX:", SHOP)


def test_it_sends_nothing_but_a_get_on(web):
    with pytest.raises(ValueError, match="only a GET"):
        web.outbound.request("POST", SHOP, redirects=1)


def test_it_gives_up_on_redirects_without_end(web, place):
    place.says = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(RedirectedElsewhere):
        web.get(redirects=5)
    assert len(place.heard) == 6


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_it_does_not_take_for_an_answer_what_is_none(web, place, says):
    place.says = says
    with pytest.raises((Garbled, Unreachable)):
        web.get()


# ---- nobody holds on to a worker ----


def for_ever(piece: bytes, first: bytes = b"", pause: float = 0.0) -> Iterator[bytes]:
    yield first
    while True:
        gevent.sleep(pause)
        yield piece


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "flood",
    [
        lambda: for_ever(b"x" * 9000, HEAD + b"\r\n"),
        lambda: for_ever(b"5\r\nabcde\r\n" * 500, CHUNKED),
        lambda: for_ever(b"1;" + b"e" * 4000 + b"\r\nx\r\n", CHUNKED),
        lambda: for_ever(b"X-Filler: " + b"y" * 4000 + b"\r\n", HEAD),
        lambda: for_ever(b"x" * 9000, HEAD),
        lambda: for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 200),
        lambda: for_ever(b"Trailer: " + b"z" * 4000 + b"\r\n", CHUNKED + b"0\r\n"),
        lambda: for_ever(b"FFFFFFFFFFFF\r\n" + b"x" * 9000, CHUNKED),
        lambda: [HEAD + b"Content-Length: 99999999999\r\n\r\n"],
    ],
    ids=["body", "chunks", "extensions", "headers", "one line", "interim", "trailers", "one chunk", "announced"],
)
def test_an_endless_answer_ends(web, place, flood):
    place.says = lambda heard: flood()
    began = time.monotonic()
    with pytest.raises((TooBig, Garbled)):
        web.get(max_bytes=50_000)
    assert time.monotonic() - began < 3


def test_an_answer_that_is_announced_as_too_big_is_not_waited_for(web, place):
    place.says = lambda heard: for_ever(b"", HEAD + b"Content-Length: 50001\r\n\r\n", pause=0.05)
    with pytest.raises(TooBig, match="announces"):
        web.get(max_bytes=50_000)


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"H"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 5000\r\n\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\n", b"T: t\r\n"),
    ],
    ids=["status", "headers", "body", "chunks", "interim", "trailers"],
)
def test_a_dripping_answer_is_left_in_time(web, place, first, piece):
    place.says = lambda heard: for_ever(piece, first, pause=0.02)
    assert seconds_until_too_slow(web) < 1.2


def test_a_silent_answer_is_left_in_time(web, place):
    place.says = lambda heard: for_ever(b"", pause=0.05)
    assert seconds_until_too_slow(web) < 1.2


@contextmanager
def behaving(behaviour: Callable[..., object]) -> Iterator[Outbound]:
    """An Outbound whose every connection leads to a server that does nothing but `behaviour(link)`."""

    def serve(link, peer) -> None:
        with link, suppress(OSError):
            behaviour(link)

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()

    def lead(address: str, port: int, timeout_s: float):
        return module.connect("127.0.0.1", server.server_port, timeout_s)

    yield Outbound(frozenset({"127.0.0.1:8080"}), resolver=lambda host, port: [SHOP_AT], connect=lead)
    server.stop(0)


def drip(link) -> None:
    for byte in b"\x16\x03\x03\x3f\xff" + b"\x00" * 16_000:
        link.sendall(bytes([byte]))
        gevent.sleep(0.02)


@pytest.mark.parametrize("behaviour", [lambda link: gevent.sleep(5), drip], ids=["silent", "dripping"])
def test_a_handshake_without_end_is_left_in_time(web, behaviour):
    with behaving(behaviour) as web.outbound:
        assert seconds_until_too_slow(web) < 1.2


def test_a_name_server_that_never_answers_is_left_in_time(web):
    web.outbound = Outbound(resolver=lambda host, port: gevent.sleep(5), connect=web.connect)
    assert seconds_until_too_slow(web) < 1.2


def test_a_real_lookup_is_left_in_time_though_its_thread_goes_on(web, monkeypatch):
    monkeypatch.setattr(module, "_getaddrinfo", lambda *a, **k: gevent.monkey.get_original("time", "sleep")(2))
    web.outbound = Outbound(connect=web.connect)
    assert seconds_until_too_slow(web) < 1.2


def test_a_place_that_does_not_listen_to_the_end_is_left_in_time():
    began = time.monotonic()
    with behaving(lambda link: gevent.sleep(5)) as outbound, pytest.raises(TooSlow):
        outbound.request("POST", "http://127.0.0.1:8080/", body=b"x" * 30_000_000, timeout_s=0.3)
    assert time.monotonic() - began < 1.2


def test_redirects_share_one_deadline(web, place):
    def slowly(heard):
        gevent.sleep(0.15)
        yield b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"

    place.says = slowly
    assert seconds_until_too_slow(web, redirects=5) < 1.2


def seconds_until_too_slow(web: Web, **options) -> float:
    began = time.monotonic()
    with pytest.raises(TooSlow):
        web.get(timeout_s=0.3, **options)
    return time.monotonic() - began


def test_others_work_on_while_one_waits(web, place):
    place.says = lambda heard: for_ever(b"x", HEAD + b"Content-Length: 5000\r\n\r\n", pause=0.02)
    waiting = gevent.spawn(web.get, timeout_s=0.4)
    ticks = 0
    while not waiting.ready():
        gevent.sleep(0.01)
        ticks += 1
    assert ticks > 10
    assert isinstance(waiting.exception, TooSlow)


def test_a_killed_request_hangs_up(web, place):
    place.says = lambda heard: for_ever(b"x", HEAD + b"Content-Length: 500000\r\n\r\n", pause=0.01)
    asking = gevent.spawn(web.get)
    while not place.heard:
        gevent.sleep(0.01)
    asking.kill()
    with gevent.Timeout(3):
        while not place.hung_up:
            gevent.sleep(0.01)


def test_nobody_there_is_told_as_such(web):
    with cooperative.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    outbound = Outbound(frozenset({f"127.0.0.1:{port}"}))
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        outbound.request("GET", f"http://127.0.0.1:{port}/", timeout_s=2)


def test_what_is_told_names_no_address(web):
    web.answers = [["10.9.8.7"]]
    with pytest.raises(Refused, match=r"10\.9\.8\.7") as refusal:
        web.get()
    assert not any(character.isdigit() for character in refusal.value.told)
    assert "shop" not in refusal.value.told
