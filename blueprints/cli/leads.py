"""`flask leads`: what visitors have left for the people of a site."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import click
from flask.cli import AppGroup

from blueprints import services
from parlance.errors import SiteNotFound, StoreUnavailable
from parlance.tools.leave_message import COLUMNS

leads = AppGroup("leads", help="Messages that visitors have left: export, forget.")
SITE = click.option("--site", required=True, metavar="KEY", help="The site's key.")
Found = TypeVar("Found")
_A_FORMULA = re.compile(r"[=+\-@\t\r]")


class Day(click.ParamType[str]):
    """A date or an RFC 3339 time in UTC, as leads are dated."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z)?", value):
            self.fail(f"{value!r} is neither a date like 2026-11-20 nor a time like 2026-11-20T15:00:00Z.", param, ctx)
        return value.removesuffix("Z")


@leads.command()
@SITE
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--since", type=Day(), help="Only those from this date or time (UTC) on.")
def export(site: str, form: str, since: str | None) -> None:
    """Write a site's leads to standard output, oldest first."""
    found = _asked(site, lambda: services().leads.entries(site, since or ""))
    click.echo(_csv(found) if form == "csv" else "".join(json.dumps(lead) + "\n" for lead in found), nl=False)


@leads.command()
@SITE
@click.option("--before", type=Day(), required=True, help="Those left before this date or time (UTC).")
def forget(site: str, before: str) -> None:
    """Remove a site's leads from before a day, once they are answered."""
    click.echo(f"{_asked(site, lambda: services().leads.forget(site, before))} forgotten")


def _asked(site: str, act: Callable[[], Found]) -> Found:
    """`act`'s answer, for a site that exists; what went wrong in plain words, and exit status 1."""
    try:
        services().sites.get(site)
        return act()
    except SiteNotFound as error:
        raise click.ClickException(f"{error}. `flask sites list` names those there are.") from error
    except StoreUnavailable as error:
        raise click.ClickException(f"{error}. Is the server running, or REDIS_URL right?") from error


def _csv(found: Iterable[Mapping[str, str]]) -> str:
    """A table with a heading. An apostrophe keeps visitors' words from becoming formulas of a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for lead in found:
        cells = (lead.get(column, "") for column in COLUMNS)
        writer.writerow([f"'{cell}" if _A_FORMULA.match(cell) else cell for cell in cells])
    return text.getvalue()
