"""The application: settings in, Flask app out."""

from __future__ import annotations

from typing import Any

from flask import Flask

from blueprints import cli
from blueprints.access import observe_requests
from blueprints.ops import ops
from blueprints.problems import answer_with_problems
from blueprints.visitor import visitor
from blueprints.website import website
from blueprints.widget import widget
from parlance import settings as environment
from parlance.observe import logs
from parlance.services import build
from parlance.settings import Settings

MAX_BODY = 64 * 1024


def create_app(settings: Settings | None = None, **replacements: Any) -> Flask:
    """A Flask app with everything behind it; `replacements` are `services.build`'s."""
    settings = settings or environment.read()
    logs.configure(settings)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["parlance"] = build(settings, **replacements)
    observe_requests(app)
    answer_with_problems(app)
    for door in (visitor, widget, website, ops):
        app.register_blueprint(door)
    cli.register(app)
    return app
