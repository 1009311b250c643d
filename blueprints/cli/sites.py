"""`flask sites`: sites as files, for those who keep theirs in version control."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click
from flask.cli import AppGroup

from blueprints import services
from blueprints.cli.mistakes import in_plain_words
from parlance.errors import Mistake, SiteNotFound
from parlance.site import Site

sites = AppGroup("sites", help="Sites as files: apply, export, list, check.")
FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")


@sites.command()
@FILES
@click.option("-m", "--message", default="", help="Why, for the history of versions.")
def apply(files: tuple[Path, ...], message: str) -> None:
    """Create or update the sites in these files: all of them, or none if any has a mistake."""
    with in_plain_words():
        reading = services().sites.read(files)
        _show(reading.warnings)
        before = [_published(site.key) for site in reading.sites]
        for old, new in zip(before, services().sites.apply(reading.sites, message), strict=True):
            click.echo(_report(old, new))


@sites.command()
@FILES
def check(files: tuple[Path, ...]) -> None:
    """Read these files and name every mistake, by file and line. Needs no store."""
    with in_plain_words():
        reading = services().sites.read(files)
        _show(reading.warnings)
        for file, site in zip(files, reading.sites, strict=True):
            click.echo(f"{file}: {site.key} is in order")


@sites.command()
@click.argument("key")
def export(key: str) -> None:
    """Write a site as a site file, complete in itself, to standard output."""
    with in_plain_words():
        click.echo(services().sites.export(key), nl=False)


@sites.command(name="list")
def list_() -> None:
    """Every site: key, version, name and origins."""
    with in_plain_words():
        for site in services().sites.all():
            click.echo(f"{site.key}\tversion {site.version}\t{site.name}\t{' '.join(site.origins)}")


def _show(warnings: list[Mistake]) -> None:
    for warning in warnings:
        click.echo(f"{warning} (warning)", err=True)


def _published(key: str) -> Site | None:
    try:
        found: Site = services().sites.get(key)
    except SiteNotFound:
        return None
    return found


def _report(old: Site | None, new: Site) -> str:
    if old is None:
        return f"{new.key}: created, version {new.version}"
    if old.version == new.version:
        return f"{new.key}: unchanged, version {new.version}"
    changed = [each.name for each in fields(Site) if getattr(old, each.name) != getattr(new, each.name)]
    return f"{new.key}: version {new.version}, changed: {', '.join(name for name in changed if name != 'version')}"
