"""What the environment decides, read once into a frozen value. docs/settings.md lists every name; a test compares."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

from parlance.errors import SettingsError


class Secret(str):
    """A string that does not show itself: `repr` and `str.format` of a settings value never print it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')" if self else "Secret('')"


NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are seconds. Every field says which variable sets it; `read` is the only reader of the environment."""

    data_dir: Path = Path("data")  # PARLANCE_DATA
    redis_url: str = field(default="", repr=False)  # REDIS_URL; "" starts the embedded store
    anthropic_api_key: Secret = NO_SECRET  # ANTHROPIC_API_KEY; "" asks the demo responder
    anthropic_base_url: str = "https://api.anthropic.com"  # ANTHROPIC_BASE_URL
    secret_key: Secret = NO_SECRET  # SECRET_KEY; "" makes one and keeps it in the data folder
    host: str = "127.0.0.1"  # HOST
    port: int = 8000  # PORT
    workers: int = 2  # WEB_CONCURRENCY
    trusted_proxies: int = 0  # PARLANCE_TRUSTED_PROXIES
    public_url: str = ""  # PARLANCE_PUBLIC_URL; "" means http://HOST:PORT
    log_text: bool = False  # PARLANCE_LOG_TEXT
    answer_deadline_s: float = 180.0  # PARLANCE_ANSWER_DEADLINE_S
    upstream_stall_s: float = 60.0  # PARLANCE_UPSTREAM_STALL_S
    grace_s: int = 30  # PARLANCE_GRACE_S
    session_days: int = 30  # PARLANCE_SESSION_DAYS
    private_tool_hosts: frozenset[str] = frozenset()  # PARLANCE_PRIVATE_TOOL_HOSTS

    @property
    def demo(self) -> bool:
        """True where no key is set, so that the demo responder answers."""
        return not self.anthropic_api_key

    @property
    def base(self) -> str:
        """The address under which browsers reach this server, without a slash at its end."""
        return self.public_url or f"http://{self.host}:{self.port}"


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `environ`. Raises SettingsError for a value that makes no sense."""
    default = Settings()
    return Settings(
        data_dir=Path(environ.get("PARLANCE_DATA") or default.data_dir).absolute(),
        redis_url=_url(environ, "REDIS_URL", "", ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")),
        anthropic_api_key=Secret(environ.get("ANTHROPIC_API_KEY", "")),
        anthropic_base_url=_url(environ, "ANTHROPIC_BASE_URL", default.anthropic_base_url, ("http", "https")).rstrip(
            "/"
        ),
        secret_key=Secret(environ.get("SECRET_KEY", "")),
        host=environ.get("HOST") or default.host,
        port=_whole(environ, "PORT", default.port, 1, 65535),
        workers=_whole(environ, "WEB_CONCURRENCY", default.workers, 1, 256),
        trusted_proxies=_whole(environ, "PARLANCE_TRUSTED_PROXIES", default.trusted_proxies, 0, 16),
        public_url=_url(environ, "PARLANCE_PUBLIC_URL", "", ("http", "https")).rstrip("/"),
        log_text=_yes(environ, "PARLANCE_LOG_TEXT"),
        answer_deadline_s=float(_whole(environ, "PARLANCE_ANSWER_DEADLINE_S", int(default.answer_deadline_s), 5, 3600)),
        upstream_stall_s=float(_whole(environ, "PARLANCE_UPSTREAM_STALL_S", int(default.upstream_stall_s), 1, 600)),
        grace_s=_whole(environ, "PARLANCE_GRACE_S", default.grace_s, 1, 3600),
        session_days=_whole(environ, "PARLANCE_SESSION_DAYS", default.session_days, 1, 400),
        private_tool_hosts=_places(environ, "PARLANCE_PRIVATE_TOOL_HOSTS"),
    )


def _whole(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        allowed = f"a whole number from {least} to {most}"
        raise SettingsError(f"{name} is {text!r}: give {allowed}, or leave it unset for {default}.")
    return int(text)


def _yes(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(f"{name} is {text!r}: give 1 or 0.")


def _places(environ: Mapping[str, str], name: str) -> frozenset[str]:
    """`"Orders.lan:8080, [0:0::1]:80"` as `{"orders.lan:8080", "[::1]:80"}`: the one form in which places compare."""
    entries = [entry.strip() for entry in environ.get(name, "").split(",")]
    return frozenset(_place(name, entry) for entry in entries if entry)


def _place(name: str, entry: str) -> str:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", entry)
    try:
        if not match or not 1 <= int(match[3]) <= 65535:
            raise ValueError
        host = f"[{IPv6Address(match[1])}]" if match[1] else match[2].lower()
    except ValueError as error:
        raise SettingsError(f"{name} holds {entry!r}: give host:port, several with commas between.") from error
    return f"{host}:{int(match[3])}"


def _url(environ: Mapping[str, str], name: str, default: str, schemes: tuple[str, ...]) -> str:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if urlsplit(text).scheme not in schemes:
        # The value may hold a password, so it is not repeated here.
        raise SettingsError(f"{name} must begin with one of {', '.join(s + '://' for s in schemes)}.")
    return text
