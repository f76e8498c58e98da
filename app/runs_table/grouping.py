"""Runs folded by a column: how many, their mean, spread and best. `config_key` folds the seeds of one configuration.

A few statements, however many runs there are. Where there are more groups than a page shows, one finds which they are
and in which order, so that only their runs are gone through. In the means of seeds count only those that `folds` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, FunctionElement, Row, Select, UnaryExpression, case, func, or_, select
from sqlalchemy.orm import Session

from app.models import Tag
from app.runs_table import columns, filters, folds, listing
from app.runs_table.columns import Column
from app.runs_table.listed import listed
from app.runs_table.listing import PAGE_SIZE, Query, Sort

SEEDS = "config_key"
"""The column of which each group is the seeds of one configuration."""
MOST_IDS = 1000
"""The runs of a larger group are not named, for comparing them."""
_ROUNDING = 1e-12
"""Of a sum of squares: what of it may be no spread, but how floating-point numbers add up."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One column over the runs of a group: of what was measured mean, spread and best, of the rest both ends."""

    low: Any = None
    high: Any = None
    mean: float | None = None
    spread: float | None = None
    """The sample's standard deviation; None for fewer than two."""
    best: float | None = None

    @property
    def empty(self) -> bool:
        return self.low is None and self.mean is None

    @property
    def same(self) -> bool:
        return bool(self.low == self.high)


@dataclass(frozen=True, slots=True)
class Group:
    value: Any
    runs: int
    newest: int
    """The number of its newest run."""
    filter: str
    """What holds for its runs and no others."""
    run_ids: list[int]
    summaries: dict[str, Summary]


def page(session: Session, query: Query, shown: Sequence[Column], groups: int, *, now: datetime) -> list[Group]:
    """The groups of the query's page, of so many `groups` in all, each with a summary of the columns `shown`."""
    key = _key(query)
    figures = [figure for column in shown for figure in figures_of(column, _counted(query))]
    summed = select(key.label("key"), func.count().label("runs"), func.max(listed.c.run_id).label("newest"), *figures)
    summed = _of(summed, query, now)
    if groups > PAGE_SIZE:
        ordered = _of(select(key.label("key")), query, now).order_by(*_order(query, key))
        values = session.scalars(ordered.limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE)).all()
        rows = {row.key: row for row in session.execute(summed.where(_among(key, values)))}
        found = [rows[value] for value in values]
    else:
        found = list(session.execute(summed.order_by(*_order(query, key)))) if query.page == 1 else []
    numbers = _run_ids(session, query, [row.key for row in found if row.runs <= MOST_IDS], now)
    return [_group(query, row, numbers.get(row.key, []), shown) for row in found]


def _of(selected: Select[Any], query: Query, now: datetime) -> Select[Any]:
    return selected.select_from(_source(query)).where(*listing.where(query, now)).group_by(_key(query))


def _among(key: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    inside: ColumnElement[bool] = key.in_([value for value in values if value is not None])
    return or_(inside, key.is_(None)) if None in values else inside


def _run_ids(session: Session, query: Query, values: Sequence[Any], now: datetime) -> dict[Any, list[int]]:
    """The runs of small groups, newest first."""
    if not values:
        return {}
    ids = func.group_concat(listed.c.run_id).label("ids")
    rows = session.execute(_of(select(_key(query).label("key"), ids), query, now).where(_among(_key(query), values)))
    return {row.key: sorted(map(int, row.ids.split(",")), reverse=True) for row in rows}


def total(session: Session, query: Query, *, now: datetime) -> int:
    """How many groups there are, the one of those without a value among them."""
    key = _key(query)
    distinct = select(key).select_from(_source(query)).where(*listing.where(query, now)).group_by(key).subquery()
    return session.scalar(select(func.count()).select_from(distinct)) or 0


def _key(query: Query) -> ColumnElement[Any]:
    if query.group == listing.BY_TAG:
        return Tag.name.expression
    column = columns.COLUMNS[query.group]
    # Instants are folded by day: hardly two are the same.
    return func.date(column.sql) if column.kind == "instant" else column.sql


def _source(query: Query) -> FromClause:
    if query.group == listing.BY_TAG:
        return listed.outerjoin(Tag.__table__, Tag.run_id == listed.c.run_id)
    return listed


def _order(query: Query, key: ColumnElement[Any]) -> list[UnaryExpression[Any]]:
    found = []
    for sort in query.sorts or [Sort("created_at", descending=True)]:
        sql = _sorted_by(sort, query, key)
        found.append((sql.desc() if sort.descending else sql.asc()).nulls_last())
    return [*found, key.asc()]


def _sorted_by(sort: Sort, query: Query, key: ColumnElement[Any]) -> ColumnElement[Any]:
    column = columns.COLUMNS[sort.key]
    if sort.key == query.group:
        return key
    if sort.key == "created_at":
        return func.max(listed.c.run_id)  # the newest run, which an index knows
    if column.kind == "number":
        return _counted(query)(func.avg(column.sql))
    return func.max(column.sql) if sort.descending else func.min(column.sql)


Counted = Callable[[FunctionElement[Any]], ColumnElement[Any]]


def all_runs(aggregate: FunctionElement[Any]) -> ColumnElement[Any]:
    return aggregate


def seeds(aggregate: FunctionElement[Any]) -> ColumnElement[Any]:
    """Over those seeds that count (`folds`)."""
    return func.coalesce(*(aggregate.filter(listed.c.status == status) for status in folds.COUNTED))


def _counted(query: Query) -> Counted:
    return seeds if query.group == SEEDS else all_runs


def figures_of(column: Column, counted: Counted) -> list[ColumnElement[Any]]:
    """Only what `summary_of` needs: over ten thousand runs each of them counts."""
    return _figures(column.key, counted)


@cache
def _figures(key: str, counted: Counted) -> list[ColumnElement[Any]]:
    column = columns.COLUMNS[key]
    sql = column.sql
    low, high = func.min(sql), func.max(sql)
    if not column.is_measured:
        return [low.label(f"{key}_low"), high.label(f"{key}_high")]
    # A sum is empty where a count would be 0, and then `counted` looks on. Whole numbers would be summed as such, and
    # of a network's parameters the squares go beyond 64 bits.
    measured = {
        "count": func.sum(case((sql.is_not(None), 1))), "mean": func.avg(sql), "squares": func.sum(1.0 * sql * sql),
    }  # fmt: skip
    if column.better:
        measured |= {"high": high} if column.better == "higher" else {"low": low}
    return [counted(figure).label(f"{key}_{name}") for name, figure in measured.items()]


def _group(query: Query, row: Row[Any], run_ids: list[int], shown: Sequence[Column]) -> Group:
    summaries = {column.key: summary_of(column, row) for column in shown}
    return Group(row.key, row.runs, row.newest, _filter(query, row.key), run_ids, summaries)


def summary_of(column: Column, row: Row[Any]) -> Summary:
    low, high = getattr(row, f"{column.key}_low", None), getattr(row, f"{column.key}_high", None)
    if not column.is_measured:
        return Summary(low=low, high=high)
    count, mean, squares = (getattr(row, f"{column.key}_{name}") for name in ("count", "mean", "squares"))
    best = {"higher": high, "lower": low}.get(column.better)
    return Summary(mean=mean, spread=_spread(count, mean, squares), best=best)


def _spread(count: int | None, mean: float, squares: float) -> float | None:
    if count is None or count < 2:
        return None
    beyond = squares - count * mean * mean
    return math.sqrt(beyond / (count - 1)) if beyond > squares * _ROUNDING else 0.0


def _filter(query: Query, value: Any) -> str:
    if value is None:
        return str(filters.Comparison(query.group, "is empty", ()))
    column = columns.get(query.group)
    word = ("false", "true")[value] if column and column.kind == "flag" else str(value)
    return str(filters.Comparison(query.group, "=", (word,)))
