"""Reads what `app.recording` has written of a training: whole series, and what came after a cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Change, Epoch, EpochPredictions, StepBlock
from app.recording import LOSSES
from trainer.scores import predicted_classes

_UINT16 = np.dtype("<u2")
Floats = np.ndarray[Any, np.dtype[np.float64]]


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
    return DecodedPredictions(row.epoch, predicted_classes(row.classes, len(confidences)), confidences)


def classes_by_epoch(session: Session, run_id: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The predicted class of each validation sample after each epoch, shape [E, N]; E is 0 where there are none."""
    query = select(EpochPredictions.classes, func.length(EpochPredictions.confidences) // 2)
    query = query.where(EpochPredictions.run_id == run_id).order_by(EpochPredictions.epoch)
    rows = [predicted_classes(classes, samples) for classes, samples in session.execute(query)]
    return np.stack(rows) if rows else np.empty((0, 0), _UINT16)


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


def epochs_at(session: Session, run_id: int, numbers: Sequence[int]) -> dict[int, Epoch]:
    """Those of the epochs that there are, by number."""
    rows = session.scalars(select(Epoch).where(Epoch.run_id == run_id, Epoch.epoch.in_(numbers)))
    return {row.epoch: row for row in rows}


def blocks_at(session: Session, run_id: int, first_steps: Sequence[int]) -> dict[int, StepSeries]:
    """Those of the blocks that there are, by first step."""
    rows = session.scalars(select(StepBlock).where(StepBlock.run_id == run_id, StepBlock.first_step.in_(first_steps)))
    return {row.first_step: _decode_block(row) for row in rows}


def _decode_block(row: StepBlock) -> StepSeries:
    losses = np.frombuffer(row.losses, LOSSES).astype(np.float64)
    finite = np.isfinite(losses)
    told: list[float | None] = _six_digits(np.where(finite, losses, 0)).tolist()
    for place in np.flatnonzero(~finite):
        told[place] = None
    return StepSeries(row.epoch, row.first_step, row.attempt, told)


def _six_digits(values: Floats) -> Floats:
    """Six digits are what float32 holds; more would only be noise on the wire."""
    size = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    # Dividing by a whole power of ten gives the number nearest to the decimal one, which multiplying by 0.1 does not.
    up, down = 10.0 ** np.maximum(5 - size, 0), 10.0 ** np.maximum(size - 5, 0)
    rounded: Floats = np.round(values / down * up) / up * down
    return rounded
