"""`fitroom user`: the list of those who may sign in, kept by whoever has a shell on the server's machine."""

from __future__ import annotations

import argparse
import getpass
import sys

from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.guarding import audit, people
from app.guarding.people import PeopleError
from app.models import Role
from app.schema import opened


def main(settings: Settings, parsed: argparse.Namespace) -> int:
    """Do what `parsed.action` says. Raises `PeopleError` where it cannot be done."""
    # The first user may come before the first start.
    with opened(settings.database, existing=parsed.action != "add") as db:
        if parsed.action == "list":
            _list(db)
        else:
            print(_change(db, parsed))
    return 0


def _list(db: Database) -> None:
    with db.read() as session:
        for user in people.users(session):
            print(f"{user.name:<20} {user.role}")


def _change(db: Database, parsed: argparse.Namespace) -> str:
    name, now = parsed.name, utc_now()
    password = _ask_password() if parsed.action in ("add", "password") else ""
    with db.write() as session:
        match parsed.action:
            case "add":
                first = not people.any_user(session)
                people.add(session, name, password, Role(parsed.role), now=now)
                said = f"{name} may sign in as {parsed.role}." + (
                    " A server that runs already asks for a sign-in from its next start on." if first else ""
                )
            case "password":
                people.set_password(session, name, password)
                said = f"{name} has a new password and is signed out everywhere."
            case "role":
                people.set_role(session, name, Role(parsed.role))
                said = f"{name} is {parsed.role} now."
            case "token":
                said = people.api_token(session, name, now=now)
            case "sign-out":
                people.sign_out_everywhere(session, name)
                said = f"{name} is signed out everywhere."
            case _:
                people.remove(session, name)
                said = f"{name} is removed."
        audit.note(session, "local", parsed.action, now=now, detail=f"user {name}")
    return said


def _ask_password() -> str:
    """Typed twice at a terminal; one line of standard input otherwise. Raises `PeopleError`."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise PeopleError("The two were not the same.")
    return first
