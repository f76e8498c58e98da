"""A run as another tool has left it: what the readers give, before anything is decided about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.models import Source, Status
from app.refusal import Refusal

MOST_RUNS, MOST_POINTS, MOST_SERIES = 10_000, 20_000_000, 2_000
"""Of one import together, points of all series of it, series of one run: what fits into memory."""
LONGEST_NAME = 250
LARGEST = 1e150
"""Of a number that still can be squared; what is beyond is taken as not finite."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


class ImportProblem(Refusal):
    """What was given cannot be imported; the message names the file, and the line where there is one."""


def finite(value: float) -> float | None:
    """None for what no mean can be made of, and no cell be written for."""
    return value if math.isfinite(value) and abs(value) < LARGEST else None


def instant(seconds: float | None) -> datetime | None:
    """Unix seconds as an instant; None where there is no such one."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True, slots=True)
class Series:
    """A measure by step, in the order of its steps, one value each; what is not finite is NaN."""

    steps: Integers
    values: Floats
    times: Floats | None = None
    """Unix seconds; None where they are not known."""

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(cls, points: Iterable[tuple[int, float, float | None]]) -> Series:
        """From (step, value, Unix seconds) in the order of writing: of several at one step the last one counts."""
        last = {step: (value, at) for step, value, at in points}
        steps = np.array(sorted(last), np.int64)
        values = np.array([last[step][0] for step in steps.tolist()], np.float64)
        times = [last[step][1] for step in steps.tolist()]
        known = None if any(at is None for at in times) else np.array(times, np.float64)
        return cls(steps, np.where(np.isfinite(values), values, np.nan), known)


@dataclass(slots=True)
class PastRun:
    source: Source
    key: str
    """Recognises the run when it is imported again."""
    name: str
    where: str
    """Where it lay, in words for people: a folder, a line of a file."""
    status: Status = Status.FINISHED
    created_at: datetime | None = None
    finished_at: datetime | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Under their own names: texts, numbers, truths."""
    series: dict[str, Series] = field(default_factory=dict)
    """By their own names."""
    results: dict[str, float] = field(default_factory=dict)
    """Single numbers under their own names, where no series tells them."""
    tags: list[str] = field(default_factory=list)
    notes: str = ""


def within_limits(runs: list[PastRun]) -> list[PastRun]:
    """Raises `ImportProblem` where there is nothing, or more than is taken at a time."""
    if not runs:
        raise ImportProblem("There is no run in it.")
    if len(runs) > MOST_RUNS:
        raise ImportProblem(f"There are {len(runs):,} runs in it; at most {MOST_RUNS:,} are imported at a time.")
    points = sum(len(series) for run in runs for series in run.series.values())
    if points > MOST_POINTS:
        raise ImportProblem(f"There are {points:,} points in it; at most {MOST_POINTS:,} are imported at a time.")
    for run in runs:
        if len(run.series) > MOST_SERIES:
            raise ImportProblem(
                f"{run.where}: {len(run.series):,} measures; at most {MOST_SERIES:,} are kept of a run."
            )
    return runs
