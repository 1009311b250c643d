"""The visitor protocol, row by row: every call, every refusal, and nothing that a client sends makes a 5xx."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import asdict, replace

import gevent
import jwt
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from parlance.errors import StoreUnavailable
from parlance.site import IpLimits, Limits, SiteLimits, VisitorLimits
from tests.house import FERN, MOSS, ORIGIN, OTHER_ORIGIN, House, until

# What is said at the door does not depend on the engine behind it.
pytestmark = pytest.mark.parametrize("redis_url", ["valkey"], indirect=True, scope="session")

SECRET = "the owner's secret, of thirty-two bytes or more"
SLOW = {"text": "one two three four five", "pace_s": 0.05}
LOOKALIKES = (
    "null",
    "http://fern.example",
    "https://fern.example.evil.test",
    "https://evilfern.example",
    "https://evil.test/https://fern.example",
    "https://fern.example:8443",
    "https://fern.example@evil.test",
    "https://fern.example.",
    "https://fern.example/",
    "https://*.fern.example",
    "https://fern%2eexample",
    "https://fеrn.example".encode().decode("latin-1"),  # a Cyrillic e
    "",
)


@pytest.fixture
def house(settings, store, monkeypatch):
    monkeypatch.setenv("FERN_IDENTITY", SECRET)
    with House(settings, store.url) as house:
        yield house


@pytest.fixture
def ann(house):
    return house.visitor()


@pytest.fixture
def bob(house):
    return house.visitor()


def identity(secret: str = SECRET, algorithm: str = "HS256", **claims) -> str:
    return jwt.encode({"sub": "u1", "exp": int(time.time()) + 600, **claims}, secret, algorithm=algorithm)


# -- who may call ------------------------------------------------------------------------------------------------------

CALLS = (
    ("POST", "/v1/sessions"),
    ("GET", "/v1/conversation"),
    ("POST", "/v1/conversation"),
    ("POST", "/v1/messages"),
    ("GET", "/v1/turns/t_1/events"),
    ("POST", "/v1/turns/t_1/cancel"),
    ("PUT", "/v1/messages/m_1/feedback"),
    ("GET", "/v1/conversation/transcript"),
    ("DELETE", "/v1/visitor"),
)
WITH_TOKEN = CALLS[1:]


@pytest.mark.parametrize("origin", LOOKALIKES)
def test_it_refuses_an_origin_that_only_looks_like_one_of_the_site(house, ann, origin):
    for method, path in (("GET", "/v1/sites/fern"), *CALLS):
        reply = ann.call(method, path, origin=origin, json={"site": "fern"} if method != "GET" else None)
        assert (reply.status, reply.code) == (403, "origin_not_allowed"), (method, path)
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize("origin", [ORIGIN, "https://eu.fern.example", "https://a.b.fern.example"])
def test_it_echoes_an_allowed_origin_and_lets_it_read_the_limits(house, origin):
    reply = house.call("GET", "/v1/sites/fern", origin=origin)
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == origin
    assert "Origin" in reply.headers["Vary"]
    exposed = {name.strip() for name in reply.headers["Access-Control-Expose-Headers"].split(",")}
    assert exposed >= {"Retry-After", "RateLimit", "RateLimit-Policy"}


def test_it_never_answers_any_origin_with_a_star(house, ann):
    for origin in (ORIGIN, OTHER_ORIGIN, None, "https://evil.test"):
        for method, path in (*CALLS, ("GET", "/v1/sites/moss"), ("OPTIONS", "/v1/sessions"), ("GET", "/v1/nowhere")):
            reply = ann.call(method, path, origin=origin)
            assert reply.headers.get("Access-Control-Allow-Origin") in (None, origin)


def test_it_lets_an_allowed_origin_read_refusals_too(house):
    for method, path in CALLS:
        reply = house.call(method, path)
        assert reply.status in (400, 401)
        assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert house.call("GET", "/v1/nowhere").headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_it_answers_preflights(house, method, path):
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    reply = house.call("OPTIONS", path, headers=asked)
    assert reply.status in (200, 204)
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {m.strip() for m in reply.headers["Access-Control-Allow-Methods"].split(",")} == {
        "GET",
        "POST",
        "PUT",
        "DELETE",
    }
    allowed = {name.strip().lower() for name in reply.headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed >= {"authorization", "content-type", "last-event-id"}
    assert int(reply.headers["Access-Control-Max-Age"]) >= 3600
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.test", "null", None])
def test_it_refuses_a_preflight_from_elsewhere(house, origin):
    reply = house.call("OPTIONS", "/v1/messages", origin=origin)
    assert (reply.status, reply.code) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_it_opens_a_session_without_an_origin_only_where_the_site_says_star(house):
    assert house.call("POST", "/v1/sessions", json={"site": "fern"}, origin=None).code == "origin_not_allowed"
    assert house.call("POST", "/v1/sessions", json={"site": "moss"}, origin=None).status == 201


def test_a_star_opens_the_site_to_no_other_browser(house):
    reply = house.call("POST", "/v1/sessions", json={"site": "moss"}, origin="https://evil.test")
    assert reply.code == "origin_not_allowed"


def test_a_token_is_enough_without_an_origin(ann):
    assert ann.call("GET", "/v1/conversation", origin=None).status == 200
    assert ann.call("POST", "/v1/sessions", json={"site": "fern"}, origin=None).status == 201


def test_a_token_works_only_from_its_own_sites_origins(house, ann):
    for method, path in WITH_TOKEN:
        reply = ann.call(method, path, origin=OTHER_ORIGIN)
        assert (reply.status, reply.code) == (403, "origin_not_allowed"), path
        assert "Access-Control-Allow-Origin" not in reply.headers


# -- sites -------------------------------------------------------------------------------------------------------------


def test_it_shows_a_sites_public_configuration(house):
    reply = house.call("GET", "/v1/sites/fern", origin=None)
    assert reply.status == 200
    shown = reply.json
    assert set(shown) == {"name", "title", "greeting", "suggestions", "theme", "locale", "features", "demo"}
    assert (shown["name"], shown["title"], shown["demo"]) == ("Fern & Fable", "Fern & Fable", True)
    assert b"FERN_IDENTITY" not in reply.body
    assert b"bookseller" not in reply.body


def test_it_answers_not_modified_to_who_has_it(house):
    first = house.call("GET", "/v1/sites/fern")
    again = house.call("GET", "/v1/sites/fern", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("key", ["nosuch", "FERN", "fern\x00", "..", "f" * 5000, "🌿", "%00"])
def test_it_says_that_there_is_no_such_site(house, key):
    reply = house.call("GET", f"/v1/sites/{key}")
    assert reply.status == 404
    assert reply.code in ("site_not_found", "not_found")
    opened = house.call("POST", "/v1/sessions", json={"site": key})
    assert (opened.status, opened.code) in ((404, "site_not_found"), (400, "invalid_request"))


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_it_opens_a_session(house):
    reply = house.call("POST", "/v1/sessions", json={"site": "fern", "page": {"url": ORIGIN, "title": "Home"}})
    session = reply.json
    assert reply.status == 201
    assert set(session) == {"token", "expires_at", "visitor", "conversation"}
    assert session["conversation"] == {"id": session["conversation"]["id"], "messages": [], "answered_by": "assistant"}
    assert session["expires_at"].endswith("Z")


def test_it_renews_a_session(house, ann):
    ann.ask().all()
    reply = ann.call("POST", "/v1/sessions", json={"site": "fern"})
    assert reply.status == 201
    assert reply.json["visitor"]["id"] == ann.id
    assert reply.json["conversation"]["id"] == ann.conversation
    assert len(reply.json["conversation"]["messages"]) == 2


def test_a_token_of_another_site_makes_a_new_visitor(house, ann):
    reply = house.call("POST", "/v1/sessions", json={"site": "moss"}, token=ann.token, origin=OTHER_ORIGIN)
    assert reply.status == 201
    assert reply.json["visitor"]["id"] != ann.id


def expired(house, ann) -> str:
    session = house.services.visitors.read_token(ann.token, time.time())
    return house.services.visitors.token(replace(session, expires=int(time.time()) - 1))


def forged(house, ann) -> str:
    payload, _, signature = ann.token.rpartition(".")
    return f"{payload}.{signature[:-2]}{'AA' if signature[-2:] != 'AA' else 'BB'}"


def resigned(house, ann) -> str:
    """The same claims under another key."""
    from itsdangerous import URLSafeSerializer

    session = house.services.visitors.read_token(ann.token, time.time())
    return str(URLSafeSerializer("guess", salt="parlance.session.v1").dumps(list(asdict(session).values())))


def revoked(house, ann) -> str:
    assert house.services.visitors.revoke("fern", ann.id, time.time())
    return ann.token


def no_token(house, ann) -> str:
    return ""


def binary(house, ann) -> str:
    return "\xff\xfe.\x80"


BAD_TOKENS = (expired, forged, resigned, revoked, no_token, binary)


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_it_wants_a_session_that_holds(house, ann, bad):
    token = bad(house, ann)
    for method, path in WITH_TOKEN:
        given = {"json": ann.message()} if path == "/v1/messages" else {}
        reply = house.call(method, path, token=token, **given)
        assert (reply.status, reply.code) == (401, "session_expired"), path


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_a_bad_token_makes_a_new_visitor(house, ann, bad):
    reply = house.call("POST", "/v1/sessions", json={"site": "fern"}, token=bad(house, ann))
    assert reply.status == 201
    assert reply.json["visitor"]["id"] != ann.id


def test_a_session_survives_a_worker_whose_clock_is_behind(house, ann):
    session = house.services.visitors.open(
        "fern", 30, time.time() - 300, locale="en", held=house.services.visitors.read_token(ann.token, 0), person=None
    )
    token = house.services.visitors.token(session)
    assert house.call("GET", "/v1/conversation", token=token).status == 200


# -- identities --------------------------------------------------------------------------------------------------------


def test_it_knows_who_the_owner_says_it_is(house):
    first = house.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity(name="Ann")})
    again = house.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity()})
    other = house.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity(sub="u2")})
    assert first.status == again.status == 201
    assert first.json["visitor"] == again.json["visitor"] != other.json["visitor"]


def test_an_anonymous_visitor_becomes_somebody_and_nobody_becomes_somebody_else(house, ann):
    ann.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity()})
    same = house.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity()})
    other = ann.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity(sub="u2")})
    assert same.json["visitor"]["id"] == ann.id
    assert other.json["visitor"]["id"] != ann.id


def deep_header() -> str:
    """A JWT whose header is a deep nest of lists: it is parsed before any signature is checked."""
    return base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=") + ".e30.e30"


BAD_IDENTITIES = {
    "wrong secret": lambda: identity("another secret, which is also long enough"),
    "alg none": lambda: jwt.encode({"sub": "u1", "exp": int(time.time()) + 60}, None, algorithm="none"),
    "another algorithm": lambda: identity(SECRET * 2, algorithm="HS512"),
    "expired": lambda: identity(exp=int(time.time()) - 1),
    "too far": lambda: identity(exp=int(time.time()) + 3700),
    "no exp": lambda: jwt.encode({"sub": "u1"}, SECRET, algorithm="HS256"),
    "no sub": lambda: jwt.encode({"exp": int(time.time()) + 60}, SECRET, algorithm="HS256"),
    "blank sub": lambda: identity(sub=" "),
    "exp no number": lambda: identity(exp="soon"),
    "exp endless": lambda: jwt.encode({"sub": "u1", "exp": float("inf")}, SECRET, algorithm="HS256"),
    "a name that is no text": lambda: identity(name=["Ann"]),
    "a sub with half a surrogate": lambda: identity(sub="\ud800"),
    "a name with half a surrogate": lambda: identity(name="\ud800"),
    "an email with NUL": lambda: identity(email="a\x00b"),
    "nonsense": lambda: "nonsense",
    "dots": lambda: "..",
    "deep nesting": deep_header,
    "not ASCII": lambda: "é.é.é",
}


@pytest.mark.parametrize("bad", BAD_IDENTITIES.values(), ids=BAD_IDENTITIES)
def test_it_refuses_an_identity_that_the_owner_did_not_sign_as_agreed(house, bad):
    reply = house.call("POST", "/v1/sessions", json={"site": "fern", "identity": bad()})
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert list(reply.json["errors"]) == ["identity"]


def test_a_site_without_a_secret_takes_no_identities(house):
    reply = house.call("POST", "/v1/sessions", json={"site": "moss", "identity": identity()}, origin=OTHER_ORIGIN)
    assert (reply.status, list(reply.json["errors"])) == (400, ["identity"])


# -- bodies ------------------------------------------------------------------------------------------------------------

BODIES = {
    "POST /v1/sessions": {"site": "fern"},
    "POST /v1/messages": {"conversation": "c", "id": "8c9d0f5c-0f5e-4f63-8a35-5a2f2f7a2f11", "text": "Hi"},
    "PUT /v1/messages/m_1/feedback": {"rating": "up"},
}
WITH_BODY = tuple(tuple(call.split()) for call in BODIES)


def body_of(method: str, path: str) -> dict:
    return dict(BODIES[f"{method} {path}"])


BROKEN = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "not UTF-8": b'{"site": "\xff"}',
    "UTF-16": json.dumps({"site": "fern", "conversation": "c"}).encode("utf-16"),
    "deep nesting": b"[" * 60_000,
    "deep objects": b'{"a":' * 12_000,
    "a number without end": b'{"site": ' + b"1" * 50_000 + b"}",
    "two documents": b'{"site": "fern"}{"site": "fern"}',
}


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_it_refuses_what_is_no_json_object_in_utf8(ann, method, path, data):
    reply = ann.call(method, path, data=data)
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert "body" in reply.json["errors"]


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_it_names_every_unknown_field(ann, method, path):
    reply = ann.call(method, path, json=body_of(method, path) | {"colour": 1, "\ud800": 2, "x" * 9000: 3})
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert "colour" in reply.json["errors"]
    assert len(reply.json["errors"]) == 3
    assert len(reply.body) < 4000


WRONG = (None, 1, 1.5, True, [], {}, [1], {"a": 1}, "", " ", "\x00", "a\x00b", "\ud800", "a\udfff", "x" * 9000)


FIELDS = {  # and what of WRONG they may hold, or are refused for otherwise
    "POST /v1/sessions site": (),
    "POST /v1/sessions locale": (),
    "POST /v1/sessions page": (None,),
    "POST /v1/sessions identity": (None,),
    "POST /v1/messages conversation": (),
    "POST /v1/messages id": (),
    "POST /v1/messages text": ("x" * 9000,),
    "POST /v1/messages page": (None,),
    "PUT /v1/messages/m_1/feedback rating": (None,),
    "PUT /v1/messages/m_1/feedback reason": ("", " "),
}


@pytest.mark.parametrize(
    ("method", "path", "field", "wrong"),
    [(*where.split(), wrong) for where, fine in FIELDS.items() for wrong in WRONG if wrong not in fine],
    ids=lambda value: repr(value)[:30],
)
def test_it_names_a_field_of_the_wrong_kind(ann, method, path, field, wrong):
    reply = ann.call(method, path, json=body_of(method, path) | {field: wrong})
    assert (reply.status, reply.code) == (400, "invalid_request"), wrong
    assert {name.split(".")[0] for name in reply.json["errors"]} == {field}


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_it_names_every_missing_field(ann, method, path):
    reply = ann.call(method, path, json={})
    missing = {"POST /v1/messages": {"conversation", "id", "text"}}.get(
        f"{method} {path}", {*BODIES[f"{method} {path}"]}
    )
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert set(reply.json["errors"]) == missing


@pytest.mark.parametrize("raw", [b"\xed\xa0\x80", b"\xc0\x80", b"\xff", b"\x80"], ids=["surrogate", "NUL", "ff", "80"])
def test_it_refuses_raw_bytes_that_are_no_text(ann, raw):
    data = json.dumps(ann.message("@")).encode().replace(b"@", b"a" + raw)
    reply = ann.call("POST", "/v1/messages", data=data)
    assert (reply.status, reply.code) == (400, "invalid_request")


@pytest.mark.parametrize("locale", ["en US", "en;q=1", "en\n", "e", "english", "en-", "en-\ud800", "de\ud800", "en_US"])
def test_it_names_a_locale_that_is_none(house, locale):
    reply = house.call("POST", "/v1/sessions", json={"site": "fern", "locale": locale})
    assert (reply.status, list(reply.json["errors"])) == (400, ["locale"])


@pytest.mark.parametrize("url", ["ftp://a", "javascript:alert(1)", "fern.example", "http://", "http://[", "a" * 3000])
def test_it_names_a_page_that_has_no_web_address(ann, url):
    reply = ann.send(page={"url": url})
    assert (reply.status, list(reply.json["errors"])) == (400, ["page.url"])


def test_it_names_a_field_inside_the_page(ann):
    reply = ann.send(page={"url": ORIGIN, "title": 1, "referrer": "x"})
    assert set(reply.json["errors"]) == {"page.title", "page.referrer"}


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_it_refuses_ten_megabytes(ann, method, path, chunked):
    data = json.dumps(body_of(method, path) | {"text": "x" * 10_000_000}).encode()
    reply = ann.call(method, path, data=data, chunked=chunked)
    assert (reply.status, reply.code) == (413, "request_too_large")
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_it_takes_a_chunked_body(ann):
    stream = ann.house.open(
        "POST", "/v1/messages", data=json.dumps(ann.message()).encode(), chunked=True, token=ann.token
    )
    assert stream.end.name == "done"


def test_the_last_of_two_equal_names_counts(ann):
    data = json.dumps(ann.message("second")).encode().replace(b'"text": ', b'"text": 1, "text": ')
    stream = ann.house.open("POST", "/v1/messages", data=data, token=ann.token)
    assert stream.end.name == "done"
    assert ann.messages()[0]["text"] == "second"


@pytest.mark.parametrize(
    "text", ["\ufeff", "日本語 🎈 \u2028 é", "<script>alert(1)</script>", "a\tb\nc", "\u202eabc", "[DONE]"]
)
def test_it_takes_any_well_formed_text_as_it_is(ann, text):
    assert ann.ask(text).end.name == "done"
    assert ann.messages()[0]["text"] == text


def test_it_counts_code_points_of_a_message(house, ann):
    most = FERN.limits.message_chars
    assert ann.ask("🎈" * most).end.name == "done"
    reply = ann.send("🎈" * (most + 1))
    assert (reply.status, reply.code) == (413, "message_too_long")
    assert len(ann.messages()) == 2


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"}


@pytest.mark.parametrize("path", sorted({path for _, path in CALLS} | {"/v1/sites/fern"}))
def test_it_refuses_a_method_that_a_path_does_not_have(ann, path):
    has = {method for method, known in (*CALLS, ("GET", "/v1/sites/fern")) if known == path}
    for method in METHODS - has - ({"HEAD"} if "GET" in has else set()):
        reply = ann.call(method, path)
        assert reply.status == 405, method
        assert set(reply.headers["Allow"].replace(" ", "").split(",")) >= has
        assert method == "HEAD" or reply.code == "method_not_allowed"


def test_a_head_gets_what_a_get_would_without_its_body(ann):
    turn = ann.ask()
    turn.all()
    for path in ("/v1/sites/fern", "/v1/conversation", f"/v1/turns/{turn.turn}/events"):
        reply = ann.call("HEAD", path)
        assert (reply.status, reply.body) == (200, b""), path


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/messages/", "/v1/nowhere", "/v1/sites/", "/v1/turns/t_1", "/v1/%ff"]
)
def test_it_knows_no_other_path(ann, path):
    reply = ann.call("GET", path)
    assert reply.status in (404, 405)
    if path != "/v1":
        assert reply.is_problem


# -- whatever is sent --------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.sampled_from(WRONG),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["site", "locale", "page", "identity", "conversation", "id", "text", "rating", "reason", "url"])
GOOD = st.sampled_from(["fern", "en", "up", str(uuid.uuid4()), {"url": ORIGIN}])
ALMOST = st.dictionaries(NAMES, GOOD | JSON, max_size=6).map(lambda body: json.dumps(body).encode())
SENT = st.binary(max_size=200) | ALMOST | JSON.map(lambda value: json.dumps(value).encode())
LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


@effort(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.sampled_from(CALLS), data=SENT, query=LATIN, token=st.none() | LATIN, last=st.none() | LATIN)
def test_whatever_is_sent_makes_a_problem_at_worst(ann, call, data, query, token, last):
    method, path = call
    given = {"headers": {"Last-Event-ID": last}} if last is not None else {}
    reply = ann.call(method, f"{path}?after={query}", data=data, token=ann.token if token is None else token, **given)
    assert reply.status < 500, (method, path, data, reply)
    assert reply.status < 400 or reply.code
    if reply.status == 200 and method == "DELETE":
        ann.token = ann.house.visitor().token


# -- messages ----------------------------------------------------------------------------------------------------------


def test_it_answers_a_message(house, ann):
    stream = ann.ask(page={"url": ORIGIN + "/gifts?token=s3cret#x", "title": "Gifts"})
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.headers["Cache-Control"] == "no-store"
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in stream.headers
    assert stream.names == ["start", "text", "done"]
    (call,) = house.demo.calls
    assert "s3cret" not in json.dumps(call.body)
    assert "/gifts" in json.dumps(call.body)


def test_the_conversation_then_has_both_messages(ann):
    stream = ann.ask()
    start, done = stream.all()[0].data, stream.end.data
    question, answer = ann.messages()
    assert start["conversation"] == ann.conversation
    assert (question["role"], question["state"]) == ("visitor", "complete")
    assert (answer["role"], answer["state"], answer["text"]) == ("assistant", "complete", done["text"])
    assert answer["id"] == start["message"] == done["message"]
    assert set(answer) == {"id", "role", "text", "created_at", "state"}


def test_it_tells_the_limits_with_an_admitted_message(ann):
    headers = ann.ask().headers
    assert (
        headers["RateLimit-Policy"] == '"visitor_minute";q=10;w=60, "visitor_day";q=200;w=86400, "ip_minute";q=60;w=60'
    )
    assert headers["RateLimit"].startswith('"visitor_minute";r=9;t=6, ')


def test_it_tells_the_limits_with_a_refused_message(house):
    house.services.sites.apply([replace(FERN, limits=Limits(visitor=VisitorLimits(per_minute=1)))])
    ann = house.visitor()
    ann.ask().all()
    reply = ann.send()
    assert (reply.status, reply.code, reply.json["limit"]) == (429, "rate_limited", "visitor")
    assert 1 <= reply.json["retry_after"] <= 60
    assert reply.json["detail"] == f"Fern needs {reply.json['retry_after']} seconds."
    assert '"visitor_minute";r=0;t=' in reply.headers["RateLimit"]
    assert "RateLimit-Policy" in reply.headers
    assert len(ann.messages()) == 2


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(visitor=VisitorLimits(per_day=1)), "visitor"),
        (Limits(ip=IpLimits(per_minute=1)), "ip"),
        (Limits(site=SiteLimits(per_minute=1)), "site"),
        (Limits(site=SiteLimits(concurrent=1)), "concurrency"),
    ],
)
def test_it_names_the_limit(house, limits, limit):
    house.services.sites.apply([replace(FERN, limits=limits)])
    house.demo.script.add(**SLOW)
    ann, bob = house.visitor(), house.visitor()
    ann.ask()
    reply = (ann if limit == "visitor" else bob).send()
    if limit == "visitor":
        until(lambda: not house.services.runner.running)
        reply = ann.send()
    assert (reply.status, reply.code, reply.json["limit"]) == (429, "rate_limited", limit)


def test_it_says_busy_and_which_turn(house, ann):
    house.demo.script.add(**SLOW)
    first = ann.ask()
    reply = ann.send("And another")
    assert (reply.status, reply.code, reply.json["turn"]) == (409, "busy", first.turn)
    assert "RateLimit" in reply.headers
    assert first.end.name == "done"
    assert [message["role"] for message in ann.messages()] == ["visitor", "assistant"]


def test_the_same_id_joins_its_turn_whatever_its_text(house, ann):
    message = ann.message()
    first = ann.send(given={"json": message})
    again = ann.send(given={"json": message | {"text": "Something else"}})
    first.all()
    assert again.turn == first.turn
    later = ann.send(given={"json": message})
    assert later.all() == again.all() == first.all()
    assert len(house.demo.calls) == 1
    assert len(ann.messages()) == 2


def test_the_same_id_twenty_times_at_once_is_asked_once(house, ann):
    house.demo.script.add(**SLOW)
    message = ann.message()
    streams = [gevent.spawn(lambda: ann.send(given={"json": message})) for _ in range(20)]
    gevent.joinall(streams)
    answers = {tuple(map(str, stream.get().all())) for stream in streams}
    assert len(answers) == 1
    assert len(house.demo.calls) == 1
    assert len(ann.messages()) == 2


def test_an_id_whose_turn_failed_is_asked_anew_and_stored_once(house, ann):
    house.demo.script.add(status=400)
    house.demo.script.add(status=400)
    message = ann.message()
    first = ann.send(given={"json": message})
    assert first.end.name == "error"
    again = ann.send(given={"json": message})
    assert again.end.name == "done"
    assert again.turn != first.turn
    assert [m["role"] for m in ann.messages()] == ["visitor", "notice", "assistant"]
    assert ann.send(given={"json": message}).turn == again.turn


def test_a_repeated_message_finds_its_answer_when_the_journal_is_gone(house, ann, store):
    message = ann.message()
    stream = ann.send(given={"json": message})
    stream.all()
    store.do("DEL", f"parlance:{{fern}}:turn:{stream.turn}:events")
    again = ann.send(given={"json": message})
    assert again.end.data == stream.end.data
    assert again.text == stream.text
    assert len(house.demo.calls) == 1


def test_a_message_id_of_somebody_else_starts_a_turn_of_its_own(ann, bob):
    message = ann.message()
    first = ann.send(given={"json": message})
    first.all()
    second = bob.send(given={"json": message | {"conversation": bob.conversation}})
    assert second.end.name == "done"
    assert second.turn != first.turn


def test_only_the_current_conversation_takes_messages(ann, bob):
    old = ann.message()
    reply = ann.call("POST", "/v1/conversation")
    assert reply.status == 201
    assert reply.json["messages"] == []
    assert reply.json["id"] != ann.conversation
    assert ann.send(given={"json": old}).code == "not_found"
    assert ann.send(given={"json": old | {"conversation": bob.conversation}}).code == "not_found"
    assert ann.send(given={"json": old | {"conversation": reply.json["id"]}}).end.name == "done"


def test_a_running_turn_shows_in_the_conversation(house, ann):
    house.demo.script.add(**SLOW)
    stream = ann.ask()
    shown = ann.call("GET", "/v1/conversation").json
    assert shown["turn"] == {"id": stream.turn, "state": "running"}
    stream.all()
    assert "turn" not in ann.call("GET", "/v1/conversation").json


# -- what is somebody else's -------------------------------------------------------------------------------------------


def test_what_is_somebody_elses_is_as_what_is_not_there(house, ann, bob):
    turn = ann.ask()
    answer = turn.end.data["message"]
    moss = house.visitor(MOSS)
    for other in (bob, moss):
        for method, path, body in (
            ("GET", "/v1/turns/{}/events", None),
            ("POST", "/v1/turns/{}/cancel", None),
            ("PUT", "/v1/messages/{}/feedback", {"rating": "up"}),
        ):
            real = turn.turn if "turns" in path else answer
            theirs = other.call(method, path.format(real), json=body)
            nobodys = other.call(method, path.format("t_000"), json=body)
            assert (theirs.status, theirs.code) == (404, "not_found")
            assert theirs.body == nobodys.body
            assert {*theirs.headers} == {*nobodys.headers}


@pytest.mark.parametrize("odd", ["a" * 300, "%00", "{fern}", "t_1:events", "%F0%9F%8C%BF", "*"])
def test_an_id_that_cannot_be_one_is_not_found(ann, odd):
    for method, path in (("GET", "turns/{}/events"), ("POST", "turns/{}/cancel"), ("PUT", "messages/{}/feedback")):
        body = {"rating": "up"} if method == "PUT" else None
        reply = ann.call(method, "/v1/" + path.format(odd), json=body)
        assert (reply.status, reply.code) == (404, "not_found")


# -- feedback ----------------------------------------------------------------------------------------------------------


def test_it_keeps_what_the_visitor_thinks(ann):
    answer = ann.ask().end.data["message"]

    def rate(**body):
        reply = ann.call("PUT", f"/v1/messages/{answer}/feedback", json=body)
        assert reply.status == 200
        return ann.messages()[1].get("feedback")

    assert rate(rating="up") == {"rating": "up"}
    assert rate(rating="down", reason="Too long") == {"rating": "down", "reason": "Too long"}
    assert rate(rating=None) is None
    assert rate(rating=None) is None


def test_only_answers_can_be_rated(ann):
    ann.ask().all()
    question = ann.messages()[0]["id"]
    reply = ann.call("PUT", f"/v1/messages/{question}/feedback", json={"rating": "up"})
    assert (reply.status, reply.code) == (404, "not_found")


# -- transcript --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain"),
        ("text/plain", "text/plain"),
        ("text/markdown", "text/markdown"),
        ("application/json", "application/json"),
        ("application/json;q=0.1, text/markdown;q=0.9", "text/markdown"),
        ("image/png", "text/plain"),
    ],
)
def test_the_transcript_comes_as_it_is_wanted(ann, accept, kind):
    done = ann.ask("Do you gift-wrap?").end.data
    reply = ann.call("GET", "/v1/conversation/transcript", headers={"Accept": accept} if accept else {})
    assert reply.status == 200
    assert reply.headers["Content-Type"].split(";")[0] == kind
    assert "Accept" in reply.headers["Vary"]
    if kind == "application/json":
        assert [message["text"] for message in reply.json["messages"]] == ["Do you gift-wrap?", done["text"]]
    else:
        assert "Do you gift-wrap?" in reply.body.decode()
        assert done["text"] in reply.body.decode()


# -- erasing -----------------------------------------------------------------------------------------------------------


def test_it_erases_a_visitor_and_says_what(house, ann, bob, store):
    answer = ann.ask().end.data["message"]
    ann.call("PUT", f"/v1/messages/{answer}/feedback", json={"rating": "up"})
    ann.call("POST", "/v1/sessions", json={"site": "fern", "identity": identity()})
    conversation = ann.call("POST", "/v1/conversation").json["id"]
    ann.ask(conversation=conversation).all()
    bob.ask().all()
    mine = [key for key in house.stored() if ann.id in key or ann.conversation in key or conversation in key]
    assert len(mine) > 8
    reply = ann.call("DELETE", "/v1/visitor")
    assert reply.status == 200
    counts = {"conversations": 2, "messages": 4, "feedback": 1, "turns": 2, "identities": 1, "left": 0}
    assert reply.json["erased"] == counts
    left = [key for key in house.stored() if ":rate:ip" not in key and ":rate:site" not in key and ":ledger" not in key]
    assert not [key for key in left if ann.id in key or ann.conversation in key or ":identity:" in key]
    assert len([key for key in left if ":turn:" in key]) == 2, "bob's, and only bob's"
    for method, path in WITH_TOKEN:
        given = {"json": ann.message()} if path == "/v1/messages" else {}
        assert ann.call(method, path, **given).code == "session_expired"
    assert len(bob.messages()) == 2


def test_erasing_twice_is_as_erasing_nobody(ann):
    assert ann.call("DELETE", "/v1/visitor").status == 200
    assert ann.call("DELETE", "/v1/visitor").code == "session_expired"


def test_erasing_stops_an_answer_and_leaves_nothing_of_it(house, ann):
    house.demo.script.add(text="word " * 400, pace_s=0.002)
    stream = ann.ask()
    stream.until("text")
    assert ann.call("DELETE", "/v1/visitor").status == 200
    until(lambda: not house.services.runner.running)
    gevent.sleep(0.05)
    assert not [key for key in house.stored() if ":turn:" in key or ann.id in key]
    (call,) = house.demo.calls
    assert call.left
    assert stream.all()[-1].name in ("text", "done")


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "detail"),
    [
        ("de-AT", "Fern spricht noch."),
        ("de", "Fern spricht noch."),
        ("fr", "La réponse à votre dernier message"),
        ("", "Your"),
    ],
)
def test_it_speaks_the_visitors_language(house, locale, detail):
    house.demo.script.add(**SLOW)
    ann = house.visitor(locale=locale) if locale else house.visitor()
    ann.ask()
    assert ann.send().json["detail"].startswith(detail)


def test_a_worker_speaks_for_a_site_that_it_has_had_no_visitor_of(house, settings, store, monkeypatch):
    with House(settings, store.url, sites=()) as other:
        until(lambda: other.services.sites._kept)

        def away(act):
            raise StoreUnavailable("away")

        with monkeypatch.context() as outage:
            outage.setattr(other.store, "_guarded", away)
            reply = other.call("POST", "/v1/sessions", json={"site": "fern", "locale": "de"})
    assert (reply.status, reply.code, reply.json["detail"]) == (503, "unavailable", "Fern ist kurz weg.")
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_it_hears_the_browsers_language_before_a_session(house):
    reply = house.call("POST", "/v1/sessions", json={}, headers={"Accept-Language": "de-AT, en;q=0.5"})
    assert reply.json["detail"].startswith("Da hat etwas")
