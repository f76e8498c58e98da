"""The table of runs as a page shows it: headings, rows of runs and of seeds, groups, chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import metrics
from app.comparing import selection
from app.models import Run
from app.runs_table import cells, columns, filters, folded, grouping, listing, sparks
from app.runs_table.cells import Cell
from app.runs_table.filters import FilterError
from app.runs_table.folded import Seeds
from app.runs_table.grouping import Group
from app.runs_table.layout import Layout, Place
from app.runs_table.listed import listed
from app.runs_table.listing import PAGE_SIZE, Query, Sort
from app.schemas import RunOut

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
class Row:
    run: RunOut
    """Of seeds that stand as one row, the newest."""
    curve: str
    cells: list[Cell]
    seeds: Seeds | None = None
    filter: str = ""
    """Of seeds: what holds for their runs and, among those that the table shows, no others."""
    open_url: str = ""
    runs_in_words: str = ""
    """Their numbers as an address names them; empty for more than are compared."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    group: Group
    label: str
    open_url: str
    compare_url: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Chip:
    text: str
    remove_url: str


def page(session: Session, query: Query, layout: Layout, *, fold: bool, now: datetime) -> dict[str, Any]:
    """What the template needs, in as many statements for ten thousand runs as for ten.

    `fold` says whether the seeds of one configuration are one row, where the query groups by nothing.
    """
    found = _folding(session, query, layout, now) if fold and not query.group else _plain(session, query, layout, now)
    return found | {
        "fold": fold,
        "counts": listing.counts(session, query.archived),
        "chips": chips(query),
        "starred_url": None if query.sort.startswith(STARRED) else query.url(sort=f"{STARRED},{query.sort}", page=1),
        "rows_url": query.url("/runs/rows"),
        "stream_url": f"/api/v1/events?after={metrics.cursor(session)}",
    }


def _folding(session: Session, query: Query, layout: Layout, now: datetime) -> dict[str, Any]:
    found = folded.page(session, query, now=now)
    runs = listing.by_ids(session, [unit.run_id for unit in found.units])
    shown = [columns.COLUMNS[key] for key in layout.keys if key in columns.COLUMNS]
    together = folded.together(session, query, found.units, shown, now=now)
    by_run = {unit.run_id: together[unit.fold] for unit in found.units if unit.fold is not None}
    return _paged(query, layout, found.total, found.runs) | {
        "rows": rows(query, runs, by_run, layout, now=now),
        "groups": [],
    }


def _plain(session: Session, query: Query, layout: Layout, now: datetime) -> dict[str, Any]:
    """Every run a row, or the groups that the query asks for."""
    matching = listing.total(session, query, now=now)
    total = grouping.total(session, query, now=now) if query.group else matching
    layout = _with_names(layout) if query.group else layout
    said = _paged(query, layout, total, matching)
    query = said["query"]
    runs = [] if query.group else listing.page(session, query, now=now)
    return said | {
        "rows": rows(query, runs, {}, layout, now=now),
        "groups": groups(session, query, layout, total, now=now) if query.group else [],
    }


def _paged(query: Query, layout: Layout, total: int, matching: int) -> dict[str, Any]:
    """The query with a page that there is: the last one may have gone since the address was made."""
    pages = max(1, -(-total // PAGE_SIZE))
    query = replace(query, page=min(query.page, pages))
    return {
        "query": query,
        "layout": layout,
        "headings": headings(query, layout),
        "total": total,
        "matching": matching,
        "pages": pages,
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


def rows(query: Query, runs: Sequence[Run], seeds: Mapping[int, Seeds], layout: Layout, *, now: datetime) -> list[Row]:
    """`seeds` by the number of the run that stands for them."""
    shown = [RunOut.of(run, now=now) for run in runs]
    together = [seeds.get(run.id) for run in runs]
    across = [cells.of_runs(place, shown, together) for place in layout.places]
    alone = [
        Row(out, sparks.points(run.spark), [column[number] for column in across])
        for number, (run, out) in enumerate(zip(runs, shown, strict=True))
    ]
    return [_standing(query, row, found) if found else row for row, found in zip(alone, together, strict=True)]


def _standing(query: Query, row: Row, seeds: Seeds) -> Row:
    """The row of seeds, for which this run stands."""
    own: list[filters.Node] = [filters.Comparison("config_key", "=", (row.run.config_key or "",))]
    if query.archived == "all":
        own.append(filters.Comparison("archived", "=", (str(row.run.archived).lower(),)))
    opened = filters.joined([*filters.parts(query.filter), *own])
    words = selection.address(seeds.run_ids).removeprefix("runs=")
    address = query.url(filter=opened, page=1, fold="off")
    return replace(row, seeds=seeds, filter=filters.joined(own), open_url=address, runs_in_words=words)


# Groups


def groups(session: Session, query: Query, layout: Layout, total: int, *, now: datetime) -> list[GroupRow]:
    shown = [columns.COLUMNS[key] for key in layout.keys if key in columns.COLUMNS and key != "name"]
    found = grouping.page(session, query, shown, total, now=now)
    # Seeds of one configuration are told apart by number alone, so their row bears the name of the newest.
    names = _names(session, found) if query.group == grouping.SEEDS else {}
    across = [cells.of_groups(place, found) for place in layout.places]
    return [
        _group_row(query, layout, group, names.get(group.newest), [column[number] for column in across])
        for number, group in enumerate(found)
    ]


def _names(session: Session, groups: Sequence[Group]) -> dict[int, str]:
    newest = select(listed.c.run_id, listed.c.name).where(listed.c.run_id.in_([group.newest for group in groups]))
    return {row.run_id: row.name for row in session.execute(newest)}


def _group_row(query: Query, layout: Layout, group: Group, name: str | None, cells: list[Cell]) -> GroupRow:
    both = filters.joined([*filters.parts(query.filter), *filters.parts(group.filter)])
    return GroupRow(
        group,
        name or group_label(query, group.value),
        query.url(group="", fold="off", filter=both, page=1, cols=query.cols and str(layout)),
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
    return str(cells.text(column, value)) if column and column.kind != "instant" else str(value)


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
