"""The register of workers: what each runs on, and when it was last heard of."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.models import WorkerRow

FORGET_AFTER = timedelta(days=1)


def this_host() -> str:
    return socket.gethostname()


def name_of(pid: int) -> str:
    """A worker's name, which its parent can tell from its process number too."""
    return f"{this_host()}-{pid}"


def pid_of(name: str) -> int | None:
    """The process number of a worker on this machine; None for one elsewhere."""
    host, _, pid = name.rpartition("-")
    return int(pid) if host == socket.gethostname() and pid.isdecimal() else None


def announce(session: Session, name: str, *, now: datetime, info: dict[str, Any]) -> None:
    """Register this process as a worker, and forget those long gone."""
    session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now - FORGET_AFTER))
    session.merge(WorkerRow(name=name, pid=os.getpid(), host=this_host(), started_at=now, seen_at=now, info=info))


def seen(session: Session, name: str, *, now: datetime) -> None:
    session.execute(update(WorkerRow).where(WorkerRow.name == name).values(seen_at=now))


def leave(session: Session, name: str) -> bool:
    """Whether it had announced itself."""
    row = session.execute(delete(WorkerRow).where(WorkerRow.name == name).returning(WorkerRow.name))
    return row.one_or_none() is not None


def newest_info(session: Session) -> dict[str, Any] | None:
    """What the worker that announced itself last said of its machine, alive or not."""
    return session.scalar(select(WorkerRow.info).order_by(WorkerRow.started_at.desc()).limit(1))
