"""The operator's commands, each a subcommand of `flask`."""

from __future__ import annotations

from flask import Flask

from blueprints.cli.budgets import budgets
from blueprints.cli.leads import leads
from blueprints.cli.ledger import ledger
from blueprints.cli.sites import sites
from blueprints.cli.visitors import visitors


def register(app: Flask) -> None:
    for group in (sites, ledger, budgets, visitors, leads):
        app.cli.add_command(group)
