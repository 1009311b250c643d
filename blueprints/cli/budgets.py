"""`flask budgets`: what sites have spent of what they may."""

from __future__ import annotations

import time

import click
from flask.cli import AppGroup

from blueprints import services
from blueprints.cli.mistakes import in_plain_words
from parlance.budgets import Period

NANO = 10**9

budgets = AppGroup("budgets", help="What sites have spent of what they may.")
ROW = "{:<12}  {:<10}  {:>12}  {:>12}  {:>12}  {:>6}"


@budgets.command()
@click.argument("site", metavar="SITE")
@click.option("--visitor", default="", help="The id of a visitor, to show their day too.")
def show(site: str, visitor: str) -> None:
    """What this day and month have cost in US dollars, what answers under way hold, and the budgets."""
    with in_plain_words():
        found = services().sites.get(site)
        click.echo(ROW.format("budget", "period", "spent", "held", "limit", "used"))
        for period in services().budgets.show(found, visitor):
            click.echo(_row(period))
        full, soft = (
            services().questions.most(found, "m" * found.limits.message_chars, time.time(), soft=soft)
            for soft in (False, True)
        )
        click.echo(f"An answer holds up to {_dollars(full)} while it is made, {_dollars(soft)} in the soft stage.")


def _row(period: Period) -> str:
    limit, used = "none", ""
    if period.limit is not None:
        limit, used = _dollars(period.limit), f"{100 * (period.spent + period.held) // max(1, period.limit)} %"
    return ROW.format(period.scope, period.name, _dollars(period.spent), _dollars(period.held), limit, used).rstrip()


def _dollars(nano: int) -> str:
    """Six places, rounded down; the ledger has all nine."""
    return f"{nano // NANO}.{nano % NANO // 1000:06}"
