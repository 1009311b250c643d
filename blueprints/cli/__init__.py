"""The operator's commands, each a subcommand of `flask`."""

from __future__ import annotations

from flask import Flask

from blueprints.cli.leads import leads
from blueprints.cli.sites import sites


def register(app: Flask) -> None:
    app.cli.add_command(sites)
    app.cli.add_command(leads)
