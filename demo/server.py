"""The demo as a real HTTP server: one thread a connection, chunked streams, and a socket that a script can break.

    with serve(Demo()) as url: ...           in a thread of this process
    python -m demo --port 9000               on its own

The standard library's server does; a WSGI server proper would hide the socket that resets and cuts need.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

from demo.errors import Gone

RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all: close() sends RST


class SocketLine:
    """A Line over a socket: it hears at once that the client has left."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN | select.POLLHUP | select.POLLERR)

    def wait(self, seconds: float) -> None:
        if self._poll.poll(seconds * 1000) and not self._hears():
            raise Gone("the client has left")

    def cut(self, how: str) -> None:
        if how == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._socket.close()
        raise Gone(f"the script cut the line: {how}")

    def _hears(self) -> bool:
        """Whether what came is more than the end."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


class Handler(BaseHTTPRequestHandler):
    """One connection. Speaks WSGI to `server.app` and HTTP/1.1 to the client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each small event waits 40 ms for the last one's acknowledgement
    server: Server

    def do_GET(self) -> None:
        try:
            result = self.server.app(self._environ(SocketLine(self.connection)), self._start)
            with contextlib.closing(result):
                self._send(result)
        except (Gone, OSError):
            self.close_connection = True

    do_POST = do_DELETE = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the calls are kept, see /_demo/calls."""

    def _environ(self, line: SocketLine) -> dict[str, Any]:
        url = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        return environ | {
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(url.path),
            "QUERY_STRING": url.query,
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "SERVER_PROTOCOL": self.request_version,
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(self.rfile.read(length)),
            "wsgi.errors": sys.stderr,
            "demo.line": line,
        }

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        self._chunked = not any(name.lower() == "content-length" for name, _ in headers)
        for name, value in headers:
            self.send_header(name, value)
        if self._chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        return self.wfile.write

    def _send(self, result: Iterable[bytes]) -> None:
        for data in result:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._chunked:
            self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, app: Any, host: str, port: int) -> None:
        self.app = app
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is what this server is for; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            super().shutdown_request(request)


@contextlib.contextmanager
def serve(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves `app` from a thread and gives its address; port 0 is any free one."""
    server = Server(app, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
