"""Probes, metrics, and the log line of every request.

`buffered=True` makes the test client read and close a response at once, as a server does.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import gevent
import pytest
from flask import Flask, Response, abort, g

from blueprints import ops as ops_module
from blueprints.access import STALLED_S, observe_requests
from blueprints.ops import ops
from parlance.errors import StoreUnavailable
from parlance.observe.logs import configure
from parlance.observe.metrics import Metrics


class Store:
    """Answers INFO with one policy, or fails as the real one does."""

    def __init__(self):
        self.policy = "noeviction"
        self.failure = None
        self.delay_s = 0.0

    def do(self, *command):
        gevent.sleep(self.delay_s)
        if self.failure:
            raise self.failure
        return {"maxmemory_policy": self.policy}


@pytest.fixture
def services():
    parts = SimpleNamespace(store=Store(), metrics=Metrics(), problems={"prices": None})
    parts.checks = lambda: parts.problems
    return parts


@pytest.fixture
def app(services, settings):
    configure(settings)
    app = Flask(__name__)
    app.extensions["parlance"] = services
    observe_requests(app)
    app.register_blueprint(ops)

    @app.get("/pieces/<name>")
    def pieces(name):
        g.site, g.turn = "fern", "t_1"
        return Response((part for part in ("é", b"bc", name)), mimetype="text/event-stream")

    @app.get("/broken")
    def broken():
        raise RuntimeError("a bug")

    @app.post("/refused")
    def refused():
        abort(429)

    return app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def lines(capsys):
    """The log lines of requests so far."""

    def read():
        every = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return [line for line in every if line["event"] == "request"]

    return read


def test_it_is_alive_though_the_store_is_not(client, services):
    services.store.failure = StoreUnavailable("gone")
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_it_is_ready_when_every_check_passes(client):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json == {"status": "ready", "checks": {"store": "ok", "eviction policy": "ok", "prices": "ok"}}


def test_it_is_not_ready_without_the_store_and_tells_the_reason_to_the_log_alone(client, services, capsys):
    services.store.failure = StoreUnavailable("Redis at 10.0.0.7 did not answer")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json["checks"]["store"] == "failed"
    assert "10.0.0.7" not in response.text
    assert "10.0.0.7" in capsys.readouterr().err


def test_it_is_not_ready_with_a_store_that_evicts(client, services):
    services.store.policy = "allkeys-lru"
    response = client.get("/readyz")
    assert (response.status_code, response.json["checks"]["eviction policy"]) == (503, "failed")


def test_it_is_not_ready_without_a_price(client, services):
    services.problems = {"prices": "no price for claude-x"}
    response = client.get("/readyz")
    assert (response.status_code, response.json["checks"]["prices"]) == (503, "failed")


def test_it_does_not_wait_for_a_store_that_hangs(client, services, monkeypatch):
    monkeypatch.setattr(ops_module, "READY_S", 0.05)
    services.store.delay_s = 5.0
    response = client.get("/readyz")
    assert (response.status_code, response.json["checks"]["store"]) == (503, "failed")


def test_it_shows_what_it_has_counted(client, services):
    services.metrics.takeover()
    response = client.get("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert "parlance_takeovers_total 1.0" in response.text


def test_it_gives_every_request_an_id_of_its_own(client, lines):
    first, second = (client.get("/healthz", buffered=True).headers["X-Request-Id"] for _ in range(2))
    assert first != second
    assert [line["request"] for line in lines()] == [first, second]


def test_it_logs_a_stream_when_its_last_byte_is_out(client, lines):
    response = client.get("/pieces/secret?q=what+I+typed", buffered=False)
    parts = response.response
    assert next(iter(parts)) == "é".encode()
    assert lines() == []
    response.close()
    (line,) = lines()
    assert line.pop("duration_ms") >= 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "event": "request",
        "request": response.headers["X-Request-Id"],
        "method": "GET",
        "route": "/pieces/<name>",
        "status": 200,
        "site": "fern",
        "turn": "t_1",
        "bytes": 2,
    }


def test_it_counts_the_bytes_of_a_whole_stream_and_of_a_plain_body(client, lines):
    streamed = client.get("/pieces/d", buffered=True).data
    plain = client.get("/healthz", buffered=True).data
    head = client.head("/healthz", buffered=True)
    assert streamed == "ébcd".encode()
    assert [line["bytes"] for line in lines()] == [5, len(plain), 0]
    assert int(head.headers["Content-Length"]) == len(plain)


def test_it_logs_refusals_and_unknown_paths_without_the_path(client, lines):
    client.post("/refused", buffered=True)
    client.get("/my/secret/path", buffered=True)
    refused, unknown = lines()
    assert (refused["status"], refused["route"]) == (429, "/refused")
    assert unknown["status"] == 404
    assert "route" not in unknown


def test_it_logs_a_bug_with_its_request_and_its_trace(client, app, capsys):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/broken", buffered=True).status_code == 500
    raw = capsys.readouterr().err
    assert "RuntimeError: a bug" in raw
    assert json.loads(raw.splitlines()[-1])["status"] == 500


def test_it_lets_a_peer_go_that_neither_reads_nor_sends(client):
    limits = []
    peer = SimpleNamespace(settimeout=limits.append)
    client.get("/healthz", environ_overrides={"gunicorn.socket": peer})
    assert limits == [STALLED_S]
