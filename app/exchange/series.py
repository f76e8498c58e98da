"""The measures of an imported run that Fitroom has no column for, as they were kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.comparing import thinning
from app.exchange.past import Series
from app.models import SeriesRow


class SeriesOut(BaseModel):
    name: str = Field(description="As the tool called it that the run comes from.")
    points: int = Field(description="So many there are in all.")
    steps: list[int]
    values: list[float | None] = Field(description="Null where it was not finite.")


def each(session: Session, run_id: int) -> Iterator[tuple[str, Series]]:
    """By name, one after the other."""
    rows = select(SeriesRow).where(SeriesRow.run_id == run_id).order_by(SeriesRow.name)
    for row in session.scalars(rows.execution_options(yield_per=20)):
        times = None if row.times is None else np.frombuffer(row.times, "<f8")
        yield row.name, Series(np.frombuffer(row.steps, "<i8"), np.frombuffer(row.values, "<f8"), times)


def names(session: Session, run_id: int) -> list[str]:
    return list(session.scalars(select(SeriesRow.name).where(SeriesRow.run_id == run_id).order_by(SeriesRow.name)))


def drawn(session: Session, run_id: int, width: int) -> list[SeriesOut]:
    """Each thinned to what a chart of so many pixels can show."""
    return [_drawn(name, series, width) for name, series in each(session, run_id)]


def _drawn(name: str, series: Series, width: int) -> SeriesOut:
    x, y = series.steps.astype(np.float64), series.values
    places = thinning.kept(x, y, x[0], x[-1], width)
    values = [float(value) if np.isfinite(value) else None for value in y[places].tolist()]
    return SeriesOut(name=name, points=len(series), steps=series.steps[places].tolist(), values=values)
