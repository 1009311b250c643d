"""The only door to Redis. Every command goes through `do`, `many` or `run`; every failure leaves as StoreUnavailable.

A slow Redis is worse than a dead one, so timeouts are short and nothing is retried here: a retried write may count
twice. After a failure the store answers "unavailable" at once for `COOL_S`, so that a request which needs several
commands does not wait out several timeouts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from parlance.errors import StoreUnavailable

CONNECT_S = 0.5
ANSWER_S = 0.8
COOL_S = 0.25

Command = Sequence[Any]
Entry = tuple[str, str, bytes]


class Refused(Exception):
    """A stream did not take an entry, because its id is not above the last one."""


class Store:
    """Redis, spoken to in commands. Keys and texts go in as str or bytes; texts come back as bytes.

    Replies have redis-py's RESP2 shapes: HGETALL is a dict, XRANGE a list of (id, fields).
    """

    def __init__(self, url: str, *, connections: int = 64, clock: Any = time.monotonic) -> None:
        self.url = url
        self.redis: Any = _connect(url, connections)
        self.cluster = isinstance(self.redis, RedisCluster)
        self._clock = clock
        self._down_until = 0.0
        self._scripts = {
            path.name.removesuffix(".lua"): self.redis.register_script(path.read_text("utf-8"))
            for path in resources.files("parlance.store").joinpath("lua").iterdir()
            if path.name.endswith(".lua")
        }

    def do(self, *command: Any) -> Any:
        """One command: `store.do("HGET", key, "version")`."""
        return self._guarded(lambda: self.redis.execute_command(*command))

    def many(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands in one round trip, not atomic. A command that Redis refuses raises, as with `do`."""
        replies = self.each(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def each(self, commands: Sequence[Command]) -> list[Any]:
        """As `many`, but a command that Redis refuses leaves its ResponseError in its place of the list."""
        if not commands:
            return []

        def send() -> list[Any]:
            with self.redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(pipe.execute(raise_on_error=False))

        replies = self._guarded(send)
        for reply in replies:
            if isinstance(reply, (redis.ConnectionError, redis.TimeoutError)):  # one node of a Cluster
                raise StoreUnavailable("a Redis node did not answer") from reply
        return replies

    def append(self, entries: Sequence[Entry]) -> list[Refused | None]:
        """Append `(stream, id, frame)` entries in one round trip. An entry whose id is not above the stream's last one
        comes back as Refused: it is there already, or a later epoch has fenced it off."""
        replies = self.each([("XADD", stream, entry_id, "f", frame) for stream, entry_id, frame in entries])
        return [Refused(str(reply)) if isinstance(reply, redis.ResponseError) else None for reply in replies]

    def listen(self) -> Any:
        """A client of its own for pub/sub: it waits without a time limit, so it must not share the others' pool."""
        return _connect(self.url, 4, answer_s=None).pubsub(ignore_subscribe_messages=True)

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """The Lua script `lua/<script>.lua`, by its hash. Its header says what it takes and returns."""
        return self._guarded(lambda: self._scripts[script](keys=list(keys), args=list(args)))

    def ping(self) -> bool:
        return bool(self.do("PING"))

    def _guarded(self, act: Any) -> Any:
        if self._clock() < self._down_until:
            raise StoreUnavailable("Redis failed a moment ago; not asked again yet")
        try:
            return act()
        except redis.ResponseError:
            raise  # our own mistake, or a fence: the caller knows which
        except (redis.RedisError, OSError) as error:
            self._down_until = self._clock() + COOL_S
            raise StoreUnavailable(f"Redis did not answer: {type(error).__name__}") from error


def _connect(url: str, connections: int, answer_s: float | None = ANSWER_S) -> Any:
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": answer_s,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    if scheme.endswith("+cluster"):
        # "redis+cluster://a:7000,b:7001": any node of the cluster leads to the rest.
        addresses = (part.rsplit(":", 1) for part in rest.strip("/").split(","))
        nodes = [ClusterNode(host, int(port)) for host, port in addresses]
        tls = scheme.startswith("rediss")
        return RedisCluster(startup_nodes=nodes, ssl=tls, cluster_error_retry_attempts=1, **options)
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=connections, timeout=ANSWER_S, **options)
    return redis.Redis(connection_pool=pool)
