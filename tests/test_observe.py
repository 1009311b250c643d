"""Logs, metrics and readiness: what operators see, and what nobody may see there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from parlance.errors import StoreUnavailable
from parlance.observe.logs import WithoutStalledReaders, configure, for_gunicorn, log
from parlance.observe.metrics import Metrics
from parlance.observe.readiness import store_problems
from parlance.settings import Secret


@pytest.fixture
def lines(capsys, settings):
    """What has been logged, as parsed lines; `lines.under(...)` logs under other settings."""

    class Lines:
        def __init__(self):
            configure(settings)

        def under(self, **changes):
            configure(replace(settings, **changes))

        def raw(self):
            return capsys.readouterr().err

        def all(self):
            return [json.loads(line) for line in self.raw().splitlines()]

    yield Lines()
    configure(settings)


def test_it_writes_one_line_of_json_with_time_level_event_and_ids(lines):
    log("upstream_call", site="fern", turn="t_1", call="u_1", duration_ms=812, worker=None)
    (line,) = lines.all()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "upstream_call",
        "site": "fern",
        "turn": "t_1",
        "call": "u_1",
        "duration_ms": 812,
    }


def test_it_stays_one_line_whatever_a_field_holds(lines):
    log("odd", path="a\nb\u2028c", code=b"\xff", broken="\ud800", where={"a": (1, 2)})
    (line,) = lines.raw().strip("\n").split("\n")
    assert json.loads(line)["where"] == {"a": [1, 2]}


def test_it_gives_the_length_of_what_was_said_instead_of_the_words(lines):
    log("message", text="my secret question", turn="t_1")
    (line,) = lines.all()
    assert line["text_chars"] == 18
    assert "text" not in line


def test_it_gives_the_words_where_the_operator_asks_for_them(lines):
    lines.under(log_text=True)
    log("message", text="my question")
    assert lines.all()[0]["text"] == "my question"


def test_it_masks_secrets_by_type_and_by_value_in_foreign_messages_too(lines):
    lines.under(anthropic_api_key=Secret('sk-"quoted"-key'), redis_url="redis://:hunter22@redis.example:6379/0")
    log("start", key=Secret("typed"), nested={"keys": [Secret("typed")]}, url="redis://:hunter22@redis.example")
    logging.getLogger("somewhere").warning('refused: sk-"quoted"-key')
    raw = lines.raw()
    assert "typed" not in raw
    assert "hunter22" not in raw
    assert "quoted" not in raw
    assert raw.count("***") == 4


def test_it_carries_the_class_and_message_of_an_error_and_its_trace_only_at_level_error(lines):
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        log("tried", level="warning", error=error)
        log("failed", level="error", error=error)
    tried, failed = lines.all()
    assert tried["error"] == failed["error"] == "ValueError: no such thing"
    assert tried["level"] == "warning"
    assert "traceback" not in tried
    assert "test_observe" in failed["traceback"]


def test_it_gives_what_libraries_log_the_same_form(lines):
    logging.getLogger("library").error("disk %s", "full")
    (line,) = lines.all()
    del line["time"]
    assert line == {"level": "error", "event": "log", "logger": "library", "message": "disk full"}


def test_it_writes_each_line_once_however_often_it_is_configured(lines):
    lines.under(log_text=True)
    lines.under(log_text=False)
    log("once")
    assert len(lines.all()) == 1


def test_the_server_warns_in_json_but_is_silent_about_stalled_readers():
    program = (
        "import logging, logging.config\n"
        "from parlance.observe.logs import for_gunicorn\n"
        "logging.config.dictConfig(for_gunicorn())\n"
        "server = logging.getLogger('gunicorn.error')\n"
        "server.info('Booting worker')\n"
        "server.warning('Worker graceful timeout')\n"
        "for kind in (TimeoutError, OSError):\n"
        "    try: raise kind('x')\n"
        "    except OSError: server.exception('Socket error processing request.')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    warning, broken = [json.loads(line) for line in done.stderr.splitlines()]
    assert warning["message"] == "Worker graceful timeout"
    assert "OSError: x" in broken["traceback"]
    assert "filters" in for_gunicorn()["loggers"]["gunicorn.error"]
    assert WithoutStalledReaders().filter(logging.makeLogRecord({"msg": "fine"}))


def everything(metrics: Metrics) -> None:
    metrics.first_text("fern", 0.42)
    metrics.added_latency(0.002)
    metrics.stream_opened()
    metrics.tokens("fern", "claude-x", "cache_read", 12_304)
    metrics.cost("fern", "claude-x", 54_399_000)
    metrics.limited("fern", "visitor")
    metrics.budget_refused("fern", "site_day")
    metrics.refused("rate_limited")
    metrics.upstream_call("claude-x", "ok", 1.5)
    metrics.upstream_error("claude-x", "overloaded")
    metrics.turn_ended("complete")
    metrics.takeover()
    metrics.journal_lag(0.001)
    metrics.ledger_pending(3)


def test_it_counts_everything_under_the_name_of_the_product():
    metrics = Metrics()
    everything(metrics)
    text = metrics.render().decode()
    for line in (
        'parlance_first_text_seconds_count{site="fern"} 1.0',
        "parlance_added_latency_seconds_count 1.0",
        "parlance_open_streams 1.0",
        'parlance_tokens_total{kind="cache_read",model="claude-x",site="fern"} 12304.0',
        'parlance_cost_nano_usd_total{model="claude-x",site="fern"} 5.4399e+07',
        'parlance_limited_total{limit="visitor",site="fern"} 1.0',
        'parlance_budget_refused_total{scope="site_day",site="fern"} 1.0',
        'parlance_refused_total{code="rate_limited"} 1.0',
        'parlance_upstream_call_seconds_count{model="claude-x",outcome="ok"} 1.0',
        'parlance_upstream_errors_total{error_class="overloaded",model="claude-x"} 1.0',
        'parlance_turns_total{state="complete"} 1.0',
        "parlance_takeovers_total 1.0",
        "parlance_journal_lag_seconds_count 1.0",
        "parlance_ledger_pending 3.0",
    ):
        assert line in text.splitlines()


def test_a_stream_that_closes_is_no_longer_open():
    metrics = Metrics()
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    assert "parlance_open_streams 1.0" in metrics.render().decode()


def test_it_adds_the_workers_up_and_forgets_what_a_dead_one_had_open(tmp_path):
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def python(program: str) -> str:
        program = "import os; from parlance.observe.metrics import *; metrics = Metrics(); " + program
        return subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
        ).stdout

    works = "metrics.stream_opened(); metrics.takeover(); print(os.getpid())"
    first, _ = python(works), python(works)
    both = python("print(metrics.render().decode())")
    assert "parlance_open_streams 2.0" in both
    assert "parlance_takeovers_total 2.0" in both
    left = python(f"forget_worker({first}); print(metrics.render().decode())")
    assert "parlance_open_streams 1.0" in left
    assert "parlance_takeovers_total 2.0" in left


class Replies:
    """A store that gives one reply, or fails."""

    def __init__(self, reply):
        self.reply = reply

    def do(self, *command):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


def test_a_store_as_it_should_be_has_no_problem(store):
    assert store_problems(store) == {"store": None, "eviction policy": None}


def test_a_store_that_may_evict_has_one(store):
    store.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in store_problems(store)["eviction policy"]
    finally:
        store.do("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_cluster_as_it_should_be_has_no_problem(cluster_store):
    assert store_problems(cluster_store) == {"store": None, "eviction policy": None}


def test_a_cluster_has_one_if_any_of_its_nodes_may_evict():
    nodes = {"a": {"maxmemory_policy": "noeviction"}, "b": {"maxmemory_policy": "volatile-lru"}}
    assert "volatile-lru" in store_problems(Replies(nodes))["eviction policy"]


def test_a_store_out_of_reach_has_two():
    problems = store_problems(Replies(StoreUnavailable("Redis did not answer")))
    assert problems["store"] == "Redis did not answer"
    assert problems["eviction policy"]


