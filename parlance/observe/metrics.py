"""What is counted, for Prometheus. docs/operating.md lists every name; a test compares.

Several workers of one server write to files in the folder that PROMETHEUS_MULTIPROC_DIR names (gunicorn.conf.py sets
and clears it), and whichever is asked adds them up. Without that variable a process counts for itself.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FIRST_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13, 30)
_OWN_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_CALL_S = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 240)


def forget_worker(pid: int) -> None:
    """Drops what a dead worker had open. What it had counted stays."""
    if folder := _shared():
        mark_process_dead(pid, folder)


class Metrics:
    """One method for each thing that happens. A site, model, code or state is a label; a visitor never is."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._first_text = histogram("first_text_seconds", "From request to the answer's first text", _FIRST_S, "site")
        self._added = histogram("added_latency_seconds", "Our own part of that, without the upstream's", _OWN_S)
        self._streams = gauge("open_streams", "Answer streams open now")
        self._tokens = counter("tokens", "Tokens as the provider counted them", "site", "model", "kind")
        self._cost = counter("cost_nano_usd", "Cost of upstream calls in 1e-9 USD", "site", "model")
        self._limited = counter("limited", "Messages refused by a limit", "site", "limit")
        self._unpaid = counter("budget_refused", "Messages and calls refused by a budget", "site", "scope")
        self._refused = counter("refused", "Requests refused, by the protocol's code", "code")
        self._calls = histogram("upstream_call_seconds", "From request to last byte", _CALL_S, "model", "outcome")
        self._errors = counter("upstream_errors", "Upstream calls that failed", "model", "error_class")
        self._turns = counter("turns", "Answers ended, by the state they ended in", "state")
        self._takeovers = counter("takeovers", "Answers taken over from a runner whose lease had lapsed")
        self._lag = histogram("journal_lag_seconds", "From an event to its confirmed place in the journal", _OWN_S)
        self._pending = gauge("ledger_pending", "Ledger rows not yet in the store")

    def first_text(self, site: str, seconds: float) -> None:
        self._first_text.labels(site).observe(seconds)

    def added_latency(self, seconds: float) -> None:
        self._added.observe(seconds)

    def stream_opened(self) -> None:
        self._streams.inc()

    def stream_closed(self) -> None:
        self._streams.dec()

    def tokens(self, site: str, model: str, kind: str, count: int) -> None:
        """`kind` is input, output, cache_read, cache_write_5m or cache_write_1h; none of them is part of another."""
        self._tokens.labels(site, model, kind).inc(count)

    def cost(self, site: str, model: str, nano_usd: int) -> None:
        self._cost.labels(site, model).inc(nano_usd)

    def limited(self, site: str, limit: str) -> None:
        self._limited.labels(site, limit).inc()

    def budget_refused(self, site: str, scope: str) -> None:
        self._unpaid.labels(site, scope).inc()

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def upstream_call(self, model: str, outcome: str, seconds: float) -> None:
        self._calls.labels(model, outcome).observe(seconds)

    def upstream_error(self, model: str, error_class: str) -> None:
        self._errors.labels(model, error_class).inc()

    def turn_ended(self, state: str) -> None:
        self._turns.labels(state).inc()

    def takeover(self) -> None:
        self._takeovers.inc()

    def journal_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def ledger_pending(self, count: int) -> None:
        """Rows that this worker still holds; the workers' are added up."""
        self._pending.set(count)

    def render(self) -> bytes:
        """Everything in Prometheus's text format, of all workers where there are several."""
        registry = self.registry
        if folder := _shared():
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)
        return generate_latest(registry)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"parlance_{name}", help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(f"parlance_{name}", help, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"parlance_{name}", help, labels, buckets=buckets, registry=self.registry)


def _shared() -> str | None:
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")
