"""The door of the widget's own files: `GET /widget.js`, the loader, and the modules it names. They are for everyone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, abort, request

from blueprints.assets import Asset, Assets

LOADER_AGE = "public, max-age=300"
MODULE_AGE = "public, max-age=31536000, immutable"

widget = Blueprint("widget", __name__)


@cache
def assets() -> Assets:
    """Made once in a process; the folder does not change under a running server."""
    return Assets(Path(__file__).parent.parent / "static" / "widget")


@widget.record_once
def _make_at_start(state: object) -> None:
    assets()


@widget.get("/widget.js")
def loader() -> Response:
    return _served(assets().loader, LOADER_AGE)


@widget.get("/widget/<version>/<path:path>")
def module(version: str, path: str) -> Response:
    asset = assets().modules.get(path)
    if version != assets().version or asset is None:
        abort(404)
    return _served(asset, MODULE_AGE)


def _served(asset: Asset, cache_control: str) -> Response:
    encoding = request.accept_encodings.best_match(asset.encodings, default="identity") or "identity"
    response = Response(asset.encodings[encoding], mimetype="text/javascript")
    if encoding != "identity":
        response.headers["Content-Encoding"] = encoding
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = cache_control
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(f"{asset.etag}-{encoding}")
    response.make_conditional(request)
    return response
