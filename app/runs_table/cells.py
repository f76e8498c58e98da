"""What stands in the table's cells: a run's values, what a group says together, the bars below both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.pages import SHOWN
from app.runs_table import columns
from app.runs_table.columns import Column
from app.runs_table.folded import Seeds
from app.runs_table.grouping import Group, Summary
from app.runs_table.layout import Place
from app.schemas import RunOut


@dataclass(frozen=True, slots=True)
class Cell:
    place: Place
    text: Any = ""
    bar: int | None = None
    """Per cent: how far its value goes from the page's lowest to its highest."""
    more: str = ""
    """Of several runs: what stands small beside the text."""

    @property
    def key(self) -> str:
        return self.place.key

    @property
    def style(self) -> Markup:
        """The attribute `class`. Ready-made, because a page has some thousand cells."""
        return _STYLES[self.place.key in _NUMERIC, self.place.pinned]


_NUMERIC = {column.key for column in columns.COLUMNS.values() if column.numeric}
_STYLES = {
    (False, False): Markup(""),
    (False, True): Markup(' class="pinned"'),
    (True, False): Markup(' class="n"'),
    (True, True): Markup(' class="n pinned"'),
}


def of_runs(place: Place, runs: Sequence[RunOut], seeds: Sequence[Seeds | None]) -> list[Cell]:
    """One column, from its first row to its last; where there are seeds, the run is the newest of them."""
    column = columns.COLUMNS.get(place.key)
    if column is None:
        return [Cell(place) for _ in runs]
    summaries = [found.summaries.get(place.key) if found else None for found in seeds]
    values = [found.mean if found else column.value(run) for run, found in zip(runs, summaries, strict=True)]
    bars = _shares(values) if column.is_result else [None] * len(values)
    return [
        _summary(place, column, found, bar) if found else Cell(place, _own(place, column, run, value, several), bar)
        for run, value, bar, found, several in zip(runs, values, bars, summaries, seeds, strict=True)
    ]


def _own(place: Place, column: Column, run: RunOut, value: Any, seeds: Seeds | None) -> Any:
    if place.key == "epochs" and seeds is None:
        return f"{run.epochs_done} / {run.epochs}"
    return text(column, value)


def of_groups(place: Place, groups: Sequence[Group]) -> list[Cell]:
    """One column, from its first group to its last."""
    column = columns.COLUMNS.get(place.key)
    if column is None or place.key == "name":
        return [Cell(place) for _ in groups]
    summaries = [group.summaries[place.key] for group in groups]
    bars = _shares([summary.mean for summary in summaries]) if column.is_result else [None] * len(groups)
    return [_summary(place, column, summary, bar) for summary, bar in zip(summaries, bars, strict=True)]


def text(column: Column, value: Any) -> Any:
    """A value as a person reads it; markup for an instant."""
    if value is None:
        return "–"
    return SHOWN[column.shown](value) if column.shown in SHOWN else columns.written(column, value)


def _shares(values: Sequence[float | None]) -> list[int | None]:
    """Each value's way from the lowest to the highest, in per cent; the lowest still shows a little."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    if high == low:
        return [None] * len(values)
    return [None if value is None else round(6 + 94 * (value - low) / (high - low)) for value in values]


def _summary(place: Place, column: Column, summary: Summary, bar: int | None) -> Cell:
    if summary.empty:
        return Cell(place, "–")
    if column.is_measured:
        return Cell(place, text(column, summary.mean), bar, _spread(column, summary))
    if summary.same:
        return Cell(place, text(column, summary.low))
    if column.numeric:
        return Cell(place, text(column, summary.low), more=Markup("to {}").format(text(column, summary.high)))
    return Cell(place, "various")


def _spread(column: Column, summary: Summary) -> str:
    found = []
    if summary.spread is not None:
        found.append(f"± {text(column, summary.spread)}")
    if summary.best is not None and summary.spread is not None:
        found.append(f"best {text(column, summary.best)}")
    return " · ".join(found)
