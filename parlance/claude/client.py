"""The one place that knows the SDK: `open` starts a streamed request and hands over its raw bytes.

The SDK keeps what it is good at: authentication, headers, addresses, typed errors. Its retries are off, because they
know no deadline. Its encoding of parameters and its stream objects are passed by (`post` is its documented way to do
so): they cost twice what sending costs, and four times the parsing of `stream.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anthropic
import certifi
import httpx2
import msgspec

from parlance.claude.errors import UpstreamError, translate
from parlance.claude.transport import SocketTransport

# Not compressed: a compressed stream arrives in lumps.
_HEADERS = {"accept-encoding": "identity", "content-type": "application/json"}
CONNECT_S = 5.0
POOL_S = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that has begun: its bytes as they come, and the provider's id for it."""

    chunks: Iterator[bytes]
    request_id: str


class Client:
    """`stall_s` is the longest silence of a stream; `transport` replaces the network: the demo enters here."""

    def __init__(
        self, api_key: str, base_url: str, *, stall_s: float = 60.0, transport: httpx2.BaseTransport | None = None
    ) -> None:
        timeout = httpx2.Timeout(stall_s, connect=CONNECT_S, pool=POOL_S)
        options = _network(base_url) if transport is None else {"transport": transport}
        self._sdk = anthropic.Anthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            open_telemetry=False,
            http_client=anthropic.DefaultHttpxClient(timeout=timeout, **options),
        )

    @contextmanager
    def open(self, params: dict[str, Any]) -> Iterator[Opened]:
        """Start a streamed request. Leaving the block drops the connection, which stops the provider's meter.

        Raises UpstreamError, and nothing else, for whatever goes wrong before, or while the chunks are read.
        """
        try:
            response: Any = self._sdk.post(  # the bare response, since that is what it is to be cast to
                "/v1/messages",
                cast_to=httpx2.Response,
                content=msgspec.json.encode({**params, "stream": True}),
                options={"headers": _HEADERS},
                stream=True,
                stream_cls=anthropic.Stream[Any],
            )
            with closing(response):
                yield Opened(response.iter_raw(), response.headers.get("request-id", ""))
        except UpstreamError:
            raise
        except (anthropic.APIError, httpx2.HTTPError, httpx2.StreamError, ValueError, OSError) as error:
            raise translate(error) from error

    def close(self) -> None:
        self._sdk.close()


def in_process(app: Any) -> httpx2.BaseTransport:
    """A WSGI app in the network's place."""
    return httpx2.WSGITransport(app)


def _network(base_url: str) -> dict[str, Any]:
    """Our own transport; where the environment names a proxy for this address, the SDK's, which knows about proxies."""
    address = urlsplit(base_url)
    if address.scheme in getproxies() and not proxy_bypass(address.hostname or ""):
        return {"verify": _tls()}
    return {"transport": SocketTransport(_tls())}


def _tls() -> ssl.SSLContext:
    """An explicit context: off Linux the SDK's own one does not survive gevent (gevent#2178, truststore#214)."""
    return ssl.create_default_context(cafile=certifi.where())
