"""Visitors: tokens that hold, end and are revoked; identities; and what an erasure finds."""

from __future__ import annotations

import time
from dataclasses import replace

import jwt
import pytest

from parlance import ids
from parlance.conversations import ASSISTANT, VISITOR, Conversations, Message
from parlance.errors import InvalidRequest, NotFound, SessionExpired
from parlance.site import Identity
from parlance.store import keys
from parlance.visitors import IDENTITY_MAX_S, Person, Visitors
from tests.house import House

NOW = 1_800_000_000.0
KEY = "thirty-two bytes of secret, or more of them"
DAY = 86_400


@pytest.fixture
def visitors(store):
    return Visitors(store, "key of this house", {"${secret:ID}": KEY}.get, session_days=30)


def opened(visitors, now=NOW, held=None, person=None, site="fern"):
    return visitors.open(site, 30, now, locale="en", held=held, person=person)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_says_who_it_is_for(visitors):
    session = opened(visitors)
    assert visitors.read_token(visitors.token(session), NOW) == session
    assert (session.site, session.locale, session.expires) == ("fern", "en", int(NOW) + 30 * DAY)
    visitors.check(session)


def test_a_token_ends(visitors):
    token = visitors.token(opened(visitors))
    visitors.read_token(token, NOW + 30 * DAY - 1)
    with pytest.raises(SessionExpired):
        visitors.read_token(token, NOW + 30 * DAY)


def test_every_changed_letter_of_a_token_is_noticed(visitors):
    token = visitors.token(opened(visitors))
    for i, letter in enumerate(token):
        # The last letter of a base64 text may have bits that nobody reads.
        if i + 1 < len(token):
            with pytest.raises(SessionExpired):
                visitors.read_token(token[:i] + ("A" if letter != "A" else "B") + token[i + 1 :], NOW)


@pytest.mark.parametrize("token", ["", ".", "a.b", "a" * 5000, "e30.e30", "\udcff", "null"])
def test_nonsense_is_no_token(visitors, token):
    with pytest.raises(SessionExpired):
        visitors.read_token(token, NOW)


def test_another_houses_token_is_no_token(visitors, store):
    other = Visitors(store, "another key", lambda name: None)
    with pytest.raises(SessionExpired):
        visitors.read_token(other.token(opened(other)), NOW)


def test_a_renewed_token_holds_and_so_does_the_old_one(visitors):
    first = opened(visitors)
    again = opened(visitors, NOW + DAY, held=first)
    assert again.visitor == first.visitor
    assert again.expires == first.expires + DAY
    visitors.check(first)
    visitors.check(again)


def test_a_revoked_visitor_has_no_session_that_holds(visitors):
    first = opened(visitors)
    again = opened(visitors, NOW + 5, held=first)
    assert visitors.revoke("fern", first.visitor, NOW + 5)
    for session in (first, again):
        with pytest.raises(SessionExpired):
            visitors.check(session)
    visitors.check(opened(visitors, NOW + 6, held=first))
    assert not visitors.revoke("fern", "v_nobody", NOW)


def test_a_visitor_is_kept_as_long_as_the_site_retains(visitors, store):
    session = opened(visitors)
    assert 29 * DAY < store.do("TTL", keys.visitor("fern", session.visitor)) <= 30 * DAY


# -- identities --------------------------------------------------------------------------------------------------------


def token(secret=KEY, **claims):
    return jwt.encode({"sub": "u1", "exp": NOW + 60, **claims}, secret, algorithm="HS256")


def test_it_reads_whom_the_owner_names(visitors):
    person = visitors.identify(Identity("${secret:ID}"), token(name="Ann", email="ann@fern.example"), NOW)
    assert person == Person("u1", "Ann", "ann@fern.example")


@pytest.mark.parametrize(
    ("exp", "good"), [(-1, False), (0, False), (1, True), (IDENTITY_MAX_S, True), (IDENTITY_MAX_S + 1, False)]
)
def test_it_looks_at_the_clock_exactly(visitors, exp, good):
    def identify():
        return visitors.identify(Identity("${secret:ID}"), token(exp=int(NOW) + exp), NOW)

    if good:
        assert identify().subject == "u1"
    else:
        with pytest.raises(InvalidRequest):
            identify()


@pytest.mark.parametrize("identity", [None, Identity("${secret:UNSET}")])
def test_without_a_secret_there_is_no_identity(visitors, identity):
    with pytest.raises(InvalidRequest) as refused:
        visitors.identify(identity, token(), NOW)
    assert list(refused.value.errors) == ["identity"]
    assert "UNSET" not in str(refused.value.errors)


def test_a_person_is_the_same_visitor_everywhere(visitors):
    ann = Person("u1", "Ann")
    laptop = opened(visitors, person=ann)
    phone = opened(visitors, person=ann)
    assert laptop.visitor == phone.visitor
    assert opened(visitors, person=Person("u2")).visitor != laptop.visitor
    assert opened(visitors, person=ann, site="moss").visitor != laptop.visitor


def test_a_subject_stands_in_no_key(visitors, store):
    opened(visitors, person=Person("ann@fern.example"))
    assert not [key for key in store.do("KEYS", "*") if b"ann" in key]


def test_an_anonymous_visitor_becomes_somebody_and_keeps_their_conversation(visitors):
    held = opened(visitors)
    assert opened(visitors, held=held, person=Person("u1")).visitor == held.visitor
    assert opened(visitors, held=held).visitor == held.visitor
    assert opened(visitors, held=held, person=Person("u2")).visitor != held.visitor


# -- conversations -----------------------------------------------------------------------------------------------------


@pytest.fixture
def talk(store):
    """A conversation of `v_1` with a question and an answer in it."""
    conversations = Conversations(store)
    current = conversations.start("fern", "v_1", 30, NOW)
    for message in (Message("q", VISITOR, "Hm?", "t"), Message("a", ASSISTANT, "", "t", state="cancelled", turn="t_1")):
        store.do("HSET", keys.messages("fern", current.id), message.id, message.to_json())
        store.do("RPUSH", keys.message_order("fern", current.id), message.id)
    return conversations


def test_a_message_is_read_as_it_was_kept():
    for message in (
        Message("m", VISITOR, "é🎈\u2028", "t", page={"url": "https://a.example/", "title": ""}, turn="t_1"),
        Message("m", ASSISTANT, "", "t", state="cancelled"),
        Message("m", ASSISTANT, "x", "t", sources=({"n": 1, "title": "T"},)),
        Message("m", "notice", "x", "t", code="refused"),
    ):
        assert Message.from_json(message.to_json()) == message
    rated = Message("m", ASSISTANT, "x", "t", feedback={"rating": "up"})
    assert Message.from_json(rated.to_json()) == replace(rated, feedback=None)


def test_the_current_conversation_is_the_newest(talk):
    assert [message.id for message in talk.current("fern", "v_1").messages] == ["q", "a"]
    newer = talk.start("fern", "v_1", 30, NOW)
    assert talk.current("fern", "v_1") == newer
    assert talk.current("fern", "v_2") is None


def test_an_answer_of_an_older_conversation_can_still_be_rated(talk):
    old = talk.current("fern", "v_1").id
    talk.start("fern", "v_1", 30, NOW)
    talk.rate("fern", "v_1", "a", "down", "Too short", 30)
    assert talk.read("fern", old).messages[1].feedback == {"rating": "down", "reason": "Too short"}
    for visitor, message in (("v_2", "a"), ("v_1", "q"), ("v_1", "nothing")):
        with pytest.raises(NotFound):
            talk.rate("fern", visitor, message, "up", "", 30)


def test_an_erasure_counts_what_it_removes(talk, store):
    talk.rate("fern", "v_1", "a", "up", "", 30)
    receipt = talk.erase("fern", "v_1")
    assert (receipt.conversations, receipt.messages, receipt.feedback) == (1, 2, 1)
    assert store.do("KEYS", "*") == []
    assert talk.erase("fern", "v_1").conversations == 0


# -- the command line --------------------------------------------------------------------------------------------------


def test_an_operator_ends_a_visitors_sessions(settings, store):
    with House(settings, store.url) as house:
        ann = house.visitor()
        time.sleep(0.002)  # revoking counts whole milliseconds
        runner = house.app.test_cli_runner()
        assert runner.invoke(args=["visitors", "revoke", "fern", ann.id]).exit_code == 0
        assert ann.call("GET", "/v1/conversation").code == "session_expired"
        unknown = runner.invoke(args=["visitors", "revoke", "fern", ids.visitor()])
        assert unknown.exit_code == 1
        assert "no visitor" in unknown.stderr
