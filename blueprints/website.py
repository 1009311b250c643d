"""The demo's website: the shop whose chat this is, under /demo/. Plain files, strict about what a page may load."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

FOLDER = Path(__file__).resolve().parent.parent / "sites" / "demo" / "website"
BRIEFLY_S = 60  # long enough for a walk through the pages, short enough for whoever is editing them

# As strict as a careful host's: the widget has to live with it.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "require-trusted-types-for 'script'",
    )
)

website = Blueprint("website", __name__, url_prefix="/demo")


@website.get("/", defaults={"page": "index"})
@website.get("/<page>")
def show(page: str) -> Response:
    """A page by its name, or a file beside the pages by its own."""
    return _send(page if "." in page else f"{page}.html")


@website.get("/images/<name>")
def image(name: str) -> Response:
    return _send(f"images/{name}")


def _send(name: str) -> Response:
    """404 for whatever does not exist or lies outside the folder."""
    response = send_from_directory(FOLDER, name, max_age=BRIEFLY_S)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
