"""What can be taken away as a table: a run's epochs, its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import metrics
from app.exchange.sheets import Field, Row, fields_of
from app.schemas import EpochOut


@dataclass(frozen=True, slots=True)
class Table:
    fields: Sequence[Field]
    rows: Iterator[Row]
    """Read from the session as they are taken."""


def epochs(session: Session, run_id: int) -> Table:
    found = (EpochOut.model_validate(row).model_dump() for row in metrics.epochs(session, run_id))
    return Table(fields_of(EpochOut), found)


STEP_FIELDS = (Field("step", "integer"), Field("epoch", "integer"), Field("train_loss", "number"))


def steps(session: Session, run_id: int) -> Table:
    """Every step of the run from 0 on, with the mean loss of its batch."""
    return Table(STEP_FIELDS, _steps(session, run_id))


def _steps(session: Session, run_id: int) -> Iterator[Row]:
    for block in metrics.each_block(session, run_id):
        for place, loss in enumerate(block.losses):
            yield {"step": block.first_step + place, "epoch": block.epoch, "train_loss": loss}
