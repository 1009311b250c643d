"""For whoever runs the server: is it alive, may it have traffic, what has it counted."""

from __future__ import annotations

import gevent
from flask import Blueprint, Response, jsonify

from blueprints import services
from parlance.observe.logs import log
from parlance.observe.metrics import CONTENT_TYPE
from parlance.observe.readiness import store_problems

READY_S = 1.0

ops = Blueprint("ops", __name__)


@ops.get("/healthz")
def alive() -> Response:
    """The process answers. A restart would not cure what is wrong elsewhere, so nothing else is asked here."""
    return jsonify(status="ok")


@ops.get("/readyz")
def ready() -> tuple[Response, int]:
    """Everything that an answer needs is there. The reply says which check failed, the log says why."""
    problems = _problems()
    failed = {name: problem for name, problem in problems.items() if problem}
    if failed:
        log("not_ready", level="warning", problems=failed)
    checks = {name: "failed" if problem else "ok" for name, problem in problems.items()}
    return jsonify(status="unready" if failed else "ready", checks=checks), 503 if failed else 200


@ops.get("/metrics")
def metrics() -> Response:
    return Response(services().metrics.render(), content_type=CONTENT_TYPE)


def _problems() -> dict[str, str | None]:
    """The store's own time limits are shorter; this one covers all of them together."""
    try:
        with gevent.Timeout(READY_S):
            return {**store_problems(services().store), **services().checks()}
    except gevent.Timeout:
        return {"store": f"no answer within {READY_S} s"}
