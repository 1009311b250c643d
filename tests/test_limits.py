"""Limits: exact, all or nothing, and the same on one node and on a Cluster."""

from __future__ import annotations

import time
from dataclasses import replace

import gevent.pool
import pytest

from parlance import ids
from parlance.errors import Busy, NotFound, RateLimited, SessionExpired
from parlance.limits import LEASE_MS, Limits, Message
from parlance.site import IpLimits, SiteLimits, VisitorLimits
from parlance.site import Limits as Allowed
from parlance.store import keys
from tests.house import FERN, House

WIDE = Allowed(VisitorLimits(10_000, 10_000), IpLimits(100_000), SiteLimits(100_000, 100_000))


class Gate:
    """Admissions without anything behind them: each visitor comes with a conversation of their own."""

    def __init__(self, store, allowed: Allowed = WIDE) -> None:
        self.store, self.limits = store, Limits(store)
        self.site = replace(FERN, limits=allowed)

    def visitor(self) -> tuple[str, str]:
        visitor, conversation = ids.visitor(), ids.conversation()
        self.store.do("HSET", keys.visitor("fern", visitor), "valid_from", 0, "conversation", conversation)
        return visitor, conversation

    def admit(self, who: tuple[str, str] | None = None, **changes):
        visitor, conversation = who or self.visitor()
        message = Message(
            visitor=visitor,
            issued_ms=1,
            conversation=conversation,
            id=ids.message(),
            ip="192.0.2.1",
            stored="{}",
            start=b"event: start\ndata: {}\n\n",
            turn=ids.turn(),
            record={"visitor": visitor, "epoch": 0, "state": "running"},
        )
        return self.limits.admit(self.site, replace(message, **changes))

    def end(self, who: tuple[str, str], turn: str) -> None:
        """Free the conversation and the place."""
        self.store.do("HSET", keys.conversation("fern", who[1]), "turn", "")
        self.store.do("ZREM", keys.leases("fern"), turn)

    def ask(self, who: tuple[str, str], **changes) -> None:
        self.end(who, self.admit(who, **changes).turn)

    def refusal(self, who: tuple[str, str] | None = None, **changes) -> RateLimited:
        with pytest.raises(RateLimited) as refused:
            self.admit(who, **changes)
        return refused.value

    def clock_s(self) -> float:
        seconds, micros = self.store.do("TIME")
        return int(seconds) + int(micros) / 1e6

    def full(self) -> dict[str, bytes]:
        """All that a refusal must not touch."""
        found = {}
        for key in self.store.do("KEYS", "*"):
            kind = self.store.do("TYPE", key)
            read = {b"string": ("GET",), b"hash": ("HGETALL",), b"list": ("LRANGE", 0, -1), b"zset": ("ZRANGE", 0, -1)}
            command, *rest = read.get(kind, ("XLEN",))
            found[key] = self.store.do(command, key, *rest)
        return found


@pytest.fixture
def gate(store):
    yield lambda **allowed: Gate(store, replace(WIDE, **allowed))
    store.close()


# -- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "limit", "quota"),
    [
        ({"visitor": VisitorLimits(5, 1000)}, "visitor", 5),
        ({"visitor": VisitorLimits(1000, 7)}, "visitor", 7),
        ({"ip": IpLimits(6)}, "ip", 6),
        ({"site": SiteLimits(8, 1000)}, "site", 8),
    ],
)
def test_a_burst_is_at_most_the_quota(gate, allowed, limit, quota):
    house = gate(**allowed)
    ann = house.visitor()
    for _ in range(quota):
        house.ask(ann)
    refused = house.refusal(ann)
    assert refused.limit == limit
    assert refused.retry_after >= 1


def test_after_retry_after_it_passes_and_not_before(gate):
    house = gate(visitor=VisitorLimits(60, 1000))  # one a second
    ann = house.visitor()
    for _ in range(60):
        house.ask(ann)
    refused = house.refusal(ann)
    assert refused.retry_after == 1
    full_at = int(house.store.do("GET", keys.rate("fern", "visitor_minute", ann[0]))) / 1e6
    due = full_at - 59  # when the first of sixty places is free again
    passed = []
    while not passed:
        before = house.clock_s()
        try:
            house.ask(ann)
            passed.append(house.clock_s())
        except RateLimited:
            assert before < due, "refused although a place was free"
            time.sleep(0.05)
    assert passed[0] >= due, "admitted before a place was free"
    assert house.refusal(ann).limit == "visitor"


def test_there_is_no_second_burst_at_the_edge_of_a_minute(gate):
    house = gate(visitor=VisitorLimits(120, 100_000))  # two a second
    ann = house.visitor()
    admitted, began = 0, house.clock_s()
    while house.clock_s() - began < 2.0:
        try:
            house.ask(ann)
            admitted += 1
        except RateLimited:
            time.sleep(0.02)
    took = house.clock_s() - began
    assert 120 <= admitted <= 121 + 2 * took


def test_the_longest_wait_is_told(gate):
    house = gate(visitor=VisitorLimits(1, 1))
    ann = house.visitor()
    house.ask(ann)
    assert house.refusal(ann).retry_after > 80_000, "a place a day, not a minute"


def test_each_counts_for_itself(gate):
    house = gate(visitor=VisitorLimits(1, 100), ip=IpLimits(2))
    ann, bob, cid = (house.visitor() for _ in range(3))
    house.ask(ann)
    house.ask(bob)
    assert house.refusal(cid).limit == "ip"
    house.ask(cid, ip="192.0.2.2")
    assert house.refusal(ann, ip="192.0.2.3").limit == "visitor"


def test_another_site_counts_for_itself(gate):
    house = gate(ip=IpLimits(1))
    house.ask(house.visitor())
    house.site = replace(house.site, key="moss")
    visitor, conversation = ids.visitor(), ids.conversation()
    house.store.do("HSET", keys.visitor("moss", visitor), "valid_from", 0, "conversation", conversation)
    assert not house.admit((visitor, conversation)).joined


def test_a_refusal_consumes_and_writes_nothing(gate):
    house = gate(visitor=VisitorLimits(1, 100))
    ann = house.visitor()
    house.ask(ann)
    before = house.full()
    for _ in range(5):
        house.refusal(ann)
    assert house.full() == before


@pytest.mark.parametrize("error", [SessionExpired, NotFound, Busy])
def test_no_other_refusal_consumes_anything(gate, error):
    house = gate()
    ann = house.visitor()
    house.admit(ann)
    wrong = {
        SessionExpired: ((ids.visitor(), ann[1]), {}),
        NotFound: ((ann[0], ids.conversation()), {}),
        Busy: (ann, {}),
    }[error]
    before = house.full()
    with pytest.raises(error):
        house.admit(wrong[0], **wrong[1])
    assert house.full() == before


def test_a_revoked_session_is_not_admitted(gate):
    house = gate()
    ann = house.visitor()
    house.store.do("HSET", keys.visitor("fern", ann[0]), "valid_from", 1000)
    with pytest.raises(SessionExpired):
        house.admit(ann, issued_ms=999)
    house.admit(ann, issued_ms=1000)


# -- concurrency -------------------------------------------------------------------------------------------------------


def crowd(ask) -> list[str]:
    """What a thousand admissions at once come to: "admitted" or the limit that refused."""

    def one() -> str:
        try:
            ask()
        except RateLimited as refused:
            return refused.limit
        return "admitted"

    pool = gevent.pool.Pool(50)
    return [each.get() for each in [pool.spawn(one) for _ in range(1000)]]


@pytest.fixture(params=["node", "cluster"])
def any_store(request, store, cluster_store):
    yield {"node": store, "cluster": cluster_store}[request.param]
    store.close()
    cluster_store.close()


def test_of_a_thousand_at_once_exactly_a_hundred_hold_a_place(any_store):
    house = Gate(any_store, replace(WIDE, site=SiteLimits(100_000, 100)))
    outcomes = crowd(house.admit)
    assert (outcomes.count("admitted"), outcomes.count("concurrency")) == (100, 900)
    assert any_store.do("ZCARD", keys.leases("fern")) == 100


def test_of_a_visitors_thousand_at_once_exactly_a_hundred_pass_today(any_store):
    house = Gate(any_store, replace(WIDE, visitor=VisitorLimits(10_000, 100)))
    ann = house.visitor()

    def ask() -> None:
        """The conversation is made free until it is this one's turn: what is counted here is the rate."""
        any_store.do("HSET", keys.conversation("fern", ann[1]), "turn", "")
        try:
            house.admit(ann)
        except Busy:
            ask()

    outcomes = crowd(ask)
    assert (outcomes.count("admitted"), outcomes.count("visitor")) == (100, 900)


@pytest.mark.parametrize(
    ("limit", "allowed"), [("ip", {"ip": IpLimits(100)}), ("site", {"site": SiteLimits(100, 9999)})]
)
def test_of_a_thousand_at_once_a_hundred_pass_this_minute(any_store, limit, allowed):
    house = Gate(any_store, replace(WIDE, **allowed))
    began = house.clock_s()
    outcomes = crowd(house.admit)
    came_back = (house.clock_s() - began) / 0.6  # a hundred a minute
    assert 100 <= outcomes.count("admitted") <= 101 + came_back
    assert set(outcomes) == {"admitted", limit}


def test_one_message_sent_twenty_times_at_once_is_admitted_once(any_store):
    house = Gate(any_store)
    ann, message = house.visitor(), ids.message()
    pool = gevent.pool.Pool(20)
    admitted = [each.get() for each in [pool.spawn(house.admit, ann, id=message) for _ in range(20)]]
    assert len({each.turn for each in admitted}) == 1
    assert [each.joined for each in admitted].count(False) == 1


def test_a_lapsed_lease_holds_no_place(gate):
    house = gate(site=SiteLimits(1000, 2))
    house.admit()
    house.admit()
    assert house.refusal().limit == "concurrency"
    lapsed = int(house.clock_s() * 1000) - 1
    (first, *_) = house.store.do("ZRANGE", keys.leases("fern"), 0, -1)
    house.store.do("ZADD", keys.leases("fern"), lapsed, first)
    house.admit()
    assert house.refusal().limit == "concurrency"


def test_an_admitted_turn_has_a_lease_a_record_and_a_journal(gate):
    house = gate()
    turn = house.admit().turn
    lease = float(house.store.do("ZSCORE", keys.leases("fern"), turn)) - house.clock_s() * 1000
    assert LEASE_MS - 500 < lease <= LEASE_MS
    assert house.store.do("HGET", keys.turn("fern", turn), "state") == b"running"
    assert house.store.do("XLEN", keys.events("fern", turn)) == 1
    assert 0 < house.store.do("TTL", keys.turn("fern", turn)) <= 86_400


# -- addresses ---------------------------------------------------------------------------------------------------------


def counted(house: House, **given) -> str:
    """The address that a message counted for."""
    ann = house.visitor()
    ann.send(given=given).all()
    (key,) = [key for key in house.stored() if ":rate:ip_minute:" in key]
    house.store.do("DEL", key)
    return key.rpartition("ip_minute:")[2]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        (0, "192.0.2.1", None, "192.0.2.1"),
        (0, "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (1, "192.0.2.1", "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.1", "198.51.100.66, 203.0.113.9", "203.0.113.9"),
        (2, "192.0.2.1", "198.51.100.66, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (1, "192.0.2.1", None, "192.0.2.1"),
        (1, "192.0.2.1", "nonsense", "192.0.2.1"),
        (1, "192.0.2.1", "203.0.113.9, {fern}:x", "192.0.2.1"),
        (0, "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::"),
        (0, "2001:db8:1:2:ffff::1", None, "2001:db8:1:2::"),
        (1, "::1", "2001:db8:1:2::9", "2001:db8:1:2::"),
        (0, "::ffff:192.0.2.7", None, "192.0.2.7"),
        (0, "", None, "unknown"),
    ],
)
def test_it_counts_the_address_that_can_be_trusted(settings, store, trusted, peer, forwarded, address):
    with House(replace(settings, trusted_proxies=trusted), store.url) as house:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        assert counted(house, peer=peer, headers=headers) == address
