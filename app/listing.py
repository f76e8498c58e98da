"""The table of runs as a query: filter by status, search by name and tag, sort by any column, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.orm import Session

from app.db import UtcDateTime
from app.models import Run, Status, Tag

PAGE_SIZE = 50
DEFAULT_SORT = "-created"


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    label: str
    numeric: bool = True


COLUMNS = (
    Column("name", "Name", numeric=False),
    Column("status", "Status", numeric=False),
    Column("arch", "Network", numeric=False),
    Column("optimizer", "Optimizer", numeric=False),
    Column("lr", "LR"),
    Column("batch_size", "Batch"),
    Column("epochs", "Epochs"),
    Column("best_val_accuracy", "Best acc"),
    Column("val_accuracy", "Last acc"),
    Column("train_loss", "Train loss"),
    Column("val_loss", "Val loss"),
    Column("duration_s", "Duration"),
    Column("started_at", "Started"),
)
_SORTS = {column.key for column in COLUMNS} | {"created"}


@dataclass(frozen=True, slots=True)
class Query:
    """What the table shows. `sort` is a column's key, with a minus before it for the largest first."""

    status: str = ""
    q: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1

    @classmethod
    def of(cls, *, status: str = "", q: str = "", sort: str = "", page: int = 1) -> Query:
        """From a URL: what means nothing falls back to its default, so that an old link still opens."""
        known = status if status in list(Status) else ""
        sort = sort if sort.removeprefix("-") in _SORTS else DEFAULT_SORT
        return cls(known, q.strip()[:200], sort, min(max(1, page), 10**6))

    def url(self, path: str = "/runs", **changed: Any) -> str:
        values = {"status": self.status, "q": self.q, "sort": self.sort, "page": self.page} | changed
        defaults = {"status": "", "q": "", "sort": DEFAULT_SORT, "page": 1}
        shown = {name: value for name, value in values.items() if value != defaults[name]}
        return f"{path}?{urlencode(shown)}" if shown else path

    def columns(self) -> list[dict[str, Any]]:
        """The headings: each links to its own sort, the active one to the reverse."""
        return [self._heading(column) for column in COLUMNS]

    def _heading(self, column: Column) -> dict[str, Any]:
        active, descending = self.sort.removeprefix("-") == column.key, self.sort.startswith("-")
        # The first click on a number shows the largest, on a text the first of the alphabet.
        turned = not descending if active else column.numeric
        return {
            "key": column.key,
            "label": column.label,
            "numeric": column.numeric,
            "sort_url": self.url(sort=f"-{column.key}" if turned else column.key, page=1),
            "aria_sort": ("descending" if descending else "ascending") if active else None,
        }


def rows(session: Session, query: Query, *, now: datetime) -> Sequence[Run]:
    key = query.sort.removeprefix("-")
    order = _sort_key(key, now)
    ordered = order.desc().nulls_last() if query.sort.startswith("-") else order.asc().nulls_last()
    found = _where(select(Run), query).order_by(ordered, Run.id.desc())
    return session.scalars(found.limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE)).all()


def total(session: Session, query: Query) -> int:
    return session.scalar(_where(select(func.count()).select_from(Run), query)) or 0


def counts(session: Session) -> dict[str, int]:
    """Runs by status, and of all."""
    found = {row.status: row.runs for row in session.execute(_COUNTS)}
    return {"all": sum(found.values())} | {str(status): found.get(status, 0) for status in Status}


_COUNTS = select(Run.status, func.count().label("runs")).group_by(Run.status)


def _where(statement: Select[Any], query: Query) -> Select[Any]:
    if query.status:
        statement = statement.where(Run.status == query.status)
    for word in query.q.split():
        tagged = select(Tag.run_id).where(Tag.name.icontains(word, autoescape=True))
        statement = statement.where(Run.name.icontains(word, autoescape=True) | Run.id.in_(tagged))
    return statement


def _sort_key(key: str, now: datetime) -> ColumnElement[Any]:
    match key:
        case "created":
            return Run.id.expression
        case "name":
            return func.lower(Run.name)
        case "duration_s":
            end = func.coalesce(Run.finished_at, literal(now, UtcDateTime()))
            return func.julianday(end) - func.julianday(Run.started_at)
        case _:
            column: ColumnElement[Any] = getattr(Run, key)
            return column
