"""Records what training tells, and reads it back: whole series, and what came after a cursor.

Epochs are keyed by run and number, steps by run and first step, so a replay after a lost worker changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import runs
from app.models import Change, Checkpoint, Epoch, EpochPredictions, Run, StepBlock
from app.runs import Claim
from app.runs_table import sparks
from trainer.events import CheckpointFailed, CheckpointSaved, EpochDone, Event, Finished, Started, Steps

_LOSSES = np.dtype("<f4")
_UINT16 = np.dtype("<u2")
KEPT_WHOLE, KEPT_NEWEST = 200, 50
"""Epochs: up to how many all predictions are kept, and how many of the newest of a longer run are."""


def record(session: Session, held: Claim, event: Event, *, now: datetime) -> None:
    """Write one event of the attempt that `held` names. Raises `ClaimLost` and writes nothing if it lost the run."""
    runs.guard(session, held)
    match event:
        case Started():
            runs.started(session, held, event, now=now)
            if event.warning:
                runs.log(session, held.run_id, event.warning, now=now, level="warning")
            runs.log(session, held.run_id, _describe_start(event), now=now)
        case Steps():
            _record_steps(session, held, event, now)
        case EpochDone():
            _record_epoch(session, held, event, now)
        case CheckpointSaved():
            _record_checkpoint(session, held, event, now)
        case CheckpointFailed():
            what_next = _TRIED_AGAIN if event.epoch < held.config.epochs else _NOT_KEPT
            runs.log(session, held.run_id, f"{event.message} {what_next}", now=now, level="warning")
        case Finished():
            pass  # how a run ended is its status: app.runs


def _record_steps(session: Session, held: Claim, event: Steps, now: datetime) -> None:
    _drop_blocks(session, held.run_id, event.epoch, before_attempt=held.attempt)
    losses = np.asarray(event.losses, _LOSSES).tobytes()
    block = StepBlock(
        run_id=held.run_id, first_step=event.first_step, epoch=event.epoch, attempt=held.attempt, losses=losses
    )
    session.merge(block)
    runs.record_change(session, held.run_id, "steps", ref=event.first_step, now=now)


def _record_epoch(session: Session, held: Claim, event: EpochDone, now: datetime) -> None:
    values = {name: _finite(getattr(event, name)) for name in _MEASURES}
    session.merge(
        Epoch(
            run_id=held.run_id,
            epoch=event.epoch,
            attempt=held.attempt,
            lr=event.lr,
            seconds=event.seconds,
            train_seconds=event.train_seconds,
            images_per_s=event.images_per_s,
            finished_at=datetime.fromtimestamp(event.finished_at, UTC),
            diverged=any(value is None for value in values.values()),
            data_s=event.timings.data,
            compute_s=event.timings.compute,
            validation_s=event.timings.validation,
            recording_s=event.timings.recording,
            **values,
        )
    )
    predicted = event.predictions
    session.merge(
        EpochPredictions(
            run_id=held.run_id, epoch=event.epoch, classes=predicted.classes, confidences=predicted.confidences
        )
    )
    _join_blocks(session, held, event.epoch, now)
    _update_summary(session, held.run_id, event, values)
    _thin_predictions(session, runs.get(session, held.run_id))
    runs.record_change(session, held.run_id, "epoch", ref=event.epoch, now=now)
    runs.log(session, held.run_id, _describe_epoch(event), now=now)


def _update_summary(session: Session, run_id: int, event: EpochDone, values: dict[str, float | None]) -> None:
    """Carry the newest and the best epoch into the run's own row, which the table of runs sorts by."""
    session.flush()
    best = session.execute(
        select(Epoch.epoch, Epoch.val_accuracy)
        .where(Epoch.run_id == run_id, Epoch.val_accuracy.is_not(None))
        .order_by(Epoch.val_accuracy.desc(), Epoch.epoch)
        .limit(1)
    ).one_or_none()
    run = runs.get(session, run_id)
    run.epochs_done = session.scalar(select(func.max(Epoch.epoch)).where(Epoch.run_id == run_id)) or 0
    run.best_epoch, run.best_val_accuracy = (best.epoch, best.val_accuracy) if best else (None, None)
    run.spark = _spark(session, run_id, run.epochs_done)
    if event.epoch >= run.epochs_done:
        run.images_per_s, run.epoch_seconds = event.images_per_s, event.seconds
        run.epoch_finished_at = datetime.fromtimestamp(event.finished_at, UTC)
        for name, value in values.items():
            setattr(run, name, value)


def _spark(session: Session, run_id: int, epochs_done: int) -> bytes | None:
    """The curve for the table of runs, from those epochs alone that it shows."""
    shown = (Epoch.epoch % sparks.every(epochs_done) == 0) | (Epoch.epoch == epochs_done)
    rows = select(Epoch.val_accuracy).where(Epoch.run_id == run_id, shown).order_by(Epoch.epoch)
    return sparks.pack(session.scalars(rows).all())


def _thin_predictions(session: Session, run: Run) -> None:
    """Bound what a long run keeps: about 250 epochs' predictions, 10 MB for 10,000 validation images.

    Those of the first `KEPT_WHOLE` epochs are all kept; in a longer run, of what is older than `KEPT_NEWEST` epochs
    every second one, from twice as many on every fourth, and so on; the first and the best always.
    """
    if run.epochs_done <= KEPT_WHOLE:
        return
    every = 1 << math.ceil(math.log2(run.epochs_done / KEPT_WHOLE))
    epoch = EpochPredictions.epoch
    session.execute(
        delete(EpochPredictions).where(
            EpochPredictions.run_id == run.id,
            epoch <= run.epochs_done - KEPT_NEWEST,
            epoch % every != 0,
            epoch.not_in([1, run.best_epoch or 1]),
        )
    )


def _join_blocks(session: Session, held: Claim, epoch: int, now: datetime) -> None:
    """Replace an epoch's many small blocks, and their journal entries, by one of each."""
    blocks = session.scalars(
        select(StepBlock)
        .where(StepBlock.run_id == held.run_id, StepBlock.epoch == epoch, StepBlock.attempt == held.attempt)
        .order_by(StepBlock.first_step)
    ).all()
    if not blocks:
        return
    first, losses = blocks[0].first_step, b"".join(block.losses for block in blocks)
    session.expunge_all()
    session.execute(delete(StepBlock).where(StepBlock.run_id == held.run_id, StepBlock.epoch == epoch))
    session.execute(
        delete(Change).where(
            Change.run_id == held.run_id, Change.kind == "steps", Change.ref.in_([block.first_step for block in blocks])
        )
    )
    session.add(
        StepBlock(run_id=held.run_id, first_step=first, epoch=epoch, attempt=held.attempt, losses=losses),
    )
    runs.record_change(session, held.run_id, "steps", ref=first, now=now)


def _drop_blocks(session: Session, run_id: int, epoch: int, *, before_attempt: int) -> None:
    session.execute(
        delete(StepBlock).where(
            StepBlock.run_id == run_id, StepBlock.epoch == epoch, StepBlock.attempt < before_attempt
        )
    )


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


# Reading


@dataclass(frozen=True, slots=True)
class StepSeries:
    """One epoch's or block's training losses: `losses[i]` belongs to step `first_step + i`; None where not finite."""

    epoch: int
    first_step: int
    attempt: int
    losses: list[float | None]


@dataclass(frozen=True, slots=True)
class DecodedPredictions:
    epoch: int
    classes: np.ndarray[Any, np.dtype[np.uint16]]
    """Predicted class of each validation sample, shape [N]."""
    confidences: np.ndarray[Any, np.dtype[np.float64]]
    """Its probability in [0, 1], shape [N]."""


def epochs(session: Session, run_id: int) -> Sequence[Epoch]:
    return session.scalars(select(Epoch).where(Epoch.run_id == run_id).order_by(Epoch.epoch)).all()


def epochs_of(session: Session, run_ids: Sequence[int]) -> dict[int, list[Epoch]]:
    """The epochs of several runs, by run, in one query."""
    found: dict[int, list[Epoch]] = {run_id: [] for run_id in run_ids}
    for row in session.scalars(select(Epoch).where(Epoch.run_id.in_(run_ids)).order_by(Epoch.run_id, Epoch.epoch)):
        found[row.run_id].append(row)
    return found


def steps(session: Session, run_id: int) -> list[StepSeries]:
    rows = session.scalars(select(StepBlock).where(StepBlock.run_id == run_id).order_by(StepBlock.first_step))
    return [_decode_block(row) for row in rows]


def each_block(session: Session, run_id: int) -> Iterator[StepSeries]:
    """Like `steps`, but one after the other, so that a long run is never in memory as a whole."""
    rows = select(StepBlock).where(StepBlock.run_id == run_id).order_by(StepBlock.first_step)
    for row in session.scalars(rows.execution_options(yield_per=100)):
        yield _decode_block(row)


def predictions(session: Session, run_id: int, epoch: int | None = None) -> DecodedPredictions | None:
    """Those after `epoch`, or the newest; of a thinned run those of the last kept epoch before. None without any."""
    query = select(EpochPredictions).where(EpochPredictions.run_id == run_id)
    if epoch is not None:
        newest = session.scalar(select(func.max(EpochPredictions.epoch)).where(EpochPredictions.run_id == run_id))
        if newest is None or epoch > newest:
            return None
        query = query.where(EpochPredictions.epoch <= epoch)
    row = session.scalars(query.order_by(EpochPredictions.epoch.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    confidences = np.frombuffer(row.confidences, _UINT16) / 65535
    return DecodedPredictions(row.epoch, _classes(row.classes, len(confidences)), confidences)


def classes_by_epoch(session: Session, run_id: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The predicted class of each validation sample after each epoch, shape [E, N]; E is 0 where there are none."""
    query = select(EpochPredictions.classes, func.length(EpochPredictions.confidences) // 2)
    query = query.where(EpochPredictions.run_id == run_id).order_by(EpochPredictions.epoch)
    rows = [_classes(classes, samples) for classes, samples in session.execute(query)]
    return np.stack(rows) if rows else np.empty((0, 0), _UINT16)


def _classes(stored: bytes, samples: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """As `trainer.events.Predictions` holds them."""
    return np.frombuffer(stored, np.uint8 if len(stored) == samples else _UINT16).astype(np.uint16)


def log_lines(session: Session, run_id: int) -> list[dict[str, Any]]:
    query = select(Change).where(Change.run_id == run_id, Change.kind == "log").order_by(Change.id)
    return [log_line(row) for row in session.scalars(query)]


def log_line(change: Change) -> dict[str, Any]:
    return {"at": change.at, **(change.data or {})}


def cursor(session: Session) -> int:
    """The newest change there is: what a page has seen that was made from this session's snapshot."""
    return session.scalar(select(func.max(Change.id))) or 0


def changes_after(
    session: Session, after: int, *, limit: int = 500, run_id: int | None = None, kinds: Sequence[str] = ()
) -> Sequence[Change]:
    """The oldest `limit` changes after the cursor: of one run or all, of these kinds or any."""
    query = select(Change).where(Change.id > after)
    query = query.where(Change.run_id == run_id) if run_id is not None else query
    query = query.where(Change.kind.in_(kinds)) if kinds else query
    return session.scalars(query.order_by(Change.id).limit(limit)).all()


def step_block(session: Session, run_id: int, first_step: int) -> StepSeries | None:
    row = session.get(StepBlock, (run_id, first_step))
    return None if row is None else _decode_block(row)


def _decode_block(row: StepBlock) -> StepSeries:
    losses = np.frombuffer(row.losses, _LOSSES)
    # Six digits are what float32 holds; more would only be noise on the wire.
    return StepSeries(row.epoch, row.first_step, row.attempt, [_finite(float(f"{loss:.6g}")) for loss in losses])


_TRIED_AGAIN = "Training goes on, and it is tried again after the next epoch."
_NOT_KEPT = "It was the last epoch, so its state is not kept."
_MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _describe_start(event: Started) -> str:
    where = f"Training on {event.device} ({event.device_name})"
    what = (
        f"{event.parameters:,} parameters, {event.train_samples:,} training and {event.val_samples:,} validation images"
    )
    resumed = f" Resuming after epoch {event.epochs_before}" if event.epochs_before else ""
    if event.steps_before:
        resumed = f" Resuming in epoch {event.epochs_before + 1}, after {event.steps_before} of its steps"
    resumed += "." if resumed else ""
    shared = f", {event.processes} processes" if event.processes > 1 else ""
    how = f"{event.precision}, {event.loading} loading{shared}, ready in {event.seconds:.1f} s."
    return f"{where}: {what}, {how}{resumed}"


def _describe_epoch(event: EpochDone) -> str:
    return (
        f"Epoch {event.epoch}: train loss {event.train_loss:.4f}, accuracy {event.train_accuracy:.2%}; "
        f"validation loss {event.val_loss:.4f}, accuracy {event.val_accuracy:.2%}; "
        f"{event.seconds:.1f} s, {event.images_per_s:,.0f} images/s."
    )
