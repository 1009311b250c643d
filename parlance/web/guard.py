"""Where a request may go. Pure: an address and what DNS said of it come in, a decision comes out.

What is refused falls into two parts. `destination` reads the address and refuses every form that two programs might
read differently: whoever checks and whoever connects must mean the same host. `admit` judges the IP addresses that the
name stands for, and if a single one of them is not of the public Internet, all of them are refused: an honest name
does not point both ways.

Only https goes to the public Internet, because what is sent are visitors' words and operators' secrets. The hosts in
`private_hosts` ("host:port", from PARLANCE_PRIVATE_TOOL_HOSTS) are the operator's own network: those may be http, at
any port and any address; nothing else of that network can be reached.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import idna

from parlance.web.errors import Refused, Unreachable

DEFAULT_PORTS = {"https": 443, "http": 80}

# From the registries of special-purpose addresses (RFC 6890), multicast, and what clouds put behind public numbers.
_NOT_PUBLIC_4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers (CGNAT)",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "the wire server of a cloud",
    "169.254.0.0/16": "link-local, where clouds keep their metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}

# Of IPv6, only 2000::/3 is given out, so all else is refused; the first rows only lend it a name.
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "an IPv4 address in disguise (mapped)",
    "::ffff:0:0:0/96": "an IPv4 address in disguise (translated)",
    "::/96": "an IPv4 address in disguise (compatible)",
    "64:ff9b::/96": "an IPv4 address in disguise (NAT64)",
    "64:ff9b:1::/48": "an IPv4 address in disguise (local NAT64)",
    "fc00::/7": "private (unique local)",
    "fe80::/10": "link-local",
    "fec0::/10": "private (site-local)",
    "ff00::/8": "multicast",
    "2001::/32": "an IPv4 address in disguise (Teredo)",
    "2001::/23": "reserved for protocols",
    "2001:db8::/32": "documentation",
    "2002::/16": "an IPv4 address in disguise (6to4)",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
    "3ffe::/16": "a network that is no more (6bone)",
}
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third quarter of an address whose last one is an IPv4 address (RFC 5214)

# Names that never mean the public Internet, whatever a resolver makes of them: RFC 6761 and 6762, RFC 8375, ICANN's
# `.internal`, and what home routers, companies and clusters use.
_INNER_NAMES = {
    *("localhost", "localdomain", "local", "internal", "lan", "home", "corp", "intranet", "private", "home.arpa"),
    *("in-addr.arpa", "ip6.arpa", "onion", "invalid", "test", "svc", "consul", "instance-data.com", "metadata.goog"),
}

# https belongs on 443; other services take a port above 1023. These are taken by something that is no web server, and
# knocking at it on somebody's behalf is not what a tool is for.
_OTHERS_PORTS = {
    *(1080, 1433, 1434, 1521, 1719, 1720, 1723, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 2483, 2484, 3128, 3306, 3389),
    *(3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672, 5900, 5984, 5985, 5986, 6000, 6379, 6443, 6566, 6665, 6666),
    *(6667, 6668, 6669, 6679, 6697, 7000, 7001, 8086, 8500, 9042, 9092, 9100, 9200, 9300, 10080, 10250, 10255, 11211),
    *(15672, 25565, 26379, 27017, 27018, 27019, 50000, 61616),
}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AS_IT_IS = "/?:@!$&'()*+,;=-._~%[]|"  # of path and query: what is encoded stays so, and no more is


@dataclass(frozen=True, slots=True)
class Destination:
    """An address that has one meaning only. `literal` where the host is an IP address; `private` where it is one of
    the operator's own that are allowed."""

    scheme: str
    host: str  # lower case, ASCII; an IPv6 address without brackets
    port: int
    target: str  # path and query
    literal: bool
    private: bool

    @property
    def place(self) -> str:
        """`shop.example:443`, `[::1]:8080`."""
        return _place(self.host, self.port)

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.place if self.port != DEFAULT_PORTS[self.scheme] else self.place.rpartition(":")[0]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def same_site(self, other: Destination) -> bool:
        return (self.scheme, self.place) == (other.scheme, other.place)


def destination(url: str, private_hosts: frozenset[str] = frozenset()) -> Destination:
    """What an address means, if it means one thing and may be asked. Raises Refused."""
    refuse_odd_characters(url)
    match = _URL.fullmatch(url)
    if not match:
        raise Refused("not an absolute web address")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if scheme not in DEFAULT_PORTS:
        raise Refused(f"{scheme} is neither http nor https")
    host, literal, port = _read_authority(authority, scheme)
    private = _place(host, port) in private_hosts
    if not private:
        _refuse_unless_public(scheme, host, literal, port)
    return Destination(scheme, host, port, _target(rest), literal, private)


def admit(there: Destination, addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses that a name stands for, if every one may be connected to. Raises Refused; Unreachable for none."""
    if not addresses:
        raise Unreachable(f"{there.host} has no address")
    for address in () if there.private else addresses:
        if why := not_public(address):
            raise Refused(f"{there.host} stands for {address}, which is {why}")
    return tuple(dict.fromkeys(addresses))


def not_public(address: str) -> str | None:
    """What an IP address is instead of one of the public Internet; None where it is one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "no IP address"
    if isinstance(ip, ipaddress.IPv4Address):
        return _named(ip, _RANGES_4)
    if ip.scope_id:
        return "bound to one network card (scoped)"
    if (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "an IPv4 address in disguise (ISATAP)"
    return _named(ip, _RANGES_6) or (None if ip in _PUBLIC_6 else "of no range that is given out")


def refuse_odd_characters(text: str) -> None:
    """Blanks, line ends, backslashes and what cannot be seen: programs disagree about them. Raises Refused."""
    if found := _ODD.search(text):
        raise Refused(f"holds the character U+{ord(found[0]):04X}, which no address may")


def _read_authority(authority: str, scheme: str) -> tuple[str, bool, int]:
    """Host, whether it is an IP address, and port."""
    if "@" in authority:
        raise Refused("a user name before the host hides what the host is")
    if "%" in authority:
        raise Refused("a host is not written with % signs")
    match = _AUTHORITY.fullmatch(authority)
    if not match:
        raise Refused("not a host with, perhaps, a port")
    port = int(match[3] or DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65_535:
        raise Refused(f"there is no port {port}")
    host, literal = (_ipv6(match[1]), True) if match[1] else _name(match[2])
    return host, literal, port


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise Refused("not an IPv6 address") from error


def _name(text: str) -> tuple[str, bool]:
    """A host name in lower case and ASCII, or an IPv4 address in its one usual form; and which of them it is."""
    name = text.lower() if text.isascii() else _as_ascii(text)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # so that some resolver would read a number: decimal, octal, hex, shortened
        try:
            return str(ipaddress.IPv4Address(name)), True
        except ValueError as error:
            raise Refused("an IPv4 address is four decimal numbers with dots between") from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("not a host name")
    return name, False


def _as_ascii(name: str) -> str:
    """`bücher.example` as DNS knows it. Strict: letters that merely look like digits or dots are refused, not read."""
    try:
        return idna.encode(name.lower(), strict=True).decode("ascii")
    except idna.IDNAError as error:
        raise Refused("not a host name") from error


def _refuse_unless_public(scheme: str, host: str, literal: bool, port: int) -> None:
    if scheme != "https":
        raise Refused("http is for the allowed private hosts only; use https")
    if literal and (why := not_public(host)):
        raise Refused(f"{host} is {why}")
    if not literal and _is_inner(host):
        raise Refused(f"{host} is a name of some private network")
    if (port < 1024 and port != 443) or port in _OTHERS_PORTS:
        raise Refused(f"port {port} is not one of a web server")


def _is_inner(name: str) -> bool:
    labels = name.split(".")
    return len(labels) == 1 or any(".".join(labels[start:]) in _INNER_NAMES for start in range(len(labels)))


def _target(rest: str) -> str:
    path = rest if rest.startswith("/") else "/" + rest
    return quote(path, safe=_AS_IT_IS)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _named(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, ranges: Sequence[tuple[_Network, str]]) -> str | None:
    return next((name for network, name in ranges if ip in network), None)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_RANGES_4 = [(ipaddress.IPv4Network(network), name) for network, name in _NOT_PUBLIC_4.items()]
_RANGES_6 = [(ipaddress.IPv6Network(network), name) for network, name in _NOT_PUBLIC_6.items()]
