"""`flask visitors`: what an operator may have to do about one of them."""

from __future__ import annotations

import time

import click
from flask.cli import AppGroup

from blueprints import services
from parlance.errors import StoreUnavailable

visitors = AppGroup("visitors", help="Visitors and their sessions.")


@visitors.command()
@click.argument("site")
@click.argument("visitor")
def revoke(site: str, visitor: str) -> None:
    """End every session of a visitor. Their conversations stay; a new session is somebody new."""
    try:
        known = services().visitors.revoke(site, visitor, time.time())
    except StoreUnavailable as error:
        raise click.ClickException(f"{error}. Is the server running, or REDIS_URL right?") from error
    if not known:
        raise click.ClickException(f"site {site!r} has no visitor {visitor!r}.")
    click.echo(f"{visitor}: every session has ended")
