"""The operator's commands, each a subcommand of `flask`."""

from __future__ import annotations

from flask import Flask

from blueprints.cli.budgets import budgets
from blueprints.cli.sites import sites


def register(app: Flask) -> None:
    for group in (budgets, sites):
        app.cli.add_command(group)
