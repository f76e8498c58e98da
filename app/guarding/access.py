"""Who is let in: by which name the server is asked, and who asks. Plain ASGI, so streams stay streams."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
import threading
from typing import Annotated, cast
from urllib.parse import quote

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.clock import Clock
from app.config import Settings
from app.db import Database
from app.errors import answer
from app.guarding import audit, people
from app.guarding.people import LOCAL, TOKEN_BEARER, Identity
from app.guarding.throttle import Throttle, Throttled
from app.middleware import SAFE_METHODS, refused
from app.models import Role

OPEN_TO_ALL = ("/healthz", "/readyz", "/login", "/favicon.ico", "/static/", "/assets/")
"""What a browser needs to show the page on which one signs in, and what says that the server is up."""
ASKED_BY_PROGRAMS = ("/api/", "/metrics")
"""They are told that they have to sign in; a browser is sent to the page for it."""
VIEWERS_MAY_POST = ("/predict", "/network", "/logout", "/account")
"""They change nothing but the asker's own sign-in and password."""
HASHES_AT_ONCE = 2
"""Each takes 64 MiB; more of them would only wait for the processor."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
"""A Host header as RFC 9110 has it; urllib's parser takes "[::1].evil.example" for ::1."""


class Gate:
    """Knows who may come in: everybody, or who has the token, or users. Thread-safe."""

    def __init__(self, db: Database, clock: Clock, *, token: str | None) -> None:
        self._db, self._clock, self._token = db, clock, token
        self._throttle = Throttle()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        with db.read() as session:
            self.has_users = people.any_user(session)

    @property
    def has_token(self) -> bool:
        return self._token is not None

    @property
    def takes_passwords(self) -> bool:
        """Whether there is anybody to sign in by a password: a closed server takes its first user at once."""
        if not self.has_users and self.closed:
            with self._db.read() as session:
                self.has_users = people.any_user(session)
        return self.has_users

    @property
    def closed(self) -> bool:
        """Whether one has to sign in. Decided at the start: deleting the last user opens no running server."""
        return self.has_token or self.has_users

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who asks. Raises `Throttled` where an address tries one token after the other."""
        kind, _, bearer = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._bearer(bearer.strip(), address_of(connection))
        cookie = connection.cookies.get(cookie_name(connection))
        return self._known(cookie) if cookie else None

    def sign_in_by_token(self, given: str, address: str, before: str | None) -> str | None:
        """The cookie for who has the server's token, instead of the one `before`; None where it is another.

        Raises `Throttled`.
        """
        self._throttle.attempt(address)
        if not self._is_token(given):
            return None
        self._throttle.passed(address)
        return self._come_in(None, address, before)

    def sign_in_by_password(self, name: str, password: str, address: str, before: str | None) -> str | None:
        """The cookie for this user, instead of the one `before`; None where name or password is wrong.

        Raises `Throttled`.
        """
        if not self._is_password(name, password, address):
            return None
        return self._come_in(name, address, before)

    def change_password(self, user: str, old: str, new: str, address: str) -> str | None:
        """A cookie for the browser that asks; all others and API tokens end. None where the `old` one is wrong.

        Raises `Throttled`, and `PeopleError` for a new one that is too short.
        """
        if not self._is_password(user, old, address):
            return None
        now = self._clock()
        with self._db.write() as session:
            people.set_password(session, user, new)
            audit.note(session, user, "password", now=now, detail=f"user {user}")
            return people.sign_in(session, user, now=now)

    def _is_password(self, name: str, password: str, address: str) -> bool:
        """Whether there is such a user with this password. Raises `Throttled`."""
        keys = (address, f"user {name[:80]}")
        self._throttle.attempt(*keys)
        if not self._hashing.acquire(timeout=2):
            raise Throttled(2)
        try:
            with self._db.read() as session:
                right = people.authenticate(session, name, password[: people.LONGEST_PASSWORD + 1])
        finally:
            self._hashing.release()
        if right:
            self._throttle.passed(*keys)
        return right

    def _come_in(self, user: str | None, address: str, before: str | None) -> str:
        now = self._clock()
        with self._db.write() as session:
            audit.note(session, user or TOKEN_BEARER.name, "came", now=now, detail=f"from {address}")
            return people.sign_in(session, user, now=now, token=self._token or "", before=before)

    def _bearer(self, secret: str, address: str) -> Identity | None:
        right = self._is_token(secret)
        if not right and (known := self._known(secret)) is not None:
            return known
        # The right token waits too: otherwise who takes no notice of being refused would guess on at full speed.
        self._throttle.check(address)
        if right:
            return TOKEN_BEARER
        self._throttle.attempt(address)
        return None

    def _known(self, secret: str) -> Identity | None:
        with self._db.read() as session:
            return people.who_has(session, secret, now=self._clock(), token=self._token or "")

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())


class SignedInOnly:
    """Lets in who is known and may do what is asked; sends a browser to the page where one signs in."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["identity"] = None if self.gate.closed else LOCAL
        if not self.gate.closed or _is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            state["identity"] = await run_in_threadpool(self.gate.identify, request)
        except Throttled as error:
            refusal: Response | None = too_many(request, error)
        else:
            refusal = _refusal(request, state["identity"])
        await (refusal or self.app)(scope, receive, send)


class KnownHostsOnly:
    """Refuses a request for a name that is not this server's, so that no page can make its own name lead here.

    Without it, a page of evil.example could have that name resolve to 127.0.0.1 (DNS rebinding) and read everything as
    its own. A request for a bare address cannot come about that way.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.loopback_only = app, is_loopback(settings.host)
        self.names = {"localhost", settings.host.lower(), *settings.further_hosts}
        if not self.loopback_only:
            short = socket.gethostname().lower()
            self.names |= {short, socket.getfqdn().lower(), f"{short.partition('.')[0]}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._ours(host := Headers(scope=scope).get("host", "")):
            shown = host[:100].encode("ascii", "backslashreplace").decode()
            text = f"Fitroom does not answer to the name '{shown}'. If it should, add it to FITROOM_ALLOWED_HOSTS."
            await refused(scope, 400, text)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].strip("[]").rstrip(".").lower()
        if name in self.names or "*" in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback_only


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches a server on this address."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host or "0.0.0.0", None)}  # noqa: S104 - "" means all
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def cookie_name(connection: HTTPConnection) -> str:
    """By port, because browsers keep one jar for all servers of a machine."""
    server = connection.scope.get("server")
    return f"fitroom-{server[1] if server else 0}"


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"


def too_many(request: Request, error: Throttled) -> Response:
    return answer(request, 429, str(error), headers={"Retry-After": str(error.whole_seconds)})


def _asker(request: Request) -> Identity:
    return cast("Identity", request.state.identity)


def _who(request: Request) -> str:
    return _asker(request).name


def _admin(request: Request) -> None:
    identity = _asker(request)
    if not identity.role.includes(Role.ADMIN):
        raise HTTPException(403, f"You are signed in as {identity.name}. Only admins see this page.")


Asker = Annotated[Identity, Depends(_asker)]
AdminOnly = Depends(_admin)
Who = Annotated[str, Depends(_who)]
"""The name of who asks, for the audit trail."""


def _is_open(path: str) -> bool:
    return any(path == prefix or (prefix.endswith("/") and path.startswith(prefix)) for prefix in OPEN_TO_ALL)


def _refusal(request: Request, identity: Identity | None) -> Response | None:
    if identity is None:
        return _sign_in_first(request)
    if request.method in SAFE_METHODS or request.url.path.endswith(VIEWERS_MAY_POST):
        return None
    if identity.role.includes(Role.TRAINER):
        return None
    return answer(request, 403, f"You are signed in as {identity.name}, who may look but not change anything.")


def _sign_in_first(request: Request) -> Response:
    # A page that refreshes a part of itself would put the sign-in page there; browsers say which of the two it is.
    shown = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
    if shown and request.method in ("GET", "HEAD") and not request.url.path.startswith(ASKED_BY_PROGRAMS):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", 303)
    detail = "Sign in first, or send the token as 'Authorization: Bearer ...'."
    return answer(request, 401, detail, headers={"WWW-Authenticate": 'Bearer realm="Fitroom"'})
