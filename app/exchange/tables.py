"""What can be taken away as a table: the table of runs as filtered, a run's epochs, its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer
from sqlalchemy.orm import Session

from app import metrics
from app.exchange import series as kept
from app.exchange.sheets import Field, Kind, Row, fields_of
from app.runs_table import listing
from app.runs_table.columns import COLUMNS, Column
from app.runs_table.columns import get as find
from app.schemas import EpochOut, RunOut

_ABOUT = ("tags", "notes", "message")
"""What a file can hold besides the columns by which the table is sorted."""


@dataclass(frozen=True, slots=True)
class Table:
    fields: Sequence[Field]
    rows: Iterator[Row]
    """Read from the session as they are taken."""


def runs(session: Session, query: listing.Query, *, now: datetime, keys: Sequence[str] = ()) -> Table:
    """All runs of the query, whatever page it names, in its order, with the columns of `keys` in theirs.

    Without `keys` every column that the table can show. Raises `QueryError` for a key that is no column.
    """
    fields = [_field(key) for key in dict.fromkeys(map(_known, keys))] or _all()
    shown = (RunOut.of(run, now=now) for run in listing.rows(session, query, now=now))
    return Table(fields, ({field.name: _value(field.name, run) for field in fields} for run in shown))


def _all() -> list[Field]:
    return [_field(key) for key in (*COLUMNS, *_ABOUT)]


def _known(key: str) -> str:
    column = find(key.strip())
    name = column.key if column else key.strip()
    if column is None and name not in _ABOUT:
        raise listing.QueryError({"columns": f"There is no column “{name[:60]}” to take away."})
    return name


def _field(key: str) -> Field:
    return Field(key, _kind(COLUMNS[key])) if key in COLUMNS else fields_of(RunOut, key)[0]


def _value(key: str, run: RunOut) -> Any:
    return COLUMNS[key].value(run) if key in COLUMNS else getattr(run, key)


def _kind(column: Column) -> Kind:
    match column.kind:
        case "number":
            return "integer" if isinstance(column.sql.type, Integer) else "number"
        case "instant" | "flag":
            return column.kind
        case _:
            return "text"


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


SERIES_FIELDS = (Field("measure", "text"), Field("step", "integer"), Field("value", "number"), Field("time", "number"))


def series(session: Session, run_id: int) -> Table:
    """The further measures of an imported run; `time` is in Unix seconds, where it is known."""
    return Table(SERIES_FIELDS, _series(session, run_id))


def _series(session: Session, run_id: int) -> Iterator[Row]:
    for name, found in kept.each(session, run_id):
        times = [None] * len(found) if found.times is None else found.times.tolist()
        for step, value, time in zip(found.steps.tolist(), found.values.tolist(), times, strict=True):
            yield {"measure": name, "step": step, "value": value, "time": time}
