"""What the status page shows: workers, devices, queue, disk, and whether all is well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Run, Status, WorkerRow
from app.state import State
from app.watching import machine, vitals
from app.watching.readiness import LEAST_PATIENCE_S
from app.workers import this_host

SHOWN_QUEUED = 5


@dataclass(frozen=True, slots=True)
class WorkerOut:
    name: str
    pid: int
    devices: str
    started_at: datetime
    heard_s: float
    """Seconds since it was heard of."""
    silent: bool
    """For longer than a worker that lives is."""
    run: RunningRun | None
    process: machine.ProcessReading | None
    """None where it runs on another machine, or no more."""


@dataclass(frozen=True, slots=True)
class RunningRun:
    id: int
    name: str
    epochs_done: int
    epochs: int


def of(shared: State) -> dict[str, Any]:
    now = shared.clock()
    with shared.db.read() as session:
        found = vitals.of(session, now)
        rows = list(session.scalars(select(WorkerRow).order_by(WorkerRow.started_at)))
        held = _running(session)
        queued = _queued(session)
        checkpoints = session.scalar(select(func.coalesce(func.sum(Checkpoint.bytes), 0))) or 0
    patience = timedelta(seconds=max(LEAST_PATIENCE_S, shared.settings.lease_s))
    checks = shared.readiness.checks()
    return {
        "ready": all(check.ok for check in checks),
        "checks": checks,
        "vitals": found,
        "workers": [_worker(row, held.get(row.name), now=now, patience=patience) for row in rows],
        "queued": queued,
        "more_queued": found.by_status[Status.QUEUED] - len(queued),
        "machine": shared.machine.read(),
        "database_bytes": _size_of_database(shared),
        "checkpoint_bytes": checkpoints,
        "streams": shared.telemetry.open_streams,
    }


def _running(session: Session) -> dict[str, RunningRun]:
    """The run that each worker holds, by the worker's name."""
    columns = (Run.worker, Run.id, Run.name, Run.epochs_done, Run.epochs)
    rows = session.execute(select(*columns).where(Run.status == Status.RUNNING))
    return {worker or "": RunningRun(run_id, name, done, epochs or done) for worker, run_id, name, done, epochs in rows}


def _queued(session: Session) -> list[tuple[int, str]]:
    """Those that are next, as id and name."""
    first = select(Run.id, Run.name).where(Run.status == Status.QUEUED).order_by(Run.id).limit(SHOWN_QUEUED)
    return [(run_id, name) for run_id, name in session.execute(first)]


def _worker(row: WorkerRow, run: RunningRun | None, *, now: datetime, patience: timedelta) -> WorkerOut:
    devices = (row.info or {}).get("devices", [])
    return WorkerOut(
        name=row.name,
        pid=row.pid,
        devices=", ".join(str(device["name"]) for device in devices),
        started_at=row.started_at,
        heard_s=max(0.0, (now - row.seen_at).total_seconds()),
        silent=now - row.seen_at > patience,
        run=run,
        process=machine.process(row.pid, now.timestamp()) if row.host == this_host() else None,
    )


def _size_of_database(shared: State) -> int:
    """Bytes, its journal included."""
    path = shared.settings.database
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
