"""One JSON line on stderr for everything worth knowing. What visitors and models say is not in it.

Our own events come through `log`; what libraries log takes the same form, as the event `log`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from parlance.settings import Secret, Settings

# Fields under these names hold what somebody said. They are given as lengths unless PARLANCE_LOG_TEXT is on.
SAID = frozenset({"text", "prompt", "answer", "arguments", "result"})

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SHORTEST = 6  # masking anything shorter would make holes in ordinary words

_events = logging.getLogger("parlance")


def log(event: str, *, level: str = "info", error: BaseException | None = None, **fields: Any) -> None:
    """Writes one line: `log("upstream_call", site=..., turn=..., call=..., duration_ms=812)`.

    `level` is debug, info, warning or error. `error` adds its class and message, with a traceback at level error.
    Fields that are None are left out. What joins lines: request, site, visitor, conversation, turn, call, worker.
    """
    if _events.isEnabledFor(_LEVELS[level]):
        trace = error if level == "error" else None
        if error is not None:
            fields = {**fields, "error": f"{type(error).__name__}: {error}"}
        _events.log(_LEVELS[level], event, extra={"fields": fields}, exc_info=trace)


def configure(settings: Settings) -> None:
    """Sends every log line of this process to stderr as JSON. May be called again; the last settings hold."""
    formatter = JsonLines(log_text=settings.log_text, secrets=_secrets(settings))
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, Stderr)]:
        root.removeHandler(handler)
    handler = Stderr()
    handler.setFormatter(formatter)
    root.addHandler(handler)
    _events.setLevel(logging.INFO)


def for_gunicorn() -> dict[str, Any]:
    """The `logconfig_dict` of the server's own warnings, before and beside the application's."""
    quiet = {"level": "WARNING", "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "filters": {"noise": {"()": WithoutStalledReaders}},
        "handlers": {"stderr": {"()": Stderr, "formatter": "json"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": {**quiet, "filters": ["noise"]}, "gunicorn.access": quiet},
    }


class Stderr(logging.Handler):
    """Looks `sys.stderr` up at each line, so that whoever replaces it (a test, a server) gets the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


class WithoutStalledReaders(logging.Filter):
    """A peer that stops reading or sending is let go by a time limit on its socket: no error of the server's."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError))


class JsonLines(logging.Formatter):
    """A record as one line of JSON; `secrets` are masked wherever they occur, in a library's message too."""

    def __init__(self, *, log_text: bool = False, secrets: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.log_text = log_text
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": at.replace("+00:00", "Z"), "level": record.levelname.lower(), **self._body(record)}
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False, default=_shown)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        # A lone surrogate would make the line unwritable.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def _body(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: Mapping[str, Any] | None = getattr(record, "fields", None)
        if fields is None:
            return {"event": "log", "logger": record.name, "message": record.getMessage()}
        given = (self._safe(name, value) for name, value in fields.items() if value is not None)
        return {"event": record.msg, **dict(given)}

    def _safe(self, name: str, value: Any) -> tuple[str, Any]:
        if name in SAID and not self.log_text:
            return f"{name}_chars", len(value if isinstance(value, str) else json.dumps(value, default=_shown))
        return name, _masked(value)


def _masked(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, Mapping):
        return {str(name): _masked(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(inner) for inner in value]
    return value


def _shown(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _secrets(settings: Settings) -> frozenset[str]:
    password = urlsplit(settings.redis_url).password if settings.redis_url else None
    known = (settings.anthropic_api_key, settings.secret_key, password or "")
    as_in_json = (json.dumps(str(secret), ensure_ascii=False)[1:-1] for secret in known if len(secret) >= _SHORTEST)
    return frozenset(as_in_json)
