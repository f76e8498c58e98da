"""Users, and what they are signed in with. Passwords are kept as Argon2id, all other secrets as SHA-256 HMACs."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.models import AuditEntry, Role, Run, SignIn, User, View
from app.refusal import Refusal

LASTS = timedelta(days=30)
"""How long a browser stays signed in."""
LEAST_PASSWORD, LONGEST_PASSWORD = 10, 1024
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_BY_TOKEN = "t."  # noqa: S105 - a prefix
_hasher = PasswordHasher()


class PeopleError(Refusal):
    """What was asked of the list of users cannot be done; the message says why, `field` which entry is to blame."""

    def __init__(self, message: str, field: str = "name") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    name: str
    role: Role
    sign_in: str | None = None
    """The key of the `SignIn` that proved it; None where there is none to end."""

    @property
    def has_password(self) -> bool:
        """Whether this is one of the users, and not whoever is on this machine or has the token."""
        return self.name not in (LOCAL.name, TOKEN_BEARER.name)


LOCAL = Identity("local", Role.ADMIN)
"""Everybody, where the server listens on this machine only and neither token nor users are set."""
TOKEN_BEARER = Identity("token", Role.ADMIN)
"""Who has the server's token."""


def any_user(session: Session) -> bool:
    return session.scalar(select(User.name).limit(1)) is not None


def users(session: Session) -> list[User]:
    return list(session.scalars(select(User).order_by(User.name)))


def add(session: Session, name: str, password: str, role: Role, *, now: datetime) -> None:
    """Raises `PeopleError` for a name that is taken or unfit and for a password that is too short."""
    if not NAME.fullmatch(name) or name in (LOCAL.name, TOKEN_BEARER.name):
        raise PeopleError(f"{name!r} cannot be a user's name: take up to 40 of a-z, 0-9, dot, dash and underscore.")
    if session.get(User, name) is not None:
        raise PeopleError(f"There is a user {name} already.")
    session.add(User(name=name, password_hash=_hash(password), role=role, created_at=now))


def set_password(session: Session, name: str, password: str) -> None:
    """Change it, and sign the user out everywhere. Raises `PeopleError`."""
    get(session, name).password_hash = _hash(password)
    sign_out_everywhere(session, name)


@dataclass(frozen=True, slots=True)
class Removal:
    """What the removal of a user ends, and what stays under the name."""

    browsers: int
    api_tokens: int
    runs: int
    views: int


def removal(session: Session, name: str) -> Removal:
    """Raises `PeopleError` where there is no such user."""
    get(session, name)
    lasting = func.count(SignIn.expires_at)  # it leaves out what never expires: those are API tokens
    browsers, all_of_them = session.execute(select(lasting, func.count()).where(SignIn.user == name)).one()
    started = select(AuditEntry.run_id).where(AuditEntry.who == name, AuditEntry.action == "started")
    return Removal(
        browsers,
        all_of_them - browsers,
        runs=session.scalars(select(func.count(Run.id)).where(Run.id.in_(started))).one(),
        views=session.scalars(select(func.count(View.id)).where(View.saved_by == name)).one(),
    )


def only_admin(session: Session, name: str) -> bool:
    """Whether nobody else would be an admin without this one."""
    return list(session.scalars(select(User.name).where(User.role == Role.ADMIN))) == [name]


def set_role(session: Session, name: str, role: Role) -> None:
    """Raises `PeopleError`."""
    get(session, name).role = role


def remove(session: Session, name: str) -> None:
    """Raises `PeopleError`. What the user was signed in with ends with the user."""
    session.delete(get(session, name))


def authenticate(session: Session, name: str, password: str) -> bool:
    """Whether this is the user's password; a name that nobody has takes as long as a wrong password."""
    user = session.get(User, name)
    try:
        _hasher.verify(user.password_hash if user else _decoy(), password)
    except (VerificationError, InvalidHashError):
        return False
    return user is not None


def sign_in(session: Session, user: str | None, *, now: datetime, token: str = "", before: str | None = None) -> str:
    """Sign a browser in: as a user, or with None as who has the server's `token`. Returns the cookie's value.

    It is always a new one, and the cookie that the browser had `before` is worth nothing from now on. What was signed
    in by a token stays so only as long as the server has the same token.
    """
    session.execute(delete(SignIn).where(SignIn.expires_at < now))
    if before is not None:
        sign_out(session, _digest(before, token))
    return _open(session, user, token, created_at=now, expires_at=now + LASTS)


def api_token(session: Session, user: str, *, now: datetime) -> str:
    """A secret for `Authorization: Bearer`, until the user signs out everywhere. Raises `PeopleError`."""
    get(session, user)
    return _open(session, user, "", created_at=now, expires_at=None)


def who_has(session: Session, secret: str, *, now: datetime, token: str = "") -> Identity | None:
    """Whose cookie or API token this is; None where it is nobody's or has expired."""
    digest = _digest(secret, token)
    row = session.execute(
        select(SignIn.user, User.role)
        .outerjoin(User, SignIn.user == User.name)
        .where(SignIn.digest == digest, SignIn.expires_at.is_(None) | (SignIn.expires_at > now))
    ).one_or_none()
    if row is None:
        return None
    name, role = row
    if name is None:
        return Identity(TOKEN_BEARER.name, TOKEN_BEARER.role, digest)
    return Identity(name, Role(role), digest)


def still_in(session: Session, identity: Identity, *, now: datetime) -> bool:
    """Whether what let this one in still does."""
    if identity.sign_in is None:
        return True
    lasts = SignIn.expires_at.is_(None) | (SignIn.expires_at > now)
    return session.scalar(select(SignIn.digest).where(SignIn.digest == identity.sign_in, lasts)) is not None


def sign_out(session: Session, digest: str) -> None:
    session.execute(delete(SignIn).where(SignIn.digest == digest))


def sign_out_everywhere(session: Session, user: str | None) -> None:
    """All browsers and API tokens of a user; of None, all browsers that were signed in by the server's token."""
    session.execute(delete(SignIn).where(SignIn.user.is_(None) if user is None else SignIn.user == user))


def _open(session: Session, user: str | None, token: str, **times: datetime | None) -> str:
    secret = ("u." if user else _BY_TOKEN) + secrets.token_urlsafe(32)
    session.add(SignIn(digest=_digest(secret, token), user=user, **times))
    session.flush()
    return secret


def _digest(secret: str, token: str) -> str:
    """Keyed by the server's token where that is what it was given for: another token, and it is found no more."""
    key = token if secret.startswith(_BY_TOKEN) else ""
    return hmac.new(key.encode(), secret.encode(), hashlib.sha256).hexdigest()


def get(session: Session, name: str) -> User:
    """Raises `PeopleError`."""
    user = session.get(User, name)
    if user is None:
        raise PeopleError(f"There is no user {name}.")
    return user


def _hash(password: str) -> str:
    if not LEAST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PeopleError(f"A password has {LEAST_PASSWORD} to {LONGEST_PASSWORD:,} characters.", "password")
    return _hasher.hash(password)


@functools.cache
def _decoy() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
