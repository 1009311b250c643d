"""Who may call: the Origin header against the sites' lists, and the CORS fields that follow from it.

Set up by `guard` on a blueprint. The site of a request becomes known in different places (the path, the token, the
body); whoever learns it calls `admit`, and from then on problems speak in that site's words.
"""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from blueprints import services
from parlance.errors import OriginNotAllowed, ParlanceError
from parlance.site import Site
from parlance.sites import origins

METHODS = "GET, POST, PUT, DELETE"
HEADERS = "Authorization, Content-Type, Last-Event-ID"
EXPOSED = "Retry-After, RateLimit-Policy, RateLimit, X-Request-Id"
MAX_AGE = "86400"


def guard(door: Blueprint) -> None:
    """Answer preflights, and let allowed origins read every reply of this door, refusals included."""
    door.before_app_request(_preflight)
    door.after_app_request(_share)


def admit(site: Site) -> Site:
    """Note the request's site, and refuse an origin that is not among the site's.

    A request without an Origin passes: what it may do is its token's business. Raises OriginNotAllowed.
    """
    g.site, g.known_site = site.key, site
    origin = request.headers.get("Origin")
    if origin is not None and not origins.allows(site.origins, origin):
        g.origin_refused = True
        raise OriginNotAllowed("the Origin is not among the site's")
    return site


def known_site() -> Site | None:
    """The site of this request, as far as it is known."""
    site: Site | None = g.get("known_site")
    return site


def _is_ours() -> bool:
    return request.path.startswith("/v1/")


def _preflight() -> Response | None:
    """OPTIONS: no token, no body, so any site that lists the origin lets it pass; the call itself is checked again."""
    if request.method != "OPTIONS" or not _is_ours():
        return None
    origin = request.headers.get("Origin")
    if origin is None or not _some_site_allows(origin):
        raise OriginNotAllowed("no site lists this Origin")
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = METHODS
    response.headers["Access-Control-Allow-Headers"] = HEADERS
    response.headers["Access-Control-Max-Age"] = MAX_AGE
    return response


def _share(response: Response) -> Response:
    if not _is_ours():
        return response
    response.vary.add("Origin")
    response.headers["X-Content-Type-Options"] = "nosniff"
    origin = request.headers.get("Origin")
    if origin is not None and not g.get("origin_refused") and _may_read(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
    return response


def _may_read(origin: str) -> bool:
    site = known_site()
    return origins.allows(site.origins, origin) if site else _some_site_allows(origin)


def _some_site_allows(origin: str) -> bool:
    try:
        return services().sites.any_allows(origin)
    except ParlanceError:
        return False  # the store is away and nothing is remembered
