"""A run's life: submit, claim, heartbeat, cancel, finish, fail, requeue. The only writer of a run's status.

    queued -> running -> finished | failed | cancelled
       ^---------'            (its worker stopped or was lost: back in the queue)
    queued -> cancelled

Every change names the status that it expects, and what a worker writes names the attempt that it holds: an owner
that lost its claim gets `ClaimLost` and writes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.orm import Session

from app.db import UtcDateTime
from app.models import (
    SOURCES,
    Change,
    Checkpoint,
    Epoch,
    EpochPredictions,
    Run,
    SeriesRow,
    Source,
    Status,
    StepBlock,
    Tag,
)
from app.refusal import Refusal
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.events import Started


class RunNotFound(Refusal, LookupError):
    """There is no run with this number."""


class RunStateError(Exception):
    """The run's status does not allow what was asked; the message says why."""


class UnreadableSettings(RunStateError):
    """Another version of Fitroom has written the run's settings; the message says what is not known of them."""


class QueueFull(Exception):
    """As many runs wait as may wait; the message says how many."""


class ClaimLost(Exception):
    """Another attempt holds this run now, or it is over: nothing was written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one run; `attempt` is the fence in every write it makes."""

    run_id: int
    attempt: int
    settings: Mapping[str, Any]

    @property
    def config(self) -> TrainConfig:
        """Raises `ConfigError` for what another version has written: it is then the run's failure, not the queue's."""
        return TrainConfig.from_dict(self.settings)


@dataclass(frozen=True, slots=True)
class Beat:
    """The newest sign of life of a running run's owner."""

    run_id: int
    attempt: int
    heartbeat_at: datetime | None


def get(session: Session, run_id: int) -> Run:
    """Raises `RunNotFound`."""
    # SQLite's integers have 64 bits; an address may hold any number.
    run = session.get(Run, run_id) if 0 < run_id < 2**63 else None
    if run is None:
        raise RunNotFound(f"There is no run {run_id}.")
    return run


def ahead(session: Session, run: Run) -> int:
    """How many queued runs are older than this one."""
    return session.scalar(select(func.count()).where(Run.status == Status.QUEUED, Run.id < run.id)) or 0


def submit(
    session: Session,
    config: TrainConfig,
    *,
    now: datetime,
    name: str = "",
    notes: str = "",
    tags: Sequence[str] = (),
    most_queued: int | None = None,
) -> Run:
    """Queue a run; without a name it is called after its architecture and number.

    Raises `QueueFull` where `most_queued` already wait.
    """
    if most_queued is not None and queued(session) >= most_queued:
        raise QueueFull(f"The queue is full, at its limit of {most_queued:,}. Try again when some runs have ended.")
    run = Run(name=name, notes=notes, config=config.to_dict(), created_at=now, tags=[Tag(name=tag) for tag in tags])
    session.add(run)
    session.flush()
    run.name = run.name or f"{config.arch}-{run.id}"
    session.flush()
    record_change(session, run.id, "status", now=now)
    log(session, run.id, "Queued.", now=now)
    return run


def count(session: Session) -> int:
    """All runs there are."""
    return session.scalar(select(func.count()).select_from(Run)) or 0


def queued(session: Session) -> int:
    """How many runs wait for a worker."""
    return session.scalar(select(func.count()).where(Run.status == Status.QUEUED)) or 0


def any_queued(session: Session) -> bool:
    return session.scalar(select(Run.id).where(Run.status == Status.QUEUED).limit(1)) is not None


def beats(session: Session) -> list[Beat]:
    """The newest sign of life of every running run."""
    running = select(Run.id, Run.attempt, Run.heartbeat_at).where(Run.status == Status.RUNNING)
    return [Beat(*row) for row in session.execute(running)]


def owners(session: Session) -> set[str]:
    """The workers that hold a run."""
    return {name for name in session.scalars(select(Run.worker).where(Run.status == Status.RUNNING)) if name}


def claim(session: Session, worker: str, *, now: datetime) -> Claim | None:
    """Take the oldest queued run, in one statement, so that exactly one worker gets it; None when none waits."""
    oldest = select(Run.id).where(Run.status == Status.QUEUED).order_by(Run.id).limit(1).scalar_subquery()
    row = session.execute(
        update(Run)
        .where(Run.id == oldest, Run.status == Status.QUEUED)
        .values(
            status=Status.RUNNING,
            attempt=Run.attempt + 1,
            worker=worker,
            heartbeat_at=now,
            started_at=func.coalesce(Run.started_at, literal(now, UtcDateTime())),
            message=None,
            reason=None,
        )
        .returning(Run.id, Run.attempt, Run.config)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    record_change(session, row.id, "status", now=now)
    log(session, row.id, f"Taken by {worker}, attempt {row.attempt}.", now=now)
    return Claim(row.id, row.attempt, row.config)


def heartbeat(session: Session, held: Claim, *, now: datetime) -> bool:
    """Say that the worker is alive; True when a person has asked for the run to be cancelled. Raises `ClaimLost`."""
    return bool(_write(session, held, heartbeat_at=now).cancel_requested)


def cancel_wanted(session: Session, held: Claim) -> bool:
    """Like `heartbeat`, but only looks. Raises `ClaimLost`."""
    wanted = session.scalar(select(Run.cancel_requested).where(*_is_held(held)))
    if wanted is None:
        raise ClaimLost(f"run {held.run_id}, attempt {held.attempt}")
    return wanted


def started(session: Session, held: Claim, event: Started, *, now: datetime) -> None:
    """Note what the run really runs on. Raises `ClaimLost`."""
    _write(session, held, facts={**asdict(event), "classes": list(event.classes)})
    record_change(session, held.run_id, "status", now=now)


def finish(session: Session, held: Claim, *, now: datetime, early: bool = False) -> None:
    """All epochs are done, or early stopping has ended the run. Raises `ClaimLost`."""
    reason = "early_stopped" if early else "completed"
    run = _write(session, held, status=Status.FINISHED, finished_at=now, reason=reason, worker=None)
    if early:
        patience = _epochs(held.config.patience or 0)
        message = f"Stopped early after {_epochs(run.epochs_done)}: none of the last {patience} was better."
    else:
        message = f"Finished all {run.epochs_done} epochs."
    if run.best_val_accuracy is not None:
        message += f" Best validation accuracy {100 * run.best_val_accuracy:.2f} %, after epoch {run.best_epoch}."
    _say_end(session, held.run_id, message, now=now)


def cancelled(session: Session, held: Claim, *, now: datetime) -> None:
    """The worker has stopped because a person asked for it. Raises `ClaimLost`."""
    run = _write(session, held, status=Status.CANCELLED, finished_at=now, reason="cancelled", worker=None)
    _say_end(session, held.run_id, f"Cancelled after {_epochs(run.epochs_done)}.", now=now)


def fail(session: Session, held: Claim, *, reason: str, message: str, now: datetime) -> None:
    """The run cannot go on; its history stays. Raises `ClaimLost`."""
    _write(session, held, status=Status.FAILED, finished_at=now, reason=reason, worker=None)
    _say_end(session, held.run_id, message, now=now, level="error")


def requeue(session: Session, held: Claim, *, now: datetime) -> None:
    """The worker stops and gives the run back, to be resumed from its last checkpoint. Raises `ClaimLost`."""
    _write(session, held, status=Status.QUEUED, worker=None, heartbeat_at=None)
    record_change(session, held.run_id, "status", now=now)
    log(session, held.run_id, "The worker was stopped; the run waits to be resumed.", now=now)


def requeue_lost(
    session: Session,
    *,
    now: datetime,
    max_attempts: int,
    worker: str | None = None,
    silent: Sequence[Beat] = (),
    blame: bool = True,
) -> list[int]:
    """Put back in the queue what a dead worker held: one known to be dead by name, or those that have gone silent.

    A run that has lost `max_attempts` workers is failed instead: it probably kills them. Without `blame` the loss is
    not the run's, and is not counted. Returns the runs' numbers.
    """
    gone = Run.worker == worker if worker is not None else Run.id.in_([beat.run_id for beat in silent])
    lost = session.scalars(select(Run).where(Run.status == Status.RUNNING, gone)).all()
    if worker is None:
        # One that has been heard of again since, or has another owner, is not lost.
        lost = [run for run in lost if Beat(run.id, run.attempt, run.heartbeat_at) in silent]
    for run in lost:
        lost_worker = run.worker
        run.times_lost += int(blame)
        run.worker = run.heartbeat_at = None
        if run.cancel_requested:
            run.status, run.reason, run.finished_at = Status.CANCELLED, "cancelled", now
            run.message = f"Cancelled after {_epochs(run.epochs_done)}; its worker was lost."
        elif blame and run.times_lost >= max_attempts:
            run.status, run.reason, run.finished_at = Status.FAILED, "worker_lost", now
            run.message = f"Its worker was lost {run.times_lost} times, so it is not tried again."
        else:
            run.status = Status.QUEUED
        log(session, run.id, run.message or f"Lost {lost_worker}; back in the queue.", now=now, level="warning")
        record_change(session, run.id, "status", now=now)
    session.flush()
    return [run.id for run in lost]


def requeue_all(session: Session, *, now: datetime, why: str) -> None:
    """Put back in the queue whatever is told as running, where no worker can be: in a database just restored."""
    for run in session.scalars(select(Run).where(Run.status == Status.RUNNING)):
        run.status, run.worker, run.heartbeat_at = Status.QUEUED, None, None
        log(session, run.id, why, now=now)
        record_change(session, run.id, "status", now=now)
    session.flush()


def request_cancel(session: Session, run_id: int, *, now: datetime) -> Run:
    """End a queued run at once, ask a running one to stop. Raises `RunNotFound`, `RunStateError` if it is over."""
    run = get(session, run_id)
    if Status(run.status).over:
        raise RunStateError(f"Run {run_id} has already ended: {run.status}.")
    if run.status == Status.QUEUED:
        run.status, run.finished_at, run.reason = Status.CANCELLED, now, "cancelled"
        run.cancel_requested = True
        session.flush()
        done = f"after {_epochs(run.epochs_done)}" if run.epochs_done else "before it started"
        _say_end(session, run_id, f"Cancelled {done}.", now=now)
    elif not run.cancel_requested:
        run.cancel_requested = True
        record_change(session, run_id, "status", now=now)
        log(session, run_id, "Cancelling: the worker stops after the step under way.", now=now)
    return run


def remove(session: Session, run_id: int, *, now: datetime) -> None:
    """Delete a run and its history for good. Raises `RunNotFound`, `RunStateError` while it is running."""
    run = get(session, run_id)
    if run.status == Status.RUNNING:
        raise RunStateError(f"Run {run_id} is running; cancel it before deleting it.")
    for table in (Epoch, StepBlock, SeriesRow, EpochPredictions, Checkpoint, Change):
        session.execute(delete(table).where(table.run_id == run_id))
    session.delete(run)
    record_change(session, run_id, "deleted", now=now)


def record_change(session: Session, run_id: int, kind: str, *, now: datetime, ref: int | None = None) -> None:
    """Append to the journal that live pages follow."""
    session.add(Change(run_id=run_id, kind=kind, ref=ref, at=now))


def log(session: Session, run_id: int, message: str, *, now: datetime, level: str = "info") -> None:
    """Append a line to the run's log."""
    session.add(Change(run_id=run_id, kind="log", data={"level": level, "message": message}, at=now))


def guard(session: Session, held: Claim) -> None:
    """Raise `ClaimLost` unless this claim still holds its run; true until the transaction ends."""
    if session.scalar(select(Run.id).where(*_is_held(held))) is None:
        raise ClaimLost(f"run {held.run_id}, attempt {held.attempt}")


def guard_plainly(connection: sqlite3.Connection, held: Claim) -> None:
    """Like `guard`, with SQLite's own driver."""
    query = "SELECT 1 FROM runs WHERE id = ? AND attempt = ? AND status = ?"
    if connection.execute(query, (held.run_id, held.attempt, Status.RUNNING)).fetchone() is None:
        raise ClaimLost(f"run {held.run_id}, attempt {held.attempt}")


def _is_held(held: Claim) -> tuple[Any, ...]:
    return Run.id == held.run_id, Run.attempt == held.attempt, Run.status == Status.RUNNING


def _write(session: Session, held: Claim, **values: Any) -> Run:
    guard(session, held)
    run = get(session, held.run_id)
    for name, value in values.items():
        setattr(run, name, value)
    session.flush()
    return run


def _say_end(session: Session, run_id: int, message: str, *, now: datetime, level: str = "info") -> None:
    session.execute(update(Run).where(Run.id == run_id).values(message=message))
    log(session, run_id, message, now=now, level=level)
    # The status comes last: who follows the journal has seen everything when the end is told.
    record_change(session, run_id, "status", now=now)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def config_of(run: Run) -> TrainConfig:
    """Raises `RunStateError` for an imported run, of which Fitroom does not know all settings, `UnreadableSettings`."""
    must_be_own(run)
    try:
        return TrainConfig.from_dict(run.config)
    except ConfigError as error:
        raise UnreadableSettings(f"Run {run.id} has settings that this version cannot read ({error})") from error


def must_be_own(run: Run) -> None:
    """Raises `RunStateError` for a run that another tool has trained."""
    if run.source != Source.FITROOM:
        label = SOURCES[Source(run.source)]
        raise RunStateError(f"Run {run.id} was imported from {label}: only what it recorded is here.")
