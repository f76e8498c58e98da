"""Measures of imported runs that are no column of the epochs: a comparison shows them beside loss and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.comparing import thinning
from app.comparing.curves import Curves, Window, smoothed
from app.comparing.thinning import Floats
from app.models import SeriesRow

PREFIX = "series:"
"""Before a measure's own name, where a view names what it shows."""
MOST = 200
"""Measures that a page offers."""


def names(session: Session, run_ids: Sequence[int]) -> list[str]:
    """Of all that any of these runs has, the first `MOST` in the order of their names."""
    found = select(SeriesRow.name).where(SeriesRow.run_id.in_(run_ids)).distinct().order_by(SeriesRow.name)
    return list(session.scalars(found.limit(MOST)))


def of_runs(session: Session, run_ids: Sequence[int], name: str, window: Window, *, smoothing: float = 0.0) -> Curves:
    """The columns "step" and "value" of the runs that have this measure, as exactly as the window can show them.

    With `smoothing` above 0 also "smoothed". The facts tell the first and the last step of all.
    """
    asked = select(SeriesRow).where(SeriesRow.run_id.in_(run_ids), SeriesRow.name == name).order_by(SeriesRow.run_id)
    rows = [row for row in session.scalars(asked) if len(row.steps)]
    steps = {row.run_id: np.frombuffer(row.steps, "<i8").astype(np.float64) for row in rows}
    first, last = _ends(steps, window)
    parts = {
        row.run_id: _part(steps[row.run_id], np.frombuffer(row.values, "<f8"), first, last, window.width, smoothing)
        for row in rows
    }
    wanted = ("step", "value", *(["smoothed"] if smoothing > 0 else []))
    columns = {key: np.concatenate([part[key] for part in parts.values()] or [np.empty(0)]) for key in wanted}
    ends = [end for of_run in steps.values() for end in (of_run[0], of_run[-1])]
    facts = {"first_step": min(ends, default=0.0), "last_step": max(ends, default=1.0)}
    return Curves({run_id: len(part["step"]) for run_id, part in parts.items()}, columns, facts)


def _ends(steps: Mapping[int, Floats], window: Window) -> tuple[float, float]:
    last = max((of_run[-1] for of_run in steps.values()), default=1.0)
    first = float(window.first) if window.last is not None else min((of_run[0] for of_run in steps.values()), default=0)
    return first, max(last if window.last is None else min(last, float(window.last)), first + 1)


def _part(x: Floats, values: Floats, first: float, last: float, width: int, smoothing: float) -> dict[str, Floats]:
    places = thinning.kept(x, values, first, last, width)
    part = {"step": x[places], "value": values[places]}
    return part | {"smoothed": smoothed(values, smoothing)[places]} if smoothing > 0 else part
