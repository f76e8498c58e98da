"""The table of runs as a page shows it: headings, cells with their bars and small curves, groups, chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import metrics
from app.comparing import selection
from app.models import Run
from app.pages import SHOWN
from app.runs_table import columns, filters, grouping, listing, sparks
from app.runs_table.columns import Column
from app.runs_table.filters import FilterError
from app.runs_table.grouping import Group, Summary
from app.runs_table.layout import Layout, Place
from app.runs_table.listed import listed
from app.runs_table.listing import PAGE_SIZE, Query, Sort
from app.schemas import RunOut

FOLDED = "config_key"
"""The group in which the seeds of one configuration are one row."""
STARRED = "-starred"


@dataclass(frozen=True, slots=True)
class Heading:
    key: str
    label: str
    help: str
    numeric: bool
    sort_url: str | None
    """None where the column cannot be sorted by."""
    add_url: str | None
    """The same, after the columns that are sorted by already."""
    aria_sort: str | None
    place: int
    """Among the columns sorted by, from 1; 0 for none, or where it is the only one."""
    width: int | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class Cell:
    place: Place
    text: Any = ""
    bar: int | None = None
    """Per cent: how far its value goes from the page's lowest to its highest."""
    more: str = ""
    """Of a group: what stands small beside the text."""

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


@dataclass(frozen=True, slots=True)
class Row:
    run: RunOut
    curve: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Folded:
    group: Group
    label: str
    open_url: str
    compare_url: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Chip:
    text: str
    remove_url: str


def page(session: Session, query: Query, layout: Layout, *, now: datetime) -> dict[str, Any]:
    """What the template needs, in as many statements for ten thousand runs as for ten."""
    matching = listing.total(session, query, now=now)
    total = grouping.total(session, query, now=now) if query.group else matching
    pages = max(1, -(-total // PAGE_SIZE))
    # The last page may have gone since the address was made.
    query = replace(query, page=min(query.page, pages))
    layout = _with_names(layout) if query.group else layout
    return {
        "query": query,
        "layout": layout,
        "headings": headings(query, layout),
        "rows": [] if query.group else rows(listing.page(session, query, now=now), layout, now=now),
        "groups": folded(session, query, layout, total, now=now) if query.group else [],
        "total": total,
        "matching": matching,
        "pages": pages,
        "counts": listing.counts(session, query.archived),
        "chips": chips(query),
        "starred_url": None if query.sort.startswith(STARRED) else query.url(sort=f"{STARRED},{query.sort}", page=1),
        "rows_url": query.url("/runs/rows"),
        "stream_url": f"/api/v1/events?after={metrics.cursor(session)}",
    }


def _with_names(layout: Layout) -> Layout:
    """Groups and their runs are called by name in the same column."""
    return layout if "name" in layout.keys else Layout((Place("name"), *layout.places))


def headings(query: Query, layout: Layout) -> list[Heading]:
    sorts = query.sorts
    return [_heading(query, sorts, place.key, place.width, place.pinned) for place in layout.places]


def _heading(query: Query, sorts: list[Sort], key: str, width: int | None, pinned: bool) -> Heading:
    if key == "name" and query.group:
        return _plain_heading(key, group_heading(query), width, pinned)
    column = columns.COLUMNS.get(key)
    if column is None:
        return _plain_heading(key, columns.EXTRAS[key], width, pinned)
    place = next((number for number, sort in enumerate(sorts, 1) if sort.key == key), 0)
    descending = sorts[place - 1].descending if place else False
    # The first click on a number shows the largest, on a text the first of the alphabet.
    turned = Sort(key, not descending if place else column.numeric)
    others = [turned if sort.key == key else sort for sort in sorts]
    added = others if place else [*others, turned][: listing.MOST_SORTS]
    return Heading(
        key, column.label, column.help, column.numeric,
        query.url(sort=str(turned), page=1), query.url(sort=",".join(map(str, added)), page=1),
        ("descending" if descending else "ascending") if place else None,
        place if len(sorts) > 1 else 0, width, pinned,
    )  # fmt: skip


def _plain_heading(key: str, label: str, width: int | None, pinned: bool) -> Heading:
    return Heading(key, label, "", False, None, None, None, 0, width, pinned)


def rows(runs: Sequence[Run], layout: Layout, *, now: datetime) -> list[Row]:
    shown = [RunOut.of(run, now=now) for run in runs]
    across = [_cells(place, shown) for place in layout.places]
    return [
        Row(out, sparks.points(run.spark), [column[number] for column in across])
        for number, (run, out) in enumerate(zip(runs, shown, strict=True))
    ]


def _cells(place: Place, runs: Sequence[RunOut]) -> list[Cell]:
    """One column, from its first row to its last."""
    column = columns.COLUMNS.get(place.key)
    if column is None:
        return [Cell(place) for _ in runs]
    if place.key == "epochs":
        return [Cell(place, f"{run.epochs_done} / {run.epochs}") for run in runs]
    values = [column.value(run) for run in runs]
    bars = _shares(values) if column.is_result else [None] * len(values)
    return [Cell(place, text(column, value), bar) for value, bar in zip(values, bars, strict=True)]


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


# Groups


def folded(session: Session, query: Query, layout: Layout, total: int, *, now: datetime) -> list[Folded]:
    shown = [columns.COLUMNS[key] for key in layout.keys if key in columns.COLUMNS and key != "name"]
    groups = grouping.page(session, query, shown, total, now=now)
    # Seeds of one configuration are told apart by number alone, so their row bears the name of the newest.
    names = _names(session, groups) if query.group == FOLDED else {}
    across = [_summaries(place, groups) for place in layout.places]
    return [
        _folded(query, layout, group, names.get(group.newest), [column[number] for column in across])
        for number, group in enumerate(groups)
    ]


def _names(session: Session, groups: Sequence[Group]) -> dict[int, str]:
    newest = select(listed.c.run_id, listed.c.name).where(listed.c.run_id.in_([group.newest for group in groups]))
    return {row.run_id: row.name for row in session.execute(newest)}


def _folded(query: Query, layout: Layout, group: Group, name: str | None, cells: list[Cell]) -> Folded:
    both = filters.joined([*filters.parts(query.filter), *filters.parts(group.filter)])
    return Folded(
        group,
        name or group_label(query, group.value),
        query.url(group="", filter=both, page=1, cols=query.cols and str(layout)),
        f"/compare?{selection.address(group.run_ids)}" if 1 < group.runs <= selection.MOST else "",
        cells,
    )


def group_heading(query: Query) -> str:
    column = columns.COLUMNS.get(query.group)
    return column.label if column else "Tag"


def group_label(query: Query, value: Any) -> str:
    column = columns.COLUMNS.get(query.group)
    if value is None:
        return f"No {(column.label if column else 'tag').lower()}"
    return str(text(column, value)) if column and column.kind != "instant" else str(value)


def _summaries(place: Place, groups: Sequence[Group]) -> list[Cell]:
    """One column, from its first group to its last."""
    column = columns.COLUMNS.get(place.key)
    if column is None or place.key == "name":
        return [Cell(place) for _ in groups]
    summaries = [group.summaries[place.key] for group in groups]
    bars = _shares([summary.mean for summary in summaries]) if column.is_result else [None] * len(groups)
    return [_summary(place, column, summary, bar) for summary, bar in zip(summaries, bars, strict=True)]


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


# The filter as chips


def chips(query: Query) -> list[Chip]:
    try:
        parts = filters.parts(query.filter)
    except FilterError:
        return []
    return [
        Chip(str(part), query.url(filter=filters.joined([other for other in parts if other is not part]), page=1))
        for part in parts
    ]


def offered() -> dict[str, list[tuple[str, str, str]]]:
    """Every column by its group, as (key, label, help): what the dialog lets one choose from."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for column in columns.COLUMNS.values():
        found.setdefault(column.group, []).append((column.key, column.label, column.help))
    found[columns.RUN] += [(key, label, "") for key, label in columns.EXTRAS.items()]
    return found
