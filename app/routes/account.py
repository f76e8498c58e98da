"""Signing in and out, and one's own password."""

from __future__ import annotations

from typing import Annotated, Literal, cast
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from app.actions import Form
from app.guarding import audit, people
from app.guarding.access import Asker, address_of, cookie_name, too_many
from app.guarding.people import TOKEN_BEARER, Identity, PeopleError
from app.guarding.throttle import Throttled
from app.pages import templates
from app.state import Shared, State

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]


WRONG_TOKEN = "This is not the token. The server prints it when it starts."  # noqa: S105 - words, no secret
FAILED = {"": {}, "token": {"token": WRONG_TOKEN}, "wait": {"token": "Too many tries. Please wait a minute."}}


@router.get("/login")
def show_login(
    request: Request,
    shared: Shared,
    wanted: Next = "/runs",
    token: Annotated[str, Query(max_length=1000)] = "",
    failed: Literal["", "token", "wait"] = "",
) -> Response:
    """The page where one signs in; with the token in the address, as `fitroom serve` prints it, one is in at once."""
    if token:
        return _by_link(request, shared, token, wanted)
    if not shared.gate.closed:
        return RedirectResponse(_inside(wanted), 303)
    return _page(request, shared, wanted, errors=FAILED[failed])


@router.post("/login")
def sign_in(request: Request, shared: Shared, values: Form) -> Response:
    return _sign_in(request, shared, values, values.get("next", "/runs"))


@router.post("/logout")
def sign_out(request: Request, shared: Shared, values: Form) -> Response:
    """End this browser's sign-in, or with `everywhere` all of the same person's, API tokens included."""
    identity = cast("Identity", request.state.identity)
    if identity.sign_in is not None:
        user = None if identity.name == TOKEN_BEARER.name else identity.name
        with shared.db.write() as session:
            if values.get("everywhere"):
                people.sign_out_everywhere(session, user)
            else:
                people.sign_out(session, identity.sign_in)
            audit.note(session, identity.name, "left", now=shared.clock())
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(request))
    return answer


@router.get("/account")
def show_account(request: Request, changed: Literal["", "password"] = "") -> Response:
    """Who one is, what one may, the ways out, and one's password."""
    return _account(request, changed=changed)


@router.post("/account")
def change_password(request: Request, shared: Shared, who: Asker, values: Form) -> Response:
    """The old password is asked for: a browser that somebody has left open is not enough to lock them out."""
    if not who.has_password:
        raise HTTPException(403, "Only who is signed in by name and password has a password to change.")
    if values.get("again", "") != values.get("new", ""):
        return _account(request, errors={"again": "This is not the same as the new password."})
    try:
        cookie = shared.gate.change_password(
            who.name, values.get("old", ""), values.get("new", ""), address_of(request)
        )
    except Throttled as error:
        return too_many(request, error)
    except PeopleError as error:
        return _account(request, errors={"new": str(error)})
    if cookie is None:
        return _account(request, errors={"old": "This is not your password."})
    return _let_in(request, cookie, "/account?changed=password")


def _account(request: Request, *, changed: str = "", errors: dict[str, str] | None = None) -> Response:
    context = {"nav": "account", "changed": changed, "errors": errors or {}}
    return templates.TemplateResponse(request, "account.html", context, status_code=422 if errors else 200)


def _by_link(request: Request, shared: State, token: str, wanted: str) -> Response:
    """Whatever comes of it, the browser moves on to an address without the token."""
    failed = "token"
    try:
        cookie = shared.gate.sign_in_by_token(token, address_of(request), _cookie(request))
    except Throttled:
        cookie, failed = None, "wait"
    if cookie is not None:
        return _let_in(request, cookie, wanted)
    return _untold(RedirectResponse(f"/login?{urlencode({'failed': failed, 'next': _inside(wanted)})}", 303))


def _sign_in(request: Request, shared: State, values: dict[str, str], wanted: str) -> Response:
    gate, address, before = shared.gate, address_of(request), _cookie(request)
    name = values.get("name", "").strip().lower()
    try:
        if "token" in values:
            cookie = gate.sign_in_by_token(values["token"].strip(), address, before)
            wrong = FAILED["token"]
        else:
            cookie = gate.sign_in_by_password(name, values.get("password", ""), address, before)
            wrong = {"password": "Name or password is wrong."}
    except Throttled as error:
        return too_many(request, error)
    if cookie is None:
        return _page(request, shared, wanted, errors=wrong, name=name)
    return _let_in(request, cookie, wanted)


def _let_in(request: Request, cookie: str, wanted: str) -> Response:
    answer = RedirectResponse(_inside(wanted), 303)
    answer.set_cookie(
        cookie_name(request),
        cookie,
        max_age=int(people.LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return _untold(answer)


def _page(
    request: Request, shared: State, wanted: str, *, errors: dict[str, str] | None = None, name: str = ""
) -> Response:
    context = {
        "by_token": shared.gate.has_token,
        "by_password": shared.gate.takes_passwords,
        "wanted": _inside(wanted),
        "errors": errors or {},
        "name": name,
    }
    return _untold(templates.TemplateResponse(request, "login.html", context, status_code=403 if errors else 200))


def _cookie(request: Request) -> str | None:
    return request.cookies.get(cookie_name(request))


def _untold(answer: Response) -> Response:
    """The address may hold the token: nothing that is asked for next is told it, and no cache keeps it."""
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _inside(wanted: str) -> str:
    """Only an address of this server: browsers take // and /\\ for the start of another's."""
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if safe else "/runs"
