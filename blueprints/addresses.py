"""The visitor's address, as far as it can be trusted."""

from __future__ import annotations

import ipaddress

from flask import request

from blueprints import services


def client_ip() -> str:
    """The peer's address; behind N trusted proxies, what the outermost of them wrote: the Nth from the right of
    X-Forwarded-For. What stands further left was written by the client, who may write anything.

    IPv6 counts by /64: one household has that many addresses to choose from.
    """
    trusted = services().settings.trusted_proxies
    peer = request.remote_addr or ""
    if trusted:
        hops = [hop.strip() for line in request.headers.getlist("X-Forwarded-For") for hop in line.split(",")]
        peer = hops[-trusted] if len(hops) >= trusted else peer
    return _normal(peer) or _normal(request.remote_addr or "") or "unknown"


def _normal(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)
