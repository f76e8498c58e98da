"""The audit trail: who started, cancelled, deleted what, and who came in. Written in the change's own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import AuditEntry


def note(
    session: Session, who: str, action: str, *, now: datetime, run_id: int | None = None, detail: str | None = None
) -> None:
    session.add(AuditEntry(at=now, who=who, action=action, run_id=run_id, detail=detail))


def newest(session: Session, count: int) -> list[AuditEntry]:
    """The newest `count`, newest first."""
    return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(count)))


def lines(entries: list[AuditEntry]) -> Iterator[str]:
    """As text, for a terminal; control characters in what people typed are shown, not obeyed."""
    for entry in entries:
        run = f"run {entry.run_id}" if entry.run_id is not None else ""
        detail = (entry.detail or "").encode("unicode_escape").decode()
        yield f"{entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.who:<12} {entry.action:<9} {run:<9} {detail}".rstrip()
