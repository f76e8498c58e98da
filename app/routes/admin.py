"""For admins: who may sign in, and the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BeforeValidator, Field
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from app.actions import Form
from app.errors import answer
from app.guarding import audit, people
from app.guarding.access import AdminOnly, Who
from app.guarding.people import PeopleError
from app.models import LONGEST_ACTION, Role
from app.pages import templates
from app.state import Shared, State

router = APIRouter(include_in_schema=False, dependencies=[AdminOnly])

PAGE_SIZE = 50
ROLES = {
    Role.VIEWER: "looks at everything, tries networks on images",
    Role.TRAINER: "also starts, cancels and deletes runs",
    Role.ADMIN: "also keeps this list and sees the audit trail",
}

Name = Annotated[str, Path(pattern=f"^{people.NAME.pattern}$")]
Number = Annotated[Annotated[int, Field(ge=1, lt=2**63)] | None, BeforeValidator(lambda value: value or None)]
"""A form sends its empty fields too."""


@router.get("/users")
def show_users(request: Request, shared: Shared) -> Response:
    return _page(request, shared)


@router.post("/users")
def add_user(request: Request, shared: Shared, who: Who, values: Form) -> Response:
    name, now = values.get("name", "").strip().lower(), shared.clock()
    try:
        role = _role(values)
        with shared.db.write() as session:
            people.add(session, name, values.get("password", ""), role, now=now)
            audit.note(session, who, "add", now=now, detail=f"user {name}, {role}")
    except PeopleError as error:
        return _page(request, shared, values=values, errors={error.field: str(error)})
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/role")
def set_role(request: Request, name: Name, shared: Shared, who: Who, values: Form) -> Response:
    def change(session: Session) -> None:
        role = _role(values)
        if role != Role.ADMIN:
            _leave_an_admin(session, shared, name)
        people.set_role(session, name, role)
        audit.note(session, who, "role", now=shared.clock(), detail=f"user {name}, {role}")

    return _changed(request, shared, change)


@router.post("/users/{name}/sign-out")
def sign_out_everywhere(request: Request, name: Name, shared: Shared, who: Who) -> Response:
    """All browsers and API tokens of this user."""

    def change(session: Session) -> None:
        people.get(session, name)
        people.sign_out_everywhere(session, name)
        audit.note(session, who, "sign-out", now=shared.clock(), detail=f"user {name}")

    return _changed(request, shared, change)


@router.get("/users/{name}/password")
def show_password(request: Request, name: Name, shared: Shared, who: Who) -> Response:
    """A new one for who has forgotten theirs; for one's own, the old one is asked."""
    if name == who:
        return RedirectResponse("/account", 303)
    return _about_user(request, shared, name, "user_password.html")


@router.post("/users/{name}/password")
def set_password(request: Request, name: Name, shared: Shared, who: Who, values: Form) -> Response:
    if name == who:
        return RedirectResponse("/account", 303)
    try:
        with shared.db.write() as session:
            people.set_password(session, name, values.get("password", ""))
            audit.note(session, who, "password", now=shared.clock(), detail=f"user {name}")
    except PeopleError as error:
        return _about_user(request, shared, name, "user_password.html", errors={error.field: str(error)})
    return RedirectResponse("/users", 303)


@router.get("/users/{name}/remove")
def show_remove(request: Request, name: Name, shared: Shared) -> Response:
    """What goes and what stays, before it does."""
    return _about_user(request, shared, name, "user_remove.html")


@router.post("/users/{name}/remove")
def remove(request: Request, name: Name, shared: Shared, who: Who) -> Response:
    def change(session: Session) -> None:
        _leave_an_admin(session, shared, name)
        people.remove(session, name)
        audit.note(session, who, "remove", now=shared.clock(), detail=f"user {name}")

    return _changed(request, shared, change)


@router.get("/audit")
def show_audit(
    request: Request,
    shared: Shared,
    who: Annotated[str, Query(max_length=40)] = "",
    action: Annotated[str, Query(max_length=LONGEST_ACTION)] = "",
    run: Number = None,
    before: Number = None,
) -> Response:
    """Who did what, newest first, a page at a time."""
    query = audit.Query(who, action, run, before)
    with shared.db.read() as session:
        entries = audit.newest(session, PAGE_SIZE + 1, query)
        names, actions = audit.known(session)
    shown = entries[:PAGE_SIZE]
    context = {
        "entries": shown,
        "query": query,
        "names": names,
        "actions": actions,
        "older_url": query.url(before=shown[-1].id) if len(entries) > PAGE_SIZE else None,
        "newest_url": query.url(before=None) if before else None,
        "nav": "audit",
    }
    return templates.TemplateResponse(request, "audit.html", context)


def _changed(request: Request, shared: State, change: Callable[[Session], None]) -> Response:
    """The list after a change to one of its users, or with the reason why there was none."""
    try:
        with shared.db.write() as session:
            change(session)
    except PeopleError as error:
        return _page(request, shared, problem=str(error))
    return RedirectResponse("/users", 303)


def _about_user(
    request: Request, shared: State, name: str, template: str, *, errors: dict[str, str] | None = None
) -> Response:
    try:
        with shared.db.read() as session:
            context = {
                "user": people.get(session, name),
                "removal": people.removal(session, name),
                "stays": not shared.gate.has_token and people.only_admin(session, name),
                "errors": errors or {},
            }
    except PeopleError as error:
        return answer(request, 404, str(error))
    return templates.TemplateResponse(request, template, context, status_code=422 if errors else 200)


def _role(values: dict[str, str]) -> Role:
    try:
        return Role(values.get("role", ""))
    except ValueError:
        raise PeopleError("Choose one of the roles.", "role") from None


def _leave_an_admin(session: Session, shared: State, name: str) -> None:
    """Nobody could mend it in the browser again; whoever has the server's token can."""
    if not shared.gate.has_token and people.only_admin(session, name):
        raise PeopleError(f"{name} is the only admin. Make another user an admin first.")


def _page(
    request: Request,
    shared: State,
    *,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    problem: str = "",
) -> Response:
    with shared.db.read() as session:
        users = people.users(session)
    context = {
        "users": users,
        "roles": ROLES,
        "values": values or {"role": Role.TRAINER},
        "errors": errors or {},
        "problem": problem,
        "open": not shared.gate.closed,
        "nav": "users",
    }
    return templates.TemplateResponse(request, "users.html", context, status_code=422 if errors or problem else 200)
