"""The table's filter: `lr < 0.01 and (tag = sweep or not status = failed)` becomes an expression of SQL.

    filters.parse(text, now=...)     over the table of `listed`; raises `FilterError(place, message)`
    filters.read(text)               its tree (`filter_language`), for taking it apart and writing it anew

Nothing is evaluated: columns come from `columns`, values are bound. `~` asks whether a text contains another,
whatever the case (of ASCII's letters, as SQLite's LIKE does it).
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, func, not_, or_, select, true

from app.models import Run, Tag
from app.runs_table import columns, values
from app.runs_table.columns import Column
from app.runs_table.filter_language import (
    Both,
    Comparison,
    Either,
    FilterError,
    Node,
    Not,
    joined,
    parts,
    quoted,
    read,
)
from app.runs_table.folding import WHOLE_KEY
from app.runs_table.listed import listed
from app.runs_table.values import ValueProblem

__all__ = ["Both", "Comparison", "Either", "FilterError", "Node", "Not", "joined", "parse", "parts", "quoted", "read"]


def parse(text: str, *, now: datetime | None = None) -> ColumnElement[bool]:
    """The filter as SQL over `listed`; an empty one lets everything through. Raises `FilterError`."""
    tree = read(text)
    return true() if tree is None else _sql(tree, now or datetime.now(UTC))


def _sql(node: Node, now: datetime) -> ColumnElement[bool]:
    match node:
        case Both(found):
            return and_(*(_sql(part, now) for part in found))
        case Either(found):
            return or_(*(_sql(part, now) for part in found))
        case Not(part):
            # What is empty compares with nothing; of "not", it is among the rest.
            return not_(func.coalesce(_sql(part, now), 0))
        case Comparison():
            try:
                return _compare(node, now)
            except ValueProblem as problem:
                raise FilterError(node.place, str(problem)) from problem


def _compare(node: Comparison, now: datetime) -> ColumnElement[bool]:
    match node.column:
        case "tag":
            return _tagged(node)
        case "notes":
            return _noted(node)
        case "archived":
            column = Column("archived", "Archived", "flag", listed.c.archived, lambda _: None)
        case _:
            column = columns.COLUMNS[node.column]
    return _compare_column(column, node, now)


def _compare_column(column: Column, node: Comparison, now: datetime) -> ColumnElement[bool]:
    sql, operator = column.sql, node.operator
    match operator:
        case "is empty":
            return sql.is_(None)
        case "is not empty":
            return sql.is_not(None)
        case "~" | "!~":
            if column.kind not in ("text", "choice"):
                raise ValueProblem(f"{column.key} is no text: compare it with =, < or >")
            found = sql.contains(node.words[0], autoescape=True)
            return not_(func.coalesce(found, 0)) if operator == "!~" else found
        case "in" | "not in":
            typed = [values.typed(column, word, now) for word in node.words]
            inside = or_(*(_equal(column, value) for value in typed))
            return not_(func.coalesce(inside, 0)) if operator == "not in" else inside
    value = values.typed(column, node.words[0], now)
    if operator == "=":
        return _equal(column, value)
    if operator == "!=":
        return not_(func.coalesce(_equal(column, value), 0))
    if column.kind in ("choice", "flag"):
        raise ValueProblem(f"{column.key} has no order: compare it with = or !=")
    return _ordered(column, operator, value)


def _equal(column: Column, value: values.Value) -> ColumnElement[bool]:
    if isinstance(value, values.Span):
        if value.start == value.end:
            raise ValueProblem(
                f"{column.key} is hardly ever exactly then: compare it with < or >, as {column.key} > 7d"
            )
        return and_(column.sql >= value.start, column.sql < value.end)
    if column.key == "config_key" and isinstance(value, str) and len(value) < WHOLE_KEY:
        return column.sql.startswith(value, autoescape=True)
    return column.sql == value


def _ordered(column: Column, operator: str, value: values.Value) -> ColumnElement[bool]:
    """A day or an hour has a beginning and an end: after it is from its end on, up to it includes it."""
    start, end = (value.start, value.end) if isinstance(value, values.Span) else (value, value)
    span = isinstance(value, values.Span)
    match operator:
        case "<":
            return column.sql < start
        case "<=":
            return column.sql < end if span else column.sql <= end
        case ">":
            return column.sql >= end if span else column.sql > start
        case _:
            return column.sql >= start


def _tagged(node: Comparison) -> ColumnElement[bool]:
    wanted: ColumnElement[bool]
    match node.operator:
        case "=" | "!=" | "in" | "not in":
            wanted = Tag.name.in_(node.words)
        case "~" | "!~":
            wanted = Tag.name.contains(node.words[0], autoescape=True)
        case "is empty" | "is not empty":
            wanted = Tag.name.is_not(None)
        case _:
            raise ValueProblem("tag has no order: compare it with =, != or ~")
    found = listed.c.run_id.in_(select(Tag.run_id).where(wanted))
    return not_(found) if node.operator in ("!=", "not in", "!~", "is empty") else found


def _noted(node: Comparison) -> ColumnElement[bool]:
    wanted: ColumnElement[bool]
    match node.operator:
        case "~" | "!~":
            wanted = Run.notes.contains(node.words[0], autoescape=True)
        case "is empty" | "is not empty":
            wanted = Run.notes != ""
        case _:
            raise ValueProblem("notes are searched by ~, as in notes ~ “better”")
    found = listed.c.run_id.in_(select(Run.id).where(wanted))
    return not_(found) if node.operator in ("!~", "is empty") else found
