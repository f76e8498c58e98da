"""The curves of many runs as columns of numbers: read in one query, sent as plain binary.

A comparison of a hundred runs has hundreds of thousands of points; as rows of objects and as JSON they would take
seconds. The answer (`packed`) is a header and then one column after the other, each a block of little-endian numbers
of all runs, one run after the other:

    uint32 length of the header | header, JSON padded with spaces so that the blocks begin at a multiple of 8 | blocks

    {"runs": [{"id": 3, "points": 20}, ...], "columns": [{"name": "epoch", "type": "f4"}, ...], ...}

A value that was not finite is NaN.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.comparing import thinning
from app.comparing.thinning import Floats
from app.models import StepBlock

MEASURES = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "lr")
TIMES = ("seconds", "finished_at")
"""Seconds of training up to an epoch's end, pauses left out; and the instant of it, in seconds since 1970."""
COLUMNS = (*MEASURES, *TIMES)
MEDIA_TYPE = "application/vnd.fitroom.curves"

_LOSS = np.dtype("<f4")
_BLOCKS_AT_ONCE = 200
_EXPRESSIONS = {name: name for name in (*MEASURES, "seconds")} | {
    "finished_at": "(julianday(finished_at) - 2440587.5) * 86400"
}


@dataclass(frozen=True, slots=True)
class Curves:
    """Of each run `points` numbers in every column; the columns hold all runs one after the other."""

    points: dict[int, int]
    columns: dict[str, Floats]
    facts: dict[str, Any] = field(default_factory=dict)

    def of_runs(self) -> dict[int, dict[str, Floats]]:
        """By run its part of every column."""
        ends = np.cumsum([0, *self.points.values()])
        return {
            run_id: {name: column[ends[place] : ends[place + 1]] for name, column in self.columns.items()}
            for place, run_id in enumerate(self.points)
        }

    def packed(self) -> bytes:
        runs = [{"id": run_id, "points": points} for run_id, points in self.points.items()]
        # Those of eight bytes first, so that every block is aligned and a browser can read it in place.
        ordered = sorted(self.columns.items(), key=lambda item: -item[1].itemsize)
        columns = [{"name": name, "type": f"f{values.itemsize}"} for name, values in ordered]
        header = json.dumps({"runs": runs, "columns": columns, **self.facts}).encode()
        header += b" " * (-(len(header) + 4) % 8)
        blocks = [values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes() for _, values in ordered]
        return b"".join([struct.pack("<I", len(header)), header, *blocks])


def of_epochs(session: Session, run_ids: Sequence[int], names: Sequence[str], *, after: int = 0) -> Curves:
    """The column `epoch` and those of `COLUMNS` asked for, of the epochs after `after`; "seconds" adds up from there.

    Runs without such epochs are left out.
    """
    wanted = ["run_id", "epoch", *(_EXPRESSIONS[name] for name in names)]
    places = ", ".join("?" * len(run_ids))
    text = f"SELECT {', '.join(wanted)} FROM epochs WHERE run_id IN ({places}) AND epoch > ? ORDER BY run_id, epoch"  # noqa: S608
    # Straight from the driver: SQLAlchemy would make a Row of each, which takes three times as long.
    cursor = session.connection().connection.cursor()
    rows = cursor.execute(text, (*run_ids, after)).fetchall()
    cursor.close()
    table = np.array(rows, np.float64).reshape(len(rows), len(wanted))
    found, starts = np.unique(table[:, 0].astype(np.int64), return_index=True)
    ends = [*starts[1:], len(rows)][: len(starts)]
    points = {int(run): int(end - start) for run, start, end in zip(found, starts, ends, strict=True)}
    columns: dict[str, Floats] = {"epoch": np.ascontiguousarray(table[:, 1], np.float32)}
    for place, name in enumerate(names, start=2):
        values = table[:, place]
        if name == "seconds":
            values = np.concatenate([np.cumsum(values[s:e]) for s, e in zip(starts, ends, strict=True)] or [values])
        columns[name] = np.ascontiguousarray(values, np.float32 if name in MEASURES else np.float64)
    return Curves(points, columns)


@dataclass(frozen=True, slots=True)
class Window:
    """What part of the steps a chart shows, and how many columns of pixels it has. `last` None: up to the last."""

    first: int = 0
    last: int | None = None
    width: int = 1000


def of_steps(session: Session, run_ids: Sequence[int], window: Window, *, smoothing: float = 0.0) -> Curves:
    """The training losses of the runs' steps, counted from 0, as exactly as the window can show them.

    With `smoothing` above 0 also the column "smoothed". The facts tell the last step of all and how many steps each
    run has.
    """
    counts = _step_counts(session, run_ids)
    last_of_all = max(counts.values(), default=1) - 1
    last = max(last_of_all if window.last is None else min(window.last, last_of_all), window.first + 1)
    points: dict[int, int] = {}
    parts: list[dict[str, Floats]] = []
    for run_id, values in _losses(session, run_ids):
        x = np.arange(len(values), dtype=np.float64)
        places = thinning.kept(x, values, window.first, last, window.width)
        part = {"step": x[places], "loss": values[places]}
        if smoothing > 0:
            part["smoothed"] = smoothed(values, smoothing)[places]
        points[run_id] = len(places)
        parts.append(part)
    names = ("step", "loss", *(["smoothed"] if smoothing > 0 else []))
    columns = {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in names}
    return Curves(points, columns, {"last_step": last_of_all, "steps": counts})


def steps_of(session: Session, run_id: int, *, after: int = -1) -> Floats:
    """The training losses of one run's steps, float32, from the step after `after` on."""
    found = dict(_losses(session, [run_id]))
    return found[run_id][after + 1 :] if found else np.empty(0, np.float32)


def smoothed(values: Floats, weight: float) -> Floats:
    """The debiased exponential moving average that TensorBoard draws: each point keeps `weight` of what came before.

    What is not finite stays so, and does not count.
    """
    from scipy.signal import lfilter  # only here, since the server must start without waiting for SciPy

    finite = np.flatnonzero(np.isfinite(values))
    averaged = lfilter([1 - weight], [1, -weight], values[finite].astype(np.float64))
    result = np.full(len(values), np.nan, np.float32)
    result[finite] = averaged / (1 - weight ** np.arange(1, len(finite) + 1))
    return result


def _step_counts(session: Session, run_ids: Sequence[int]) -> dict[int, int]:
    ends = func.max(StepBlock.first_step + func.length(StepBlock.losses) // _LOSS.itemsize)
    query = select(StepBlock.run_id, ends).where(StepBlock.run_id.in_(run_ids)).group_by(StepBlock.run_id)
    return {run_id: int(end) for run_id, end in session.execute(query)}


def _losses(session: Session, run_ids: Sequence[int]) -> Iterator[tuple[int, Floats]]:
    """Run by run the losses of all its steps, so that no more than one run's are held; a missing stretch is NaN."""
    query = select(StepBlock.run_id, StepBlock.first_step, StepBlock.losses).where(StepBlock.run_id.in_(run_ids))
    rows = session.execute(query.order_by(StepBlock.run_id, StepBlock.first_step)).yield_per(_BLOCKS_AT_ONCE)
    for run_id, blocks in groupby(rows, key=lambda row: row[0]):
        yield run_id, _joined([(first, np.frombuffer(losses, _LOSS)) for _, first, losses in blocks])


def _joined(blocks: Sequence[tuple[int, Floats]]) -> Floats:
    last, losses = blocks[-1]
    whole = np.full(last + len(losses), np.nan, np.float32)
    for first, values in blocks:
        whole[first : first + len(values)] = values
    return whole
