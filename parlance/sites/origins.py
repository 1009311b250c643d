"""Which web origins may talk to a site. Pure: entries of the site file in, yes or no out.

An entry is an exact origin (`https://fern.example`), a domain's sub-domains at any depth (`https://*.fern.example`),
any port of a loopback host (`http://localhost:*`, for development), or `*`: requests that carry no Origin at all (a
mobile app, a script) may begin sessions. `*` opens the site to no browser origin; those are always named.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import idna

WITHOUT_ORIGIN = "*"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[^\s/:@?#\\\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?", re.IGNORECASE
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry, understood. `port` None stands for any port."""

    scheme: str
    host: str
    port: int | None
    subdomains: bool = False

    def matches(self, origin: Pattern) -> bool:
        return (
            self.scheme == origin.scheme
            and (self.port is None or self.port == origin.port)
            and (origin.host.endswith("." + self.host) if self.subdomains else origin.host == self.host)
        )


def allows(entries: Iterable[str], origin: str) -> bool:
    """Whether a request that carries this `Origin` header may talk to the site."""
    asked = _asked(origin)
    return asked is not None and any(_entry(entry).matches(asked) for entry in entries if entry != WITHOUT_ORIGIN)


def allows_none(entries: Iterable[str]) -> bool:
    """Whether a request without an `Origin` header may begin a session."""
    return WITHOUT_ORIGIN in entries


def mistake(entry: str) -> str | None:
    """What is wrong with an entry of a site file, in words for its operator; None if nothing is."""
    if entry == WITHOUT_ORIGIN:
        return None
    try:
        _entry(entry)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=1024)
def _asked(origin: str) -> Pattern | None:
    """An `Origin` header, which browsers send in ASCII and without wildcards; None for anything else."""
    match = _ORIGIN.fullmatch(origin)
    if not match or not origin.isascii() or match["port"] == "*" or not _is_host(match["host"].lower()):
        return None
    return _pattern(match["scheme"].lower(), match["host"].lower(), match["port"])


@lru_cache(maxsize=4096)
def _entry(entry: str) -> Pattern:
    """An entry of a site file. Raises ValueError with a message for its operator."""
    match = _ORIGIN.fullmatch(entry)
    if not match:
        raise ValueError(_malformed(entry))
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
    subdomains = host.startswith("*.")
    host = _ascii(host.removeprefix("*."))
    if not _is_host(host):
        raise ValueError(_malformed(entry))
    if port == "*" and (host not in LOOPBACK or subdomains):
        raise ValueError(f"any port (`:*`) is for {', '.join(LOOPBACK)} only; name the port, or leave it out")
    if port not in (None, "*") and not 1 <= int(port) <= 65535:
        raise ValueError(f"there is no port {port}; ports go from 1 to 65535")
    if subdomains and ("." not in host or _is_address(host)):
        raise ValueError(f"`*.{host}` is wider than one domain; name one: `{scheme}://*.shop.example`")
    return _pattern(scheme, host, port, subdomains)


def _pattern(scheme: str, host: str, port: str | None, subdomains: bool = False) -> Pattern:
    return Pattern(scheme, host, None if port == "*" else int(port or _DEFAULT_PORTS[scheme]), subdomains)


def _ascii(host: str) -> str:
    """The host as browsers write it in `Origin`: `bücher.example` becomes `xn--bcher-kva.example`."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"`{host}` is no host name: {error}") from error


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_address(host)
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.split("."))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _malformed(entry: str) -> str:
    if entry == "null":
        return "`null` is what sandboxed frames and local files send; anyone can, so it cannot be allowed"
    if entry.endswith("/") and _ORIGIN.fullmatch(entry.rstrip("/")):
        return f"an origin has no path: write `{entry.rstrip('/')}`"
    if "://" not in entry and _ORIGIN.fullmatch("https://" + entry):
        return f"an origin begins with its scheme: write `https://{entry}`"
    return f"`{entry}` is not an origin; write scheme and host, such as `https://shop.example` or `https://*.shop.example`"
