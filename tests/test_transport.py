"""The transport under the SDK: every cut of a response gives the same body, and only whole ones keep their line."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import gevent
import httpx2
import pytest

from parlance.claude.transport import SocketTransport

BODY = b"one\r\n two\xe2\x80\xa8 [DONE] " * 4
HEAD = b"HTTP/1.1 200 OK\r\nX-Sort: one\r\n"


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 7)
COUNTED = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED


class Upstream:
    """Answers every request with `pieces`, a moment apart; then closes the connection where `close` says so."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.close = False
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/messages"
        self._greenlet = gevent.spawn(self._accept)

    def stop(self) -> None:
        self._greenlet.kill()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            link, _ = self._listener.accept()
            self.connections += 1
            gevent.spawn(self._answer, link)

    def _answer(self, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with link:
            while link.recv(65_536):
                for piece in self.pieces:
                    link.sendall(piece)
                    gevent.sleep(0.001)
                if self.close:
                    return


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.stop()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=SocketTransport(ssl.create_default_context()), timeout=0.3) as client:
        yield client


@pytest.mark.parametrize("response", [CHUNKED, COUNTED, INTERIM], ids=["chunked", "counted", "interim"])
def test_every_cut_gives_the_same_body_over_one_connection(
    upstream: Upstream, client: httpx2.Client, response: bytes
) -> None:
    for cut in range(len(response)):
        upstream.pieces = [response[:cut], response[cut:]]
        assert client.post(upstream.url, content=b"hello").content == BODY, cut
    assert upstream.connections == 1


def test_a_body_without_a_length_ends_with_its_connection(upstream: Upstream, client: httpx2.Client) -> None:
    upstream.pieces, upstream.close = [HEAD + b"\r\n" + BODY], True
    assert client.post(upstream.url).content == BODY
    assert client.post(upstream.url).content == BODY
    assert upstream.connections == 2


def test_a_reader_who_stops_before_the_last_chunk_keeps_the_connection(
    upstream: Upstream, client: httpx2.Client
) -> None:
    upstream.pieces = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nend\r\n0\r\n\r\n"]
    for _ in range(3):
        with client.stream("POST", upstream.url) as response:
            assert next(response.iter_raw()) == b"end"
    assert upstream.connections == 1


def test_a_reader_who_leaves_in_the_middle_closes_it(upstream: Upstream, client: httpx2.Client) -> None:
    upstream.pieces = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"]
    with client.stream("POST", upstream.url) as response:
        assert next(response.iter_raw()) == b"first"
    upstream.pieces = [COUNTED]
    assert client.post(upstream.url).content == BODY
    assert upstream.connections == 2


@pytest.mark.parametrize(
    ("pieces", "close", "error"),
    [
        ([CHUNKED[:-5]], True, httpx2.RemoteProtocolError),
        ([COUNTED[:-1]], True, httpx2.RemoteProtocolError),
        ([HEAD[:20]], True, httpx2.RemoteProtocolError),
        ([b"nonsense\r\n\r\n"], False, httpx2.RemoteProtocolError),
        ([CHUNKED[:-5]], False, httpx2.ReadTimeout),
        ([HEAD], False, httpx2.ReadTimeout),
    ],
    ids=["cut chunks", "cut count", "cut head", "nonsense", "silence in the body", "silence in the head"],
)
def test_trouble_has_the_name_that_httpx_gives_it_and_is_not_kept(
    upstream: Upstream, client: httpx2.Client, pieces: list[bytes], close: bool, error: type[Exception]
) -> None:
    upstream.pieces, upstream.close = pieces, close
    with pytest.raises(error):
        client.post(upstream.url)
    upstream.pieces, upstream.close = [COUNTED], False
    assert client.post(upstream.url).content == BODY
    assert upstream.connections == 2


def test_an_idle_connection_that_the_peer_closed_is_not_used(upstream: Upstream, client: httpx2.Client) -> None:
    upstream.pieces, upstream.close = [COUNTED], True
    for count in (1, 2, 3):
        assert client.post(upstream.url).content == BODY
        gevent.sleep(0.02)  # the peer's close arrives
        assert upstream.connections == count


def test_nobody_there_is_a_connect_error(client: httpx2.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(httpx2.ConnectError):
        client.post(f"http://127.0.0.1:{port}/")
