"""`flask ledger`: what every upstream call cost, for a spreadsheet or a script."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from blueprints import services
from parlance.conversations import stamp
from parlance.errors import StoreUnavailable
from parlance.ledger import COLUMNS

ledger = AppGroup("ledger", help="What every upstream call cost.")

Rows = Iterable[dict[str, Any]]


class Moment(click.ParamType):
    """A date or an RFC 3339 time, as the ledger writes times: UTC. What names no zone is UTC."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date (2026-11-20) and no time (2026-11-20T15:04:05Z)", param, ctx)
        return stamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@ledger.command()
@click.option("--format", "write", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--site", help="The key of one site; all of them without it.")
@click.option("--since", type=Moment(), help="A date or an RFC 3339 time; everything without it.")
def export(write: str, site: str | None, since: str | None) -> None:
    """Write a row per upstream call to standard output, by site and time. `cost_nano_usd` is in 1e-9 USD."""
    try:
        rows = (row for key in _sites(site) for row in services().ledger.rows(key, since or ""))
        {"jsonl": _as_jsonl, "csv": _as_csv}[write](rows)
    except StoreUnavailable as error:
        raise click.ClickException(f"{error}. Is the server running, or REDIS_URL right?") from error


def _sites(site: str | None) -> list[str]:
    known: list[str] = services().sites.keys()
    if site is not None and site not in known:
        raise click.ClickException(f"there is no site {site!r}. `flask sites list` names those there are.")
    return known if site is None else [site]


def _as_jsonl(rows: Rows) -> None:
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False))


def _as_csv(rows: Rows) -> None:
    """No cell holds what a visitor typed, so none needs a guard against being taken for a formula."""
    table = csv.DictWriter(sys.stdout, COLUMNS, restval="", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
