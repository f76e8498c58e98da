"""Records what training tells; `app.metrics` reads it back.

Epochs are keyed by run and number, steps by run and first step, so a replay after a lost worker changes nothing.

What is told all the time, the losses of steps and the epochs, is written with SQLite's own driver: each is a handful
of small rows, and through SQLAlchemy's sessions they took seven times as long (`make bench-compare`). The statements
of whole rows are made from the models, so that a new column is missed at once.
"""

from __future__ import annotations

import json
import math
import sqlite3
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from app import runs
from app.db import Database, as_stored, plainly
from app.models import Base, Change, Checkpoint, Epoch, EpochPredictions, StepBlock
from app.runs import Claim
from app.runs_table import sparks
from trainer.events import CheckpointFailed, CheckpointSaved, EpochDone, Event, Finished, Started, Steps

LOSSES = np.dtype("<f4")
KEPT_WHOLE, KEPT_NEWEST = 200, 50
"""Epochs: up to how many all predictions are kept, and how many of the newest of a longer run are."""
_MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_TRIED_AGAIN = "Training goes on, and it is tried again after the next epoch."
_NOT_KEPT = "It was the last epoch, so its state is not kept."


def tell(db: Database, held: Claim, event: Event, *, now: datetime) -> None:
    """Write one event in a transaction of its own, as a worker does. Raises `ClaimLost` like `record`.

    The losses of the last second are told again after a loss of power, so they need not wait for the disk.
    """
    if isinstance(event, Steps | EpochDone):
        with db.write_plainly(durable=isinstance(event, EpochDone)) as connection:
            _write(connection, held, event, now)
    else:
        with db.write() as session:
            record(session, held, event, now=now)


def record(session: Session, held: Claim, event: Event, *, now: datetime) -> None:
    """Write one event of the attempt that `held` names. Raises `ClaimLost` and writes nothing if it lost the run."""
    runs.guard(session, held)
    match event:
        case Started():
            runs.started(session, held, event, now=now)
            if event.warning:
                runs.log(session, held.run_id, event.warning, now=now, level="warning")
            runs.log(session, held.run_id, _describe_start(event), now=now)
        case Steps() | EpochDone():
            with plainly(session) as connection:
                _write(connection, held, event, now)
        case CheckpointSaved():
            _record_checkpoint(session, held, event, now)
        case CheckpointFailed():
            what_next = _TRIED_AGAIN if event.epoch < held.config.epochs else _NOT_KEPT
            runs.log(session, held.run_id, f"{event.message} {what_next}", now=now, level="warning")
        case Finished():
            pass  # how a run ended is its status: app.runs


def _describe_start(event: Started) -> str:
    where = f"Training on {event.device} ({event.device_name})"
    what = (
        f"{event.parameters:,} parameters, {event.train_samples:,} training and {event.val_samples:,} validation images"
    )
    shared = f", {event.processes} processes" if event.processes > 1 else ""
    how = f"{event.precision}, {event.loading} loading{shared}, ready in {event.seconds:.1f} s."
    return f"{where}: {what}, {how}{_describe_resume(event)}"


def _describe_resume(event: Started) -> str:
    if event.steps_before:
        return f" Resuming in epoch {event.epochs_before + 1}, after {event.steps_before} of its steps."
    return f" Resuming after epoch {event.epochs_before}." if event.epochs_before else ""


def _record_checkpoint(session: Session, held: Claim, event: CheckpointSaved, now: datetime) -> None:
    if event.steps:
        text = f"Saved within epoch {event.epoch + 1}, after {event.steps} of its steps."
        runs.log(session, held.run_id, text, now=now)
        return
    session.merge(
        Checkpoint(
            run_id=held.run_id,
            epoch=event.epoch,
            path=event.path,
            bytes=event.bytes,
            best=event.best,
            saved_at=now,
        )
    )


# Steps and epochs, by SQLite's own driver


def _write(connection: sqlite3.Connection, held: Claim, event: Steps | EpochDone, now: datetime) -> None:
    runs.guard_plainly(connection, held)
    if isinstance(event, Steps):
        _write_steps(connection, held, event, as_stored(now))
    else:
        _write_epoch(connection, held, event, as_stored(now))


def _write_steps(connection: sqlite3.Connection, held: Claim, event: Steps, at: str) -> None:
    if held.attempt > 1:
        connection.execute(_DROP_OLDER_BLOCKS, (held.run_id, event.epoch, held.attempt))
    _put_block(connection, held, event.epoch, event.first_step, np.asarray(event.losses, LOSSES).tobytes())
    _note(connection, held, "steps", at, ref=event.first_step)


def _write_epoch(connection: sqlite3.Connection, held: Claim, event: EpochDone, at: str) -> None:
    measured = {name: _finite(getattr(event, name)) for name in _MEASURES}
    finished_at = as_stored(datetime.fromtimestamp(event.finished_at, UTC))
    connection.execute(
        _PUT_EPOCH,
        {
            "run_id": held.run_id,
            "epoch": event.epoch,
            "attempt": held.attempt,
            "lr": event.lr,
            "seconds": event.seconds,
            "train_seconds": event.train_seconds,
            "images_per_s": event.images_per_s,
            "finished_at": finished_at,
            "diverged": None in measured.values(),
            "data_s": event.timings.data,
            "compute_s": event.timings.compute,
            "validation_s": event.timings.validation,
            "recording_s": event.timings.recording,
            **measured,
        },
    )
    predicted = {"classes": event.predictions.classes, "confidences": event.predictions.confidences}
    connection.execute(_PUT_PREDICTIONS, {"run_id": held.run_id, "epoch": event.epoch, **predicted})
    _join_blocks(connection, held, event.epoch, at)
    _update_run(connection, held.run_id, event, {**measured, "epoch_finished_at": finished_at})
    _note(connection, held, "epoch", at, ref=event.epoch)
    _note(connection, held, "log", at, data=json.dumps({"level": "info", "message": _describe(event)}))


def _join_blocks(connection: sqlite3.Connection, held: Claim, epoch: int, at: str) -> None:
    """Replace an epoch's many small blocks, and their journal entries, by one of each."""
    blocks = connection.execute(_BLOCKS, (held.run_id, epoch, held.attempt)).fetchall()
    if len(blocks) < 2:
        return
    first, last = blocks[0][0], blocks[-1][0]
    connection.execute(_DROP_BLOCKS, (held.run_id, first, last))
    connection.execute(_DROP_NOTES_OF_BLOCKS, (held.run_id, first, last))
    _put_block(connection, held, epoch, first, b"".join(losses for _, losses in blocks))
    _note(connection, held, "steps", at, ref=first)


def _update_run(connection: sqlite3.Connection, run_id: int, event: EpochDone, newest: dict[str, Any]) -> None:
    """Carry the newest and the best epoch into the run's own row, which the table of runs sorts by."""
    (done,) = connection.execute(_NEWEST_EPOCH, (run_id,)).fetchone()
    best_epoch, best = connection.execute(_BEST_EPOCH, (run_id,)).fetchone() or (None, None)
    curve = connection.execute(_CURVE, (run_id, sparks.every(done), done)).fetchall()
    values = {
        "run_id": run_id,
        "epochs_done": done,
        "best_epoch": best_epoch,
        "best_val_accuracy": best,
        "spark": sparks.pack([accuracy for (accuracy,) in curve]),
    }
    if event.epoch == done:
        newest = {**newest, "images_per_s": event.images_per_s, "epoch_seconds": event.seconds}
        connection.execute(_UPDATE_NEWEST, {**values, **newest})
    else:
        connection.execute(_UPDATE_BEST, values)
    _thin_predictions(connection, run_id, done, best_epoch or 1)


def _thin_predictions(connection: sqlite3.Connection, run_id: int, done: int, best: int) -> None:
    """Bound what a long run keeps: about 250 epochs' predictions, 10 MB for 10,000 validation images.

    Those of the first `KEPT_WHOLE` epochs are all kept; in a longer run, of what is older than `KEPT_NEWEST` epochs
    every second one, from twice as many on every fourth, and so on; the first and the best always.
    """
    if done > KEPT_WHOLE:
        every = 1 << math.ceil(math.log2(done / KEPT_WHOLE))
        connection.execute(_THIN_PREDICTIONS, (run_id, done - KEPT_NEWEST, every, best))


def _put_block(connection: sqlite3.Connection, held: Claim, epoch: int, first_step: int, losses: bytes) -> None:
    block = {"run_id": held.run_id, "first_step": first_step, "epoch": epoch, "attempt": held.attempt, "losses": losses}
    connection.execute(_PUT_BLOCK, block)


def _note(
    connection: sqlite3.Connection, held: Claim, kind: str, at: str, *, ref: int | None = None, data: str | None = None
) -> None:
    """Append to the journal that live pages follow."""
    note = {"id": None, "run_id": held.run_id, "kind": kind, "ref": ref, "data": data, "at": at}
    connection.execute(_PUT_NOTE, note)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _describe(event: EpochDone) -> str:
    return (
        f"Epoch {event.epoch}: train loss {event.train_loss:.4f}, accuracy {100 * event.train_accuracy:.2f} %; "
        f"validation loss {event.val_loss:.4f}, accuracy {100 * event.val_accuracy:.2f} %; "
        f"{event.seconds:.1f} s, {event.images_per_s:,.0f} images/s."
    )


# Statements


def _put(table: type[Base]) -> str:
    """Write a whole row, in the place of one with the same key."""
    return str(insert(table).prefix_with("OR REPLACE").compile(dialect=sqlite.dialect(paramstyle="named")))


def _update(*names: str) -> str:
    return f"UPDATE runs SET {', '.join(f'{name} = :{name}' for name in names)} WHERE id = :run_id"  # noqa: S608 - names of columns


_PUT_EPOCH, _PUT_PREDICTIONS, _PUT_BLOCK, _PUT_NOTE = map(_put, (Epoch, EpochPredictions, StepBlock, Change))
_BEST = ("epochs_done", "best_epoch", "best_val_accuracy", "spark")
_UPDATE_BEST = _update(*_BEST)
_UPDATE_NEWEST = _update(*_BEST, *_MEASURES, "images_per_s", "epoch_seconds", "epoch_finished_at")
_NEWEST_EPOCH = "SELECT max(epoch) FROM epochs WHERE run_id = ?"
_BEST_EPOCH = """
SELECT epoch, val_accuracy FROM epochs WHERE run_id = ? AND val_accuracy IS NOT NULL
ORDER BY val_accuracy DESC, epoch LIMIT 1
"""
_CURVE = """
SELECT val_accuracy FROM epochs WHERE run_id = ? AND (epoch % ? = 0 OR epoch = ?) ORDER BY epoch
"""
_DROP_OLDER_BLOCKS = "DELETE FROM step_blocks WHERE run_id = ? AND epoch = ? AND attempt < ?"
_BLOCKS = """
SELECT first_step, losses FROM step_blocks WHERE run_id = ? AND epoch = ? AND attempt = ? ORDER BY first_step
"""
_DROP_BLOCKS = "DELETE FROM step_blocks WHERE run_id = ? AND first_step BETWEEN ? AND ?"
_DROP_NOTES_OF_BLOCKS = "DELETE FROM changes WHERE run_id = ? AND kind = 'steps' AND ref BETWEEN ? AND ?"
_THIN_PREDICTIONS = """
DELETE FROM predictions WHERE run_id = ? AND epoch <= ? AND epoch % ? != 0 AND epoch NOT IN (1, ?)
"""
