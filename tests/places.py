"""The public Internet, played by a server on loopback: who was asked what, and where a connection was to go.

`Web.connect` leads every connection to that server, so that a test knows which addresses would have been reached.
`certificates/` holds an authority and, for api.shop.example and 93.184.216.34, a certificate; made with openssl for
these tests alone, for a century.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from gevent.server import StreamServer

from parlance.web import outbound as module
from parlance.web.outbound import Outbound

CERTIFICATES = Path(__file__).parent / "certificates"
SHOP, SHOP_AT = "https://api.shop.example/", "93.184.216.34"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Place:
    """A server that says what it is told to: `says` is bytes, or a function that gets the link and does as it likes."""

    def __init__(self) -> None:
        self.says = OK
        self.heard: list[bytes] = []
        self.names: list[str | None] = []
        self.hung_up = 0
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(CERTIFICATES / "shop.pem")
        tls.sni_callback = lambda link, name, context: self.names.append(name)
        self.plain = StreamServer(("127.0.0.1", 0), self._serve)
        self.secure = StreamServer(("127.0.0.1", 0), self._serve, ssl_context=tls)

    def _serve(self, link, peer) -> None:
        link.settimeout(5)
        try:
            heard = self._hear(link)
            self.heard.append(heard)
            says = self.says(heard) if callable(self.says) else self.says
            for piece in [says] if isinstance(says, bytes) else says:
                link.sendall(piece)
        except OSError:
            self.hung_up += 1
        finally:
            link.close()

    @staticmethod
    def _hear(link) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = link.recv(65_536)
            if not more:
                raise OSError("gone")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
        length = lengths[0] if lengths else 0
        while len(body) < length:
            body += link.recv(65_536)
        return head + b"\r\n\r\n" + body

    def __enter__(self) -> Place:
        self.plain.start()
        self.secure.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.stop(1)
        self.secure.stop(1)


class Web:
    """An Outbound on that place. `answers` is what DNS says, one entry a lookup, the last one for ever."""

    def __init__(self, place: Place, private: frozenset[str] = frozenset()) -> None:
        self.place, self.reached, self.asked = place, [], []
        self.answers = [[SHOP_AT]]
        self.unreachable: set[str] = set()
        tls = ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
        self.outbound = Outbound(private, resolver=self.resolve, connect=self.connect, tls=tls)

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def connect(self, address: str, port: int, timeout_s: float):
        self.reached.append((address, port))
        if address in self.unreachable:
            raise ConnectionRefusedError(111, "Connection refused")
        there = self.place.plain if port in (80, 8080) else self.place.secure
        return module.connect("127.0.0.1", there.server_port, timeout_s)

    def get(self, url: str = SHOP, **options):
        return self.outbound.request("GET", url, **{"timeout_s": 5, **options})
