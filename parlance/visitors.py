"""Visitors and their sessions: signed bearer tokens, renewable and revocable, and identities the owner vouches for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from itsdangerous import BadSignature, URLSafeSerializer

from parlance import ids
from parlance.errors import InvalidRequest, SessionExpired
from parlance.site import Identity
from parlance.store import keys
from parlance.store.client import Store

_DAY = 86_400
IDENTITY_MAX_S = 3_600
REMEMBERED = 4_096  # tokens whose signature was checked


@dataclass(frozen=True, slots=True)
class Session:
    """What a token says. Times in seconds (`issued_ms` in ms) since the epoch."""

    site: str
    visitor: str
    issued_ms: int
    expires: int
    locale: str


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the site's owner says this visitor is."""

    subject: str
    name: str = ""
    email: str = ""

    @property
    def hash(self) -> str:
        """The subject as keys and logs know it."""
        return hashlib.sha256(self.subject.encode()).hexdigest()[:40]


class Visitors:
    """`secret(name)` resolves `${secret:NAME}`: the value, or None."""

    def __init__(
        self, store: Store, secret_key: str, secret: Callable[[str], str | None], session_days: int = 30
    ) -> None:
        self._store = store
        self._signer = URLSafeSerializer(secret_key, salt="parlance.session.v1")
        self._secret = secret
        self._life_s = session_days * _DAY
        self._read: dict[str, Session] = {}

    # -- tokens ----------------------------------------------------------------------------------------------------

    def token(self, session: Session) -> str:
        claims = [session.site, session.visitor, session.issued_ms, session.expires, session.locale]
        return str(self._signer.dumps(claims))

    def read_token(self, token: str, now: float) -> Session:
        """The session of a token of ours that has not expired. Raises SessionExpired; asks no store."""
        session = self._read.get(token)
        if session is None:
            session = self._verified(token)
        if session.expires <= now:
            raise SessionExpired("the token has expired")
        return session

    def _verified(self, token: str) -> Session:
        """A token's session; remembered, since a visitor shows the same one with every call."""
        try:
            session = Session(*self._signer.loads(token))
        except (BadSignature, TypeError, ValueError) as error:
            raise SessionExpired("the token is not one of ours") from error
        if len(self._read) >= REMEMBERED:
            self._read.clear()
        self._read[token] = session
        return session

    def check(self, session: Session) -> None:
        """Raises SessionExpired where the session was revoked or its visitor erased."""
        valid_from = self._store.do("HGET", keys.visitor(session.site, session.visitor), "valid_from")
        if valid_from is None or session.issued_ms < int(valid_from):
            raise SessionExpired("the session was revoked, or its visitor erased")

    # -- sessions --------------------------------------------------------------------------------------------------

    def open(
        self, site: str, retain_days: int, now: float, *, locale: str, held: Session | None, person: Person | None
    ) -> Session:
        """A session for the visitor whom `person` names, else the one of the session that is `held`, else a new one."""
        visitor = self._known(site, person) or (held.visitor if held and self._fits(held, person) else None)
        now_ms = int(now * 1000)
        if visitor is None:
            visitor = ids.visitor()
            # Not `now`: a worker whose clock is behind this one's may renew the token a moment later.
            self._store.do("HSET", keys.visitor(site, visitor), "created", now_ms, "valid_from", 0)
        self._note(site, visitor, retain_days, locale, person)
        return Session(site, visitor, now_ms, int(now + self._life_s), locale)

    def revoke(self, site: str, visitor: str, now: float) -> bool:
        """Make all tokens of this visitor issued until now worthless. False where there is no such visitor."""
        place = keys.visitor(site, visitor)
        if not self._store.do("EXISTS", place):
            return False
        self._store.do("HSET", place, "valid_from", int(now * 1000) + 1)
        return True

    def _known(self, site: str, person: Person | None) -> str | None:
        if person is None:
            return None
        visitor = self._store.do("GET", keys.identity(site, person.hash))
        if visitor and self._store.do("EXISTS", keys.visitor(site, visitor.decode())):
            return str(visitor.decode())
        return None

    def _fits(self, held: Session, person: Person | None) -> bool:
        """An anonymous visitor may become somebody; somebody does not become somebody else."""
        if person is None:
            return True
        subject = self._store.do("HGET", keys.visitor(held.site, held.visitor), "subject")
        return subject is None or subject.decode() == person.hash

    def _note(self, site: str, visitor: str, retain_days: int, locale: str, person: Person | None) -> None:
        place, life = keys.visitor(site, visitor), retain_days * _DAY
        commands: list[tuple[Any, ...]] = [("HSET", place, "locale", locale), ("EXPIRE", place, life)]
        if person:
            commands += [
                ("HSET", place, "subject", person.hash, "name", person.name, "email", person.email),
                ("SET", keys.identity(site, person.hash), visitor, "EX", life),
            ]
        self._store.many(commands)

    # -- identities ------------------------------------------------------------------------------------------------

    def identify(self, identity: Identity | None, token: str, now: float) -> Person:
        """Whom a JWT of the site's owner names: HS256, `sub`, `exp` at most an hour away, `name`? and `email`?.

        Raises InvalidRequest, which names the field and never says what was wrong with the signature.
        """
        if identity is None:
            raise _bad_identity("this site takes no identities")
        secret = self._secret(identity.secret)
        if not secret:
            raise _bad_identity(f"the secret {identity.secret} that verifies identities is not set")
        try:
            claims = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                options={"require": ["sub", "exp"], "verify_exp": False, "verify_iat": False, "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _bad_identity(f"{type(error).__name__}") from error
        if not isinstance(claims["exp"], int | float) or not now < claims["exp"] <= now + IDENTITY_MAX_S:
            raise _bad_identity("exp must lie within the coming hour")
        return _person(claims)


def _person(claims: Mapping[str, Any]) -> Person:
    subject, name, email = claims["sub"], claims.get("name", ""), claims.get("email", "")
    texts = (subject, name, email)
    if not all(isinstance(text, str) and _can_be_kept(text) for text in texts) or not subject.strip():
        raise _bad_identity("sub, name and email are well-formed texts of at most 254 characters")
    return Person(subject, name, email)


def _can_be_kept(text: str) -> bool:
    """JSON has an escape for half a surrogate pair; UTF-8 has none."""
    return len(text) <= 254 and "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _bad_identity(reason: str) -> InvalidRequest:
    return InvalidRequest(f"identity: {reason}", errors={"identity": ["Not a valid identity of this site."]})
