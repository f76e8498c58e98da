"""The audit trail: who started, cancelled, deleted what, and who came in. Written in the change's own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import AuditEntry


def note(
    session: Session, who: str, action: str, *, now: datetime, run_id: int | None = None, detail: str | None = None
) -> None:
    session.add(AuditEntry(at=now, who=who, action=action, run_id=run_id, detail=detail))


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries: what is empty does not narrow. `before` is an entry's number, for the pages after the first."""

    who: str = ""
    action: str = ""
    run_id: int | None = None
    before: int | None = None

    def url(self, **changed: Any) -> str:
        values = {"who": self.who, "action": self.action, "run": self.run_id, "before": self.before} | changed
        shown = {name: value for name, value in values.items() if value}
        return f"/audit?{urlencode(shown)}" if shown else "/audit"


def newest(session: Session, count: int, query: Query = Query()) -> list[AuditEntry]:
    """The newest `count` that the query asks for, newest first."""
    found = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(count)
    for wanted, condition in (
        (query.who, AuditEntry.who == query.who),
        (query.action, AuditEntry.action == query.action),
        (query.run_id, AuditEntry.run_id == query.run_id),
        (query.before, AuditEntry.id < (query.before or 0)),
    ):
        if wanted:
            found = found.where(condition)
    return list(session.scalars(found))


def known(session: Session) -> tuple[list[str], list[str]]:
    """All who did something, and all that was done, for the filter."""
    who = session.scalars(select(AuditEntry.who).distinct().order_by(AuditEntry.who))
    actions = session.scalars(select(AuditEntry.action).distinct().order_by(AuditEntry.action))
    return list(who), list(actions)


def lines(entries: list[AuditEntry]) -> Iterator[str]:
    """As text, for a terminal; control characters in what people typed are shown, not obeyed."""
    for entry in entries:
        run = f"run {entry.run_id}" if entry.run_id is not None else ""
        detail = (entry.detail or "").encode("unicode_escape").decode()
        yield f"{entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.who:<12} {entry.action:<9} {run:<9} {detail}".rstrip()
