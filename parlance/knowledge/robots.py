"""robots.txt, as RFC 9309 wants it kept: what may be read on a host, and how fast."""

from __future__ import annotations

from urllib.robotparser import RobotFileParser

AGENT = "Parlance"
BYTES = 512_000  # a crawler reads at least 500 KiB of it
LONGEST_DELAY_S = 10.0


class Robots:
    """The rules of one host, for `AGENT`."""

    def __init__(self, rules: str) -> None:
        self._rules = RobotFileParser()
        self._rules.parse(rules.splitlines())

    @classmethod
    def answered(cls, status: int, body: bytes) -> Robots:
        """By what the host said: no such file allows everything, a host in trouble nothing for now."""
        if 200 <= status < 300:
            return cls(body[:BYTES].decode("utf-8", "replace"))
        return cls("" if 400 <= status < 500 and status != 429 else "User-agent: *\nDisallow: /")

    def allow(self, url: str) -> bool:
        return self._rules.can_fetch(AGENT, url)

    def delay(self, least_s: float) -> float:
        """Seconds between two requests: what the host asks for, within reason, but no less than `least_s`."""
        asked = self._rules.crawl_delay(AGENT)
        return max(least_s, min(float(asked or 0), LONGEST_DELAY_S))
