"""The one place that knows the SDK: `open` starts a streamed request and hands over its raw bytes.

The SDK keeps what it is good at (authentication, headers, addresses, typed errors). Its retries are off, because they
know no deadline; its stream objects are passed by, because they cost four times the parsing of `stream.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anthropic
import certifi
import httpx2

from parlance.claude.errors import UpstreamError, translate
from parlance.claude.transport import SocketTransport

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
            create = self._sdk.messages.with_streaming_response.create
            with create(**params, stream=True, extra_headers={"accept-encoding": "identity"}) as response:
                yield Opened(response.http_response.iter_raw(), response.request_id or "")
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
