"""The only door to Redis. Every command goes through `do`, `many` or `run`; every failure leaves as StoreUnavailable.

A slow Redis is worse than a dead one, so timeouts are short and nothing is retried here: a retried write may count
twice. After a failure the store answers "unavailable" at once for `COOL_S`, so that a request which needs several
commands does not wait out several timeouts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
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

_USES = re.compile(r"^-- uses (\w+)$", re.MULTILINE)

Command = Sequence[Any]
Entry = tuple[str, str, bytes]


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
        self._lines: list[Any] = []
        self._ears: Any = None
        self._scripts = {name: self.redis.register_script(text) for name, text in _scripts()}

    def do(self, *command: Any) -> Any:
        """One command: `store.do("HGET", key, "version")`."""
        return self._guarded(lambda: self.redis.execute_command(*command))

    def many(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands in one round trip, not atomic. A command that Redis refuses raises, as with `do`."""
        if not commands:
            return []

        def send() -> list[Any]:
            with self.redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(pipe.execute())

        return self._guarded(send)

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        """Append `(stream, id, frame)` entries. False stands for an entry whose id is not above its stream's last
        one: it is there already, or a later epoch has fenced it off. In a Cluster, one call for each site."""
        if len(entries) == 1 and not self.cluster:
            return [self._guarded(lambda: self._append_one(*entries[0]))]
        written = [True] * len(entries)
        for places in self._by_slot([entry[0] for entry in entries]):
            args = [value for i in places for value in entries[i][1:]]
            for number in self.run("append", [entries[i][0] for i in places], args):
                written[places[number - 1]] = False
        return written

    def _append_one(self, stream: str, entry_id: str, frame: bytes) -> bool:
        """What lua/append.lua does, for one: an answer's first word mostly goes alone, and should not wait for Lua."""
        try:
            return self._straight("XADD", stream, "NOMKSTREAM", entry_id, "f", frame) is not None
        except redis.ResponseError as error:
            if "equal or smaller" in str(error):
                return False
            raise

    def _by_slot(self, keys: Sequence[str]) -> Iterable[list[int]]:
        """The places of keys that one script may touch together: all, or in a Cluster those of one hash tag."""
        if not self.cluster:
            return [list(range(len(keys)))] if keys else []
        groups: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            groups.setdefault(key[: key.index("}")], []).append(place)
        return groups.values()

    def listen(self) -> Any:
        """A subscription, from a client of its own: it waits without a time limit, so it must not share the pool."""
        self._ears = self._ears or _connect(self.url, 4, answer_s=None)
        return self._ears.pubsub(ignore_subscribe_messages=True)

    def close(self) -> None:
        """Drop every connection. Whoever uses the store again connects anew."""
        while self._lines:
            self._lines.pop().disconnect()
        self.redis.close()
        if self._ears:
            self._ears.close()

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """The Lua script `lua/<script>.lua`, by its hash. Its header says what it takes and returns."""

        def call() -> Any:
            loaded = self._scripts[script]
            try:
                return send("EVALSHA", loaded.sha, len(keys), *keys, *args)
            except redis.exceptions.NoScriptError:  # a server that has just been started
                return loaded(keys=list(keys), args=list(args))

        send = self.redis.execute_command if self.cluster else self._straight
        return self._guarded(call)

    def _straight(self, *command: Any) -> Any:
        """One command over a kept connection, past the pool and its locks: an answer waits for four of these, and the
        pool's part is half of what each costs. The reply is as the server sent it."""
        line = self._lines.pop() if self._lines else self.redis.connection_pool.make_connection()
        try:
            if line.is_connected and _is_stale(line):
                line.disconnect()
            line.send_command(*command)
            reply = line.read_response()
        except redis.ResponseError:
            self._lines.append(line)
            raise
        except BaseException:  # an interrupted greenlet among them: a reply may still be on its way
            line.disconnect()
            raise
        self._lines.append(line)
        return reply

    def ping(self) -> bool:
        return bool(self.do("PING"))

    def _guarded(self, act: Any) -> Any:
        if self._clock() < self._down_until:
            raise StoreUnavailable("Redis failed a moment ago; not asked again yet")
        try:
            return act()
        except redis.ResponseError as error:  # it answers, and cannot: out of memory, read only, still loading
            raise StoreUnavailable(f"Redis refused: {error}") from error
        except (redis.RedisError, OSError) as error:
            self._down_until = self._clock() + COOL_S
            raise StoreUnavailable(f"Redis did not answer: {type(error).__name__}") from error


def _scripts() -> Iterator[tuple[str, str]]:
    """Every script by name. A line `-- uses purse` puts `parts/purse.lua` before it: what several scripts share."""
    folder = resources.files("parlance.store").joinpath("lua")
    for path in folder.iterdir():
        if path.name.endswith(".lua"):
            text = path.read_text("utf-8")
            parts = [folder.joinpath("parts", f"{name}.lua").read_text("utf-8") for name in _USES.findall(text)]
            yield path.name.removesuffix(".lua"), "".join([*parts, text])


def _is_stale(line: Any) -> bool:
    """Whether the server has closed a kept connection meanwhile (it was started anew, perhaps)."""
    try:
        return bool(line.can_read(timeout=0))
    except (redis.RedisError, OSError):
        return True


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
        return RedisCluster(startup_nodes=nodes, ssl=tls, **options | {"retry": Retry(NoBackoff(), 1)})
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=connections, timeout=ANSWER_S, **options)
    return redis.Redis(connection_pool=pool)
