"""Runs folded by a column: how many, their mean, spread and best. `config_key` folds the seeds of one configuration.

Two statements, however many runs there are: the first finds which groups the page shows, and in which order; the
second goes through the runs of those groups alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, UnaryExpression, func, or_, select
from sqlalchemy.orm import Session

from app import columns, filters, listing
from app.columns import Column
from app.listed import listed
from app.listing import PAGE_SIZE, Query, Sort
from app.models import Tag

MOST_IDS = 1000
"""Of a group: so many runs at most are named, for comparing them."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One column over the runs of a group; all None where none has a value."""

    count: int
    low: Any
    high: Any
    mean: float | None = None
    spread: float | None = None
    """The sample's standard deviation; None for fewer than two."""
    best: float | None = None

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


def page(session: Session, query: Query, shown: Sequence[Column], *, now: datetime) -> list[Group]:
    """The groups of the query's page, each with a summary of the columns `shown`."""
    key = _key(query)
    first = select(key.label("key")).select_from(_source(query)).where(*listing.where(query, now)).group_by(key)
    found = session.scalars(first.order_by(*_order(query, key)).limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE))
    values = list(found)
    if not values:
        return []
    inside: ColumnElement[bool] = key.in_([value for value in values if value is not None])
    if None in values:
        inside = or_(inside, key.is_(None))
    figures = [figure for column in shown for figure in _figures(column)]
    second = select(
        key.label("key"), func.count().label("runs"), func.max(listed.c.run_id).label("newest"),
        func.group_concat(listed.c.run_id).label("ids"), *figures,
    ).select_from(_source(query)).where(*listing.where(query, now), inside).group_by(key)  # fmt: skip
    rows = {row.key: row for row in session.execute(second)}
    return [_group(query, rows[value], shown) for value in values]


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
        return func.avg(column.sql)
    return func.max(column.sql) if sort.descending else func.min(column.sql)


def _figures(column: Column) -> list[ColumnElement[Any]]:
    sql, key = column.sql, column.key
    found: list[ColumnElement[Any]] = [
        func.count(sql).label(f"{key}_count"),
        func.min(sql).label(f"{key}_low"),
        func.max(sql).label(f"{key}_high"),
    ]
    if column.kind == "number":
        found += [func.avg(sql).label(f"{key}_mean"), func.sum(sql * sql).label(f"{key}_squares")]
    return found


def _group(query: Query, row: Row[Any], shown: Sequence[Column]) -> Group:
    ids = sorted((int(word) for word in row.ids.split(",")), reverse=True)[:MOST_IDS]
    summaries = {column.key: _summary(column, row) for column in shown}
    return Group(row.key, row.runs, row.newest, _filter(query, row.key), ids, summaries)


def _summary(column: Column, row: Row[Any]) -> Summary:
    count, low, high = (getattr(row, f"{column.key}_{name}") for name in ("count", "low", "high"))
    if column.kind != "number" or not count:
        return Summary(count, low, high)
    mean, squares = getattr(row, f"{column.key}_mean"), getattr(row, f"{column.key}_squares")
    spread = math.sqrt(max(0.0, squares - count * mean * mean) / (count - 1)) if count > 1 else None
    best = {"higher": high, "lower": low}.get(column.better)
    return Summary(count, low, high, mean, spread, best)


def _filter(query: Query, value: Any) -> str:
    if value is None:
        return str(filters.Comparison(query.group, "is empty", ()))
    column = columns.get(query.group)
    word = ("false", "true")[value] if column and column.kind == "flag" else str(value)
    return str(filters.Comparison(query.group, "=", (word,)))
