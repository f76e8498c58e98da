"""Views of the table under a name: what stands in its address, kept so that it can be opened and shared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.forms import FormError
from app.models import View
from app.runs_table.listing import Query, QueryError

LONGEST_NAME, MOST = 60, 500


class ViewNotFound(LookupError):
    """There is no view under this name."""


def all_of(session: Session) -> Sequence[View]:
    return session.scalars(select(View).order_by(View.name)).all()


def get(session: Session, name: str) -> View:
    """Raises `ViewNotFound`."""
    view = session.scalar(select(View).where(View.name == name))
    if view is None:
        raise ViewNotFound(f"There is no view called “{name[:LONGEST_NAME]}”.")
    return view


def save(session: Session, name: str, address: str, *, who: str, now: datetime) -> View:
    """Under a name that is there already, it takes that one's place. Raises `FormError`."""
    name = " ".join(name.split())
    errors = {}
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name:
        errors["name"] = f"Must be 1 to {LONGEST_NAME} characters that can be seen, and no slash."
    kept = ""
    try:
        kept = Query.at(address).url("").removeprefix("?")
    except QueryError as error:
        errors["address"] = str(error)
    view = session.scalar(select(View).where(View.name == name))
    if view is None and len(all_of(session)) >= MOST:
        errors["name"] = f"There are {MOST} views already; delete one first."
    if errors:
        raise FormError(errors)
    if view is None:
        view = View(name=name)
        session.add(view)
    view.address, view.saved_by, view.saved_at = kept, who, now
    session.flush()
    return view


def remove(session: Session, name: str) -> None:
    """Raises `ViewNotFound`."""
    session.delete(get(session, name))
