"""The table in which the seeds of one configuration are one row: which rows there are, and what each says.

    found = page(session, query, now=...)                     the rows of the query's page, how many there are of all
    seeds = together(session, query, found, shown, now=...)   what the seeds of each folded row say

A row is a run that stands alone, or the newest of the seeds that match the query, for all of them. Of all runs, SQLite
keeps which these are (`folds`), so that an index answers. A filter goes first and what it leaves is folded, in one
statement that goes once through the narrow table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, select
from sqlalchemy.orm import Session

from app.models import Status
from app.runs_table import folds, grouping, listing
from app.runs_table.columns import COLUMNS, Column
from app.runs_table.grouping import MOST_IDS, Summary
from app.runs_table.listed import listed
from app.runs_table.listing import PAGE_SIZE, Query


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of the folded table."""

    run_id: int
    """Of seeds the newest."""
    fold: int | None
    """What its seeds have in common (`folds`); None for a run that stands alone."""


@dataclass(frozen=True, slots=True)
class Found:
    units: list[Unit]
    total: int
    """Rows on all pages."""
    runs: int
    """Runs in these."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """What the runs of one folded row say together."""

    runs: int
    seeds: int
    """Different ones."""
    statuses: dict[str, int]
    """How many runs have each, but for those that none has."""
    starred: bool
    """Whether any of them is."""
    run_ids: list[int]
    """Newest first; none where they are more than `MOST_IDS`."""
    summaries: dict[str, Summary]


def page(session: Session, query: Query, *, now: datetime) -> Found:
    """A page beyond the last is the last."""
    return _of_matching(session, query, now) if _narrows(query) else _of_all(session, query)


def _narrows(query: Query) -> bool:
    return bool(query.status or query.q or query.filter)


def _of_all(session: Session, query: Query) -> Found:
    within = listing.archived_is(query.archived)
    leading = within, listed.c.leads == 1
    counted = [select(func.count()).select_from(listed).where(*which) for which in ((within,), leading)]
    runs, total = session.execute(select(*(count.scalar_subquery() for count in counted))).one()
    wanted = select(listed.c.run_id, listed.c.fold).where(*leading)
    wanted = wanted.order_by(*listing.order(query, lambda column: column.folded))
    found = session.execute(wanted.limit(PAGE_SIZE).offset(_start(query, total)))
    return Found([Unit(row.run_id, row.fold) for row in found], total, runs)


def _start(query: Query, total: int) -> int:
    return (min(query.page, max(1, -(-total // PAGE_SIZE))) - 1) * PAGE_SIZE


def _of_matching(session: Session, query: Query, now: datetime) -> Found:
    found = _grouped(session, query, now, func.coalesce(listed.c.fold, listed.c.run_id))
    if found and found[0].again:
        found = _grouped(session, query, now, _unless_of_one_seed(query, now))
    if not found and query.page > 1:
        first = _of_matching(session, replace(query, page=1), now)
        last = max(1, -(-first.total // PAGE_SIZE))
        return first if last == 1 else _of_matching(session, replace(query, page=last), now)
    units = [Unit(row.run_id, row.fold if row.runs > 1 else None) for row in found]
    return Found(units, found[0].total, found[0].matching) if found else Found([], 0, 0)


def _grouped(session: Session, query: Query, now: datetime, unit: ColumnElement[Any]) -> Sequence[Any]:
    """The rows of the page, each with its newest run, its fold and how many runs, and what is to be known of all."""
    said = {sort.key: COLUMNS[sort.key] for sort in query.sorts if folds.are_one(sort.key)}
    values = [_said(column).label(key) for key, column in said.items()]
    newest, runs = func.max(listed.c.run_id).label("newest"), func.count().label("runs")
    several = func.coalesce(func.min(listed.c.seed) < func.max(listed.c.seed), 0).label("several")
    inner = select(newest, runs, several, *values).where(*listing.where(query, now)).group_by(unit).subquery()

    def of(column: Column) -> ColumnElement[Any]:
        return inner.c[column.key] if column.key in said else column.sql

    outer = select(
        listed.c.run_id, listed.c.fold, inner.c.runs,
        func.count().over().label("total"), func.sum(inner.c.runs).over().label("matching"),
        func.max(and_(inner.c.runs > 1, inner.c.several == 0)).over().label("again"),
    )  # fmt: skip
    outer = outer.select_from(inner.join(listed, listed.c.run_id == inner.c.newest)).order_by(*listing.order(query, of))
    return session.execute(outer.limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE)).all()


def _said(column: Column) -> ColumnElement[Any]:
    """By seeds together; a run that stands alone says its own value, however it ended."""
    own: ColumnElement[Any] = func.max(column.sql)
    return case((func.count() == 1, own), else_=grouping.seeds(func.avg(column.sql))) if column.is_measured else own


def _unless_of_one_seed(query: Query, now: datetime) -> ColumnElement[Any]:
    """Runs of one seed, of which no other seed matches, stand alone: they were run again, and are no group of seeds."""
    where = [*listing.where(query, now), listed.c.fold.is_not(None)]
    same = func.coalesce(func.min(listed.c.seed) == func.max(listed.c.seed), 1)
    again = select(listed.c.fold).where(*where).group_by(listed.c.fold).having(same)
    return case((listed.c.fold.in_(again), listed.c.run_id), else_=func.coalesce(listed.c.fold, listed.c.run_id))


def together(
    session: Session, query: Query, units: Sequence[Unit], shown: Sequence[Column], *, now: datetime
) -> dict[int, Seeds]:
    """By fold, of those `units` that are folded; of the columns `shown` those for which not the newest run speaks."""
    wanted = [unit.fold for unit in units if unit.fold is not None]
    if not wanted:
        return {}
    said = [column for column in shown if column.is_measured or column.key == "seed"]
    figures = [figure for column in said for figure in grouping.figures_of(column, grouping.seeds)]
    asked = select(
        listed.c.fold, func.count().label("runs"), func.count(listed.c.seed.distinct()).label("seeds"),
        func.max(listed.c.starred).label("starred"), func.group_concat(listed.c.run_id).label("ids"),
        func.group_concat(listed.c.status).label("statuses"), *figures,
    )  # fmt: skip
    # Found first: SQLite would rather go through all that match and see which of them are wanted.
    members = listed.c.run_id.in_(select(listed.c.run_id).where(listed.c.fold.in_(wanted)))
    matching = listing.where(query, now) if _narrows(query) else []
    asked = asked.where(members, *matching).group_by(listed.c.fold)
    return {row.fold: _seeds(row, said) for row in session.execute(asked)}


def _seeds(row: Row[Any], said: Sequence[Column]) -> Seeds:
    ids = sorted(map(int, row.ids.split(",")), reverse=True) if row.runs <= MOST_IDS else []
    found = Counter(row.statuses.split(","))
    statuses = {str(status): found[status] for status in Status if status in found}
    return Seeds(
        row.runs, row.seeds, statuses, bool(row.starred), ids,
        {column.key: grouping.summary_of(column, row) for column in said},
    )  # fmt: skip
