"""HTTP/1.1 to the Messages API over plain sockets, in the place of httpcore under the SDK.

Of what a relayed delta costs, reading it through a general HTTP client is the largest part. This transport does what
one POST to one host needs: a pool of kept connections, chunked bodies, and the errors of httpx2, so that the SDK above
and the error table beside it notice no difference. Measured with bench/: a third of the CPU per delta.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections import defaultdict
from collections.abc import Iterator

import httpx2
from gevent import monkey

IDLE_MOST = 500  # kept connections a host
READ = 16_384
HEAD_MOST = 65_536

_poll = monkey.get_original("select", "poll")  # gevent's own would switch

_Address = tuple[str, str, int]  # scheme, host, port


class SocketTransport(httpx2.BaseTransport):
    """`tls` verifies https hosts. Timeouts are those of the request, as httpx2 passes them along."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: dict[_Address, list[socket.socket]] = defaultdict(list)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, limits = request.url, request.extensions.get("timeout") or {}
        address = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        link = self._take(address) or self._connect(address, limits.get("connect"), request)
        link.settimeout(limits.get("read"))
        try:
            link.sendall(_head(request) + request.read())
            status, headers, rest = _read_head(link)
        except BaseException as error:  # a cancelled turn among them: half an exchange is no connection to keep
            link.close()
            raise _translated(error, request) from error
        body = _Body(self, address, link, request, rest, headers)
        return httpx2.Response(status, headers=headers, stream=body, request=request)

    def close(self) -> None:
        for links in self._idle.values():
            for link in links:
                link.close()
        self._idle.clear()

    def give_back(self, address: _Address, link: socket.socket) -> None:
        if len(self._idle[address]) < IDLE_MOST:
            self._idle[address].append(link)
        else:
            link.close()

    def _take(self, address: _Address) -> socket.socket | None:
        """A kept connection that the peer has not closed meanwhile: nothing may be readable on an idle one."""
        while self._idle[address]:
            link = self._idle[address].pop()
            if not _readable(link):
                return link
            link.close()
        return None

    def _connect(self, address: _Address, timeout: float | None, request: httpx2.Request) -> socket.socket:
        scheme, host, port = address
        try:
            link = socket.create_connection((host, port), timeout)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error), request=request) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        try:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return self._tls.wrap_socket(link, server_hostname=host) if scheme == "https" else link
        except OSError as error:
            link.close()
            raise httpx2.ConnectError(str(error), request=request) from error


class _Body(httpx2.SyncByteStream):
    """A response's body as it arrives: what one read of the socket brought is one piece."""

    def __init__(
        self,
        transport: SocketTransport,
        address: _Address,
        link: socket.socket,
        request: httpx2.Request,
        rest: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self._transport, self._address, self._link, self._request = transport, address, link, request
        self._rest = rest
        fields = {name.lower(): value.lower() for name, value in headers}
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        self._length = int(fields.get(b"content-length", -1))
        self._keep = fields.get(b"connection", b"") != b"close" and (self._chunked or self._length >= 0)
        self._pieces = self._read_on()
        self._whole = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._pieces:  # noqa: UP028 - `yield from` would close it, and `_is_read` goes on with it
                yield piece
        except OSError as error:
            raise _translated(error, self._request) from error

    def close(self) -> None:
        """Keep the connection where the body was read to its end; else drop it, which the peer notices at once."""
        if self._closed:
            return
        self._closed = True
        if self._keep and self._is_read():
            self._transport.give_back(self._address, self._link)
        else:
            with contextlib.suppress(OSError):
                self._link.close()

    def _is_read(self) -> bool:
        """Whether nothing of the body is left but what is here already: whoever has seen the last event does not wait
        for the last chunk, which stands right behind it."""
        self._link.settimeout(0.0)
        try:
            return not any(self._pieces) and self._whole
        except (OSError, ValueError, httpx2.HTTPError):
            return False

    def _read_on(self) -> Iterator[bytes]:
        if self._chunked:
            yield from self._chunks()
        elif self._length >= 0:
            yield from self._counted()
        else:
            yield from self._to_the_end()
        self._whole = True

    def _read(self) -> bytes:
        data = self._link.recv(READ)
        if not data:
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
        return data

    def _chunks(self) -> Iterator[bytes]:
        """Chunked coding (RFC 9112, 7.1). `left` is what is missing of the present chunk and its line end."""
        data, left = self._rest, 0
        while True:
            parts: list[bytes] = []
            while data:
                if left > 2:
                    parts.append(data[: left - 2])
                if left:
                    taken = min(left, len(data))
                    left, data = left - taken, data[taken:]
                    continue
                line, found, tail = data.partition(b"\r\n")
                if not found:
                    break
                size = int(line.partition(b";")[0], 16)
                if size == 0:
                    if parts:
                        yield b"".join(parts)
                    self._skip_trailer(tail)
                    return
                left, data = size + 2, tail
            if parts:
                yield parts[0] if len(parts) == 1 else b"".join(parts)
            data += self._read()

    def _skip_trailer(self, data: bytes) -> None:
        while not (data.startswith(b"\r\n") or b"\r\n\r\n" in data):
            data += self._read()

    def _counted(self) -> Iterator[bytes]:
        left, data = self._length, self._rest
        while left > 0:
            if data:
                yield data[:left]
                left -= len(data)
            data = self._read() if left > 0 else b""

    def _to_the_end(self) -> Iterator[bytes]:
        data = self._rest
        while True:
            if data:
                yield data
            data = self._link.recv(READ)
            if not data:
                return


def _readable(link: socket.socket) -> bool:
    """At this moment, asked without waiting; `select` would fail for descriptors above 1023."""
    poll = _poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))


def _head(request: httpx2.Request) -> bytes:
    target = request.url.raw_path
    lines = [request.method.encode("ascii") + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])


def _read_head(link: socket.socket) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, header fields and the first bytes of the body; interim responses (1xx) are passed over."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = link.recv(READ)
            if not more or len(data) > HEAD_MOST:
                raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        try:
            status = int(first.split(b" ", 2)[1])
        except (IndexError, ValueError) as error:
            raise httpx2.RemoteProtocolError("not an HTTP response") from error
        if status >= 200:
            break
    pairs = (line.partition(b":") for line in lines)
    return status, [(name.strip(), value.strip()) for name, _, value in pairs], data


def _translated(error: BaseException, request: httpx2.Request) -> BaseException:
    """A socket's error as httpx2 would have named it; anything else as it is."""
    if isinstance(error, TimeoutError):
        return httpx2.ReadTimeout(str(error), request=request)
    if isinstance(error, OSError):
        return httpx2.ReadError(str(error), request=request)
    return error
