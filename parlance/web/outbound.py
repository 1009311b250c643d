"""HTTP to places that others have named: a site's tools and its pages. Every request passes the guard.

A name is resolved once, all its addresses are checked, and the connection goes to a checked address and not to the
name: DNS that answers differently the next time is not asked a next time. The certificate is still verified for the
name. One deadline covers everything from the lookup to the last byte, and the bytes are counted as they leave the
socket, so that neither a dripping nor an endless answer holds anything for longer or takes more than was allowed.

Proxies named by the environment are passed by on purpose: a proxy would resolve the name itself.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import certifi
import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

from parlance.web import guard
from parlance.web.errors import Garbled, OutboundError, RedirectedElsewhere, Refused, TooBig, TooSlow, Unreachable
from parlance.web.guard import Destination

HEAD_MOST = 32_768
LOOKUPS = 4  # at a time; a name server that takes its time holds one of these, and nobody else's thread
ADDRESSES_TRIED = 4
READ = 16_384

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HAVE_A_BODY = frozenset({"POST", "PUT", "PATCH"})

_getaddrinfo = monkey.get_original("socket", "getaddrinfo")  # gevent's would want a loop in the lookup's thread


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status. Header names are in lower case; of one given twice, the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    final_url: str

    @property
    def media_type(self) -> str:
        """`application/json`, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Lookups:
    """Names into addresses, as the system resolves them, in a few threads of their own."""

    def __init__(self) -> None:
        self._pool = ThreadPool(LOOKUPS)

    def __call__(self, host: str, port: int) -> list[str]:
        found: Any = self._pool.spawn(_getaddrinfo, host, port, type=socket.SOCK_STREAM).get()
        return [_with_scope(address) for *_, address in found]


def connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to an IP address; nothing is resolved."""
    link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        link.settimeout(timeout_s)
        link.connect((address, port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        link.close()
        raise
    return link


class Outbound:
    """`private_hosts` are the "host:port" of the operator's own network that may be asked. `clock` is monotonic
    seconds; `resolver(host, port)` returns addresses, `connect(address, port, timeout_s)` a socket."""

    def __init__(
        self,
        private_hosts: frozenset[str] = frozenset(),
        *,
        resolver: Callable[[str, int], Sequence[str]] | None = None,
        connect: Callable[[str, int, float], socket.socket] = connect,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._private_hosts = private_hosts
        self._resolve = resolver or Lookups()
        self._connect = connect
        # An explicit context: off Linux the platform's own does not survive gevent (gevent#2178).
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())
        self._clock = clock

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_s: float = 10.0,
        max_bytes: int = 262_144,
        redirects: int = 0,
    ) -> Reply:
        """Ask, and return the whole reply. `redirects` is how many are followed on the same scheme, host and port;
        with 0 a redirect is a reply like any other. Raises OutboundError, and nothing else for what goes wrong out
        there. `timeout_s` and `max_bytes` (of the body) are for all of it together."""
        if redirects and method != "GET":
            raise ValueError("only a GET may be sent on")
        until = self._clock() + timeout_s
        slow = TooSlow(f"not done within {timeout_s:g} s")
        with gevent.Timeout(timeout_s, slow):
            there = guard.destination(url, self._private_hosts)
            for _ in range(redirects + 1):
                exchange = _Exchange(there, until, max_bytes, self._clock)
                reply = exchange.run(self._opened, _head(method, there, headers or {}, body) + body)
                onward = self._onward(there, reply) if redirects else None
                if onward is None:
                    return reply
                there = onward
        raise RedirectedElsewhere(f"{there.host} sends on and on")

    def _onward(self, there: Destination, reply: Reply) -> Destination | None:
        """Where a redirect leads, if it stays; None for what is no redirect."""
        location = reply.headers.get("location")
        if reply.status not in _REDIRECTS or location is None:
            return None
        guard.refuse_odd_characters(location)  # urljoin would drop some of them silently
        onward = guard.destination(urljoin(there.url, location), self._private_hosts)
        if not onward.same_site(there):
            raise RedirectedElsewhere(f"{there.place} sends on to {onward.place}")
        return onward

    def _opened(self, there: Destination, left: Callable[[], float]) -> socket.socket:
        """A connection to a checked address, encrypted where it has to be."""
        link = self._reached(there, left)
        if there.scheme == "http":
            return link
        link.settimeout(left())
        # Shaken by hand: inside `wrap_socket` a time limit would leave a socket that nobody holds and nobody closes.
        wrapped = self._tls.wrap_socket(link, server_hostname=there.host, do_handshake_on_connect=False)
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _reached(self, there: Destination, left: Callable[[], float]) -> socket.socket:
        addresses = [there.host] if there.literal else self._resolve(there.host, there.port)
        tries = guard.admit(there, addresses)[:ADDRESSES_TRIED]
        for remaining, address in zip(range(len(tries), 1, -1), tries, strict=False):
            try:
                return self._connect(address, there.port, left() / remaining)
            except OSError:
                continue
        return self._connect(tries[-1], there.port, left())


class _Exchange:
    """One request and its reply, over a connection of its own."""

    def __init__(self, there: Destination, until: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self.there, self.until, self.max_bytes, self.clock = there, until, max_bytes, clock

    def run(self, open_link: Callable[..., socket.socket], request: bytes) -> Reply:
        link = None
        try:
            link = open_link(self.there, self._left)
            link.settimeout(self._left())
            link.sendall(request)
            return self._read(link, request.partition(b" ")[0].decode("ascii"))
        except OutboundError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _translated(error, self.there) from error
        finally:
            if link:
                link.close()

    def _left(self) -> float:
        left = self.until - self.clock()
        if left <= 0:
            raise TooSlow(f"{self.there.place} was not done in time")
        return left

    def _read(self, link: socket.socket, method: str) -> Reply:
        wire = _Wire(link, HEAD_MOST + READ, self._left)  # the reader reads ahead
        response: Any = http.client.HTTPResponse(wire, method=method)  # type: ignore[arg-type]
        response.begin()
        if response.status < 200:
            raise Garbled(f"{self.there.place} answers with an interim status only")
        headers = {name.lower(): value for name, value in response.headers.items()}
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise Garbled(f"{self.there.place} compresses its answer, though asked not to")
        if (response.length or 0) > self.max_bytes:
            raise TooBig(f"{self.there.place} announces {response.length} bytes of {self.max_bytes}")
        wire.allow(2 * self.max_bytes)  # as chunked coding may need
        body = response.read(self.max_bytes + 1)
        if len(body) > self.max_bytes:
            raise TooBig(f"{self.there.place} sends more than {self.max_bytes} bytes")
        if response.length:
            raise Garbled(f"{self.there.place} stopped {response.length} bytes before the end")
        return Reply(response.status, headers, body, self.there.url)


class _Wire(io.RawIOBase):
    """The bytes of a connection, counted and timed as they come; stands in the place of a socket for `http.client`."""

    def __init__(self, link: socket.socket, most: int, left: Callable[[], float]) -> None:
        self._link, self._most, self._time_left = link, most, left

    def allow(self, more: int) -> None:
        self._most += more

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, READ)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._link.settimeout(self._time_left())
        count = self._link.recv_into(buffer)
        self._most -= count
        if self._most < 0:
            raise TooBig("more bytes than are allowed for")
        return count


def _head(method: str, there: Destination, headers: Mapping[str, str], body: bytes) -> bytes:
    fields = {"User-Agent": "Parlance", **headers}
    for name, value in fields.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise Refused(f"the header `{name}` is not one that may be set")
        if not _VALUE.fullmatch(value):
            raise Refused(f"the header `{name}` holds a character that no header may")
    if not _TOKEN.fullmatch(method):
        raise Refused("not a method of HTTP")
    fields |= {"Host": there.authority, "Accept-Encoding": "identity", "Connection": "close"}
    if body or method in _HAVE_A_BODY:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {there.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _translated(error: Exception, there: Destination) -> OutboundError:
    """The one table of foreign errors."""
    what = f"{there.place}: {type(error).__name__}"
    if isinstance(error, TimeoutError):
        return TooSlow(what)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(f"{there.place}: its certificate is not good: {error.verify_message}")
    if isinstance(error, OSError):
        return Unreachable(f"{what} ({error.strerror or 'no more is known'})")
    return Garbled(what)


def _with_scope(address: tuple[Any, ...]) -> str:
    host, *rest = address
    scoped = len(rest) == 3 and rest[2] and "%" not in host
    return f"{host}%{rest[2]}" if scoped else str(host)
