"""The doors, one per audience. A door authenticates, loads, makes one call, dumps."""

from typing import cast

from flask import current_app

from parlance.services import Services


def services() -> Services:
    """The house behind the doors of the current app."""
    return cast(Services, current_app.extensions["parlance"])
