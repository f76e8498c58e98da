"""A comparison as a document: what the page shows, as it stands now, without scripts; it prints, and is one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.comparing import compare_view, comparison, curves, measures, svg
from app.comparing.compare_view import View
from app.comparing.comparison import ComparedRun, Comparison
from app.comparing.curves import Window
from app.comparing.settings_diff import Grouping
from app.comparing.svg import Axis, Line
from app.comparing.thinning import Floats
from app.config import ROOT

FOUR = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
X_KINDS = {"time": "duration", "wall": "instant"}
Y_KINDS = {"val_accuracy": "percent", "train_accuracy": "percent"}
PLACES = 200
"""Of the grid over which groups are averaged where their runs' points lie at different places."""
STEP_COLUMNS = svg.COLUMNS


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    picture: Markup


def charts(session: Session, compared: Comparison, view: View) -> list[Chart]:
    """The curves that the view shows, drawn."""
    if view.show == "steps" or view.measure is not None:
        return [_by_step(session, compared, view)]
    names = FOUR if view.show == "four" else (view.show,)
    by = compare_view.X_COLUMNS.get(view.x, [])
    found = curves.of_epochs(session, [run.id for run in compared.runs], [*names, *by]).of_runs()
    grouping = comparison.groupings(compared).get(view.group)
    axis = Axis(compare_view.X_AXES[view.x], X_KINDS.get(view.x, "count"))
    drawn = []
    for name in names:
        single = list(_single(compared.runs, found, name, view))
        lines = (
            _grouped(single, compared.runs, grouping, aligned=view.x == "epoch") if grouping else _faint(single, view)
        )
        title = compare_view.CHARTS[name]
        y = Axis(title, Y_KINDS.get(name, "loss"), log=view.log, clip=view.clip)
        drawn.append(Chart(title, svg.chart(f"{title} by {axis.label.lower()}", lines, axis, y)))
    return drawn


def style() -> str:
    """The style sheets that a saved report carries with it."""
    return "\n".join((ROOT / "static" / "css" / name).read_text() for name in ("tokens.css", "report.css"))


def _by_step(session: Session, compared: Comparison, view: View) -> Chart:
    """The losses of steps, counted from 1, or a measure of imported runs over its own steps."""
    ids, window = [run.id for run in compared.runs], Window(width=STEP_COLUMNS)
    if view.measure is None:
        title, name, first = compare_view.CHARTS["steps"], "loss", 1
        found = curves.of_steps(session, ids, window, smoothing=view.smooth).of_runs()
    else:
        title, name, first = view.measure, "value", 0
        found = measures.of_runs(session, ids, view.measure, window, smoothing=view.smooth).of_runs()
    lines = []
    for run in compared.runs:
        columns = found.get(run.id)
        if columns is None:
            continue
        raw = Line(run.name, _look(run.color, run.dash), columns["step"] + first, columns[name])
        lines.append((raw, columns.get("smoothed")))
    drawn = [_as_faint(raw) for raw, smooth in lines if smooth is not None]
    drawn += [raw if smooth is None else _with(raw, smooth) for raw, smooth in lines]
    return Chart(
        title, svg.chart(title, drawn, Axis("Step", "count"), Axis(title, "loss", log=view.log, clip=view.clip))
    )


def _single(
    runs: Sequence[ComparedRun], found: dict[int, dict[str, Floats]], name: str, view: View
) -> Iterator[tuple[ComparedRun, Line]]:
    """The curve of each run that has one over this axis."""
    for run in runs:
        columns = found.get(run.id)
        if columns is None or (view.x == "step" and not run.steps_per_epoch):
            continue
        x = columns[compare_view.X_COLUMNS.get(view.x, ["epoch"])[0]] * (
            (run.steps_per_epoch or 1) if view.x == "step" else 1
        )
        # Of an imported run it may not be known how long it has trained: then it has no place on that axis.
        known = np.isfinite(x)
        if known.any():
            yield run, Line(run.name, _look(run.color, run.dash), x[known], columns[name][known])


def _faint(single: Sequence[tuple[ComparedRun, Line]], view: View) -> list[Line]:
    """Smoothed, with the raw curves faint behind; or as they are."""
    if not view.smooth:
        return [line for _, line in single]
    smooth = [_with(line, curves.smoothed(line.y, view.smooth)) for _, line in single]
    return [_as_faint(line) for _, line in single] + smooth


def _grouped(
    single: Sequence[tuple[ComparedRun, Line]], runs: Sequence[ComparedRun], grouping: Grouping, *, aligned: bool
) -> list[Line]:
    places = {run.id: place for place, run in enumerate(runs)}
    lines = []
    for group, label in enumerate(grouping.groups):
        members = [line for run, line in single if grouping.of[places[run.id]] == group]
        if members:
            x, mean, spread = _average(members, aligned=aligned)
            look = _look(group % comparison.COLORS, group // comparison.COLORS % comparison.DASHES)
            lines.append(Line(f"{label} ({len(members)})", look, x, mean, mean - spread, mean + spread))
    return lines


def _average(lines: Sequence[Line], *, aligned: bool) -> tuple[Floats, Floats, Floats]:
    """Places, the mean of the lines there, and their standard deviation (0 where only one reaches)."""
    if aligned:
        x = np.unique(np.concatenate([line.x for line in lines]))
        table = np.full((len(lines), len(x)), np.nan)
        for row, line in zip(table, lines, strict=True):
            row[np.searchsorted(x, line.x)] = line.y
    else:
        x = np.linspace(min(line.x[0] for line in lines), max(line.x[-1] for line in lines), PLACES)
        table = np.array([np.interp(x, line.x, line.y, left=np.nan, right=np.nan) for line in lines])
    known = np.isfinite(table)
    number = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, table, 0).sum(axis=0) / number
        squares = np.where(known, (table - mean) ** 2, 0).sum(axis=0)
        spread = np.where(number > 1, np.sqrt(squares / (number - 1)), 0.0)
    return x, mean, spread


def _look(color: int, dash: int) -> str:
    return f"series-{color} dash-{dash}"


def _with(line: Line, y: Floats) -> Line:
    return Line(line.label, line.look, line.x, y)


def _as_faint(line: Line) -> Line:
    return Line(line.label, line.look, line.x, line.y, faint=True)
