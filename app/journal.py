"""The journal read as events for the streams: each change with what it points at, as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import metrics
from app.metrics import StepSeries
from app.models import Change, Epoch, Run, Status
from app.runs_table import labels
from app.schemas import EpochOut, RunOut, StepsOut

BATCH = 500
TABLE_KINDS = ("status", "epoch", "deleted", labels.CHANGED)
"""Changes that a row of the table shows."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    id: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    events: list[StreamEvent]
    cursor: int
    """What has been read now, whether or not it made an event."""
    more: bool
    """There may be more to read at once."""
    over: bool = False
    """The run is over and everything has been told."""


def of_run(session: Session, run_id: int, after: int, *, now: datetime) -> Batch:
    """What one run's page has not seen yet. A status is told once, as it is now, at its last change's place."""
    changes = metrics.changes_after(session, after, run_id=run_id, limit=BATCH)
    run = session.get(Run, run_id)
    if run is None:
        end = changes[-1].id if changes else after
        return Batch([StreamEvent(end, "deleted", {})], end, more=False, over=True)
    last_status = max((change.id for change in changes if change.kind == "status"), default=0)
    told = _Told(
        RunOut.of(run, now=now) if last_status else None,
        metrics.epochs_at(session, run_id, _refs(changes, "epoch")),
        metrics.blocks_at(session, run_id, _refs(changes, "steps")),
    )
    events = [
        StreamEvent(change.id, change.kind, data)
        for change in changes
        if (change.kind != "status" or change.id == last_status) and (data := told.data(change)) is not None
    ]
    more = len(changes) == BATCH
    return Batch(events, changes[-1].id if changes else after, more, Status(run.status).over and not more)


def of_table(session: Session, after: int, *, now: datetime) -> Batch:
    """The runs that changed since, each once; their rows depend on the columns of who asks."""
    changes = metrics.changes_after(session, after, kinds=TABLE_KINDS, limit=BATCH)
    newest = {change.run_id: change for change in changes}
    rows = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(newest)))}
    events = [_table_event(change, rows.get(change.run_id), now) for change in _by_id(newest)]
    return Batch(events, changes[-1].id if changes else after, more=len(changes) == BATCH)


def _by_id(newest: dict[int, Change]) -> Sequence[Change]:
    return sorted(newest.values(), key=lambda change: change.id)


def _table_event(change: Change, run: Run | None, now: datetime) -> StreamEvent:
    if run is None:
        return StreamEvent(change.id, "deleted", {"id": change.run_id})
    shown = RunOut.of(run, now=now)
    return StreamEvent(change.id, "run", {"run": shown})


def _refs(changes: Sequence[Change], kind: str) -> list[int]:
    return [change.ref for change in changes if change.kind == kind and change.ref is not None]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a batch of one run's changes points at, as it is now."""

    run: RunOut | None
    epochs: dict[int, Epoch]
    blocks: dict[int, StepSeries]

    def data(self, change: Change) -> dict[str, Any] | None:
        """None when what the change points at has been replaced since: the replacement has its own change."""
        match change.kind:
            case "status":
                return {"run": self.run}
            case "log":
                return metrics.log_line(change)
            case "epoch" if change.ref in self.epochs:
                return EpochOut.model_validate(self.epochs[change.ref]).model_dump()
            case "steps" if change.ref in self.blocks:
                return StepsOut.model_validate(self.blocks[change.ref]).model_dump()
            case _:
                return None
