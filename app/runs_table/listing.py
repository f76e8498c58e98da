"""The table of runs as a query: what stands in its address, which runs that means, and in which order.

    query = Query.of(filter="lr < 0.01", sort="-best_val_accuracy,lr")     raises QueryError by field
    page(session, query, now=...)          the runs of one page
    rows(session, query, now=...)          all of them in the same order, for exports; memory stays flat
    ids(session, query, now=...)           their numbers alone

Everything is asked of the narrow table of `listed`; the runs themselves are then read by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import ColumnElement, UnaryExpression, func, select
from sqlalchemy.orm import Session

from app.models import Run, Status, Tag
from app.runs_table import columns, filters, values
from app.runs_table.columns import Column
from app.runs_table.filters import FilterError
from app.runs_table.listed import listed

PAGE_SIZE = 50
DEFAULT_SORT = "-created_at"
MOST_SORTS, LONGEST_SEARCH, LONGEST_COLS = 6, 200, 3000
BY_TAG = "tag"
ARCHIVED = {"": (0,), "only": (1,), "all": (0, 1)}
"""Which runs an address asks for: those not archived, those archived, both."""
FOLD = ("", "on", "off")
"""Whether the seeds of one configuration are one row of the page; empty: as the reader last chose."""
_BATCH = 500


class QueryError(ValueError):
    """The query cannot be answered; `errors` maps the part of the address to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.errors.items()))


@dataclass(frozen=True, slots=True)
class Sort:
    key: str
    descending: bool

    def __str__(self) -> str:
        return f"-{self.key}" if self.descending else self.key


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs the table shows, and in which order. `sort` is column keys, a minus before the largest-first ones."""

    status: str = ""
    q: str = ""
    """Words that must be in the name or a tag."""
    filter: str = ""
    """In the language of `filters`."""
    sort: str = DEFAULT_SORT
    archived: str = ""
    """A key of `ARCHIVED`."""
    page: int = 1
    group: str = ""
    """A column's key, or tag: its values become the rows."""
    cols: str = ""
    """The columns that the table shows, as `layout` reads them; empty: the reader's own."""
    fold: str = ""
    """One of `FOLD`."""

    @classmethod
    def of(
        cls,
        *,
        status: str = "",
        q: str = "",
        filter: str = "",
        sort: str = "",
        archived: str = "",
        page: int = 1,
        group: str = "",
        cols: str = "",
        fold: str = "",
    ) -> Query:
        """From an address. Raises `QueryError`, which says by part what cannot be read."""
        errors = {}
        by = columns.get(group)
        if group and by is None and group != BY_TAG:
            errors["group"] = f"There is no column “{group[:60]}” to group by."
        if status and status not in list(Status):
            errors["status"] = f"Must be one of {', '.join(Status)}."
        if archived not in ARCHIVED:
            errors["archived"] = "Must be only, all or empty."
        if fold not in FOLD:
            errors["fold"] = "Must be on, off or empty."
        try:
            filters.parse(filter)
        except FilterError as error:
            errors["filter"] = f"{error}."
        try:
            sort = ",".join(map(str, _sorts(sort))) or DEFAULT_SORT
        except ValueError as error:
            errors["sort"] = str(error)
        if errors:
            raise QueryError(errors)
        words, grouped = q.strip()[:LONGEST_SEARCH], by.key if by else group
        page = min(max(1, page), 10**6)
        return cls(status, words, filter.strip(), sort, archived, page, grouped, cols[:LONGEST_COLS], fold)

    @classmethod
    def lenient(cls, **parts: Any) -> tuple[Query, dict[str, str]]:
        """Like `of`, but what cannot be read is left out and told, so that a page can show it beside the rest."""
        try:
            return cls.of(**parts), {}
        except QueryError as error:
            return cls.of(**{name: part for name, part in parts.items() if name not in error.errors}), error.errors

    @classmethod
    def at(cls, address: str) -> Query:
        """From what stands behind the `?` of an address of the table, whatever page it names. Raises `QueryError`."""
        known = {field.name for field in fields(cls)} - {"page"}
        parts: dict[str, Any] = {name: value for name, value in parse_qsl(address.removeprefix("?")) if name in known}
        return cls.of(**parts)

    @property
    def sorts(self) -> list[Sort]:
        return _sorts(self.sort)

    def parts(self) -> dict[str, str]:
        """What an address must say of it: all but the defaults."""
        defaults = Query()
        names = [field.name for field in fields(self)]
        return {name: str(getattr(self, name)) for name in names if getattr(self, name) != getattr(defaults, name)}

    def url(self, path: str = "/runs", **changed: Any) -> str:
        shown = replace(self, **changed).parts()
        return f"{path}?{urlencode(shown)}" if shown else path


def page(session: Session, query: Query, *, now: datetime) -> list[Run]:
    """The runs of the query's page, in two statements (and one for their tags)."""
    wanted = select(listed.c.run_id).where(*where(query, now)).order_by(*order(query))
    found = session.scalars(wanted.limit(PAGE_SIZE).offset((query.page - 1) * PAGE_SIZE)).all()
    return by_ids(session, found)


def rows(session: Session, query: Query, *, now: datetime, limit: int | None = None) -> Iterator[Run]:
    """All runs of the query, or the first `limit`, whatever page it names; read some hundred at a time."""
    wanted = ids(session, query, now=now, limit=limit)
    for start in range(0, len(wanted), _BATCH):
        yield from by_ids(session, wanted[start : start + _BATCH])
        session.expunge_all()


def ids(session: Session, query: Query, *, now: datetime, limit: int | None = None) -> Sequence[int]:
    wanted = select(listed.c.run_id).where(*where(query, now)).order_by(*order(query))
    return session.scalars(wanted.limit(limit)).all()


def by_ids(session: Session, wanted: Sequence[int]) -> list[Run]:
    """In the order asked for; numbers that are no run are left out."""
    found = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(wanted)))}
    return [found[run_id] for run_id in wanted if run_id in found]


def total(session: Session, query: Query, *, now: datetime) -> int:
    return session.scalar(select(func.count()).select_from(listed).where(*where(query, now))) or 0


def counts(session: Session, archived: str = "") -> dict[str, int]:
    """Runs by status, and of all."""
    counted = select(listed.c.status, func.count().label("runs")).where(archived_is(archived))
    found = {row.status: row.runs for row in session.execute(counted.group_by(listed.c.status))}
    return {"all": sum(found.values())} | {str(status): found.get(status, 0) for status in Status}


def where(query: Query, now: datetime) -> list[ColumnElement[bool]]:
    """The query as conditions on `listed`, for who selects something else of the same runs."""
    found = [archived_is(query.archived)]
    if query.status:
        found.append(listed.c.status == query.status)
    for word in query.q.split():
        tagged = select(Tag.run_id).where(Tag.name.contains(word, autoescape=True))
        found.append(listed.c.name.contains(word, autoescape=True) | listed.c.run_id.in_(tagged))
    if query.filter:
        found.append(filters.parse(query.filter, now=now))
    return found


def order(
    query: Query, of: Callable[[Column], ColumnElement[Any]] = lambda column: column.sql
) -> list[UnaryExpression[Any]]:
    """What is empty comes last either way; among equals the direction of the last sort decides, by number.

    `of` says what stands for a column, where it is not the run's own value.
    """
    sorts = query.sorts or _sorts(DEFAULT_SORT)
    found = [_directed(of(columns.COLUMNS[sort.key]), sort.descending).nulls_last() for sort in sorts]
    return [*found, _directed(listed.c.run_id, sorts[-1].descending)]


def _directed(sql: ColumnElement[Any], descending: bool) -> UnaryExpression[Any]:
    return sql.desc() if descending else sql.asc()


def archived_is(archived: str) -> ColumnElement[bool]:
    wanted = ARCHIVED[archived]
    return listed.c.archived == wanted[0] if len(wanted) == 1 else listed.c.archived.in_(wanted)


def _sorts(text: str) -> list[Sort]:
    """Raises ValueError with a sentence. A column named twice counts where it stands first."""
    found: dict[str, Sort] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = part.removeprefix("-")
        column = columns.get(name)
        if column is None:
            near = values.nearest(name, [*columns.COLUMNS, *columns.ALIASES])
            hint = f"; did you mean {near}?" if near else "."
            raise ValueError(f"There is no column “{name[:60]}” to sort by{hint}")
        found.setdefault(column.key, Sort(column.key, part.startswith("-")))
    if len(found) > MOST_SORTS:
        raise ValueError(f"A table is sorted by at most {MOST_SORTS} columns.")
    return list(found.values())
