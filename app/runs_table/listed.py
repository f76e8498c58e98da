"""The narrow table beside `runs`: a row per run with all that the table of runs filters, sorts and groups by.

A run's own row holds its settings as JSON, some two kilobytes; to go through ten thousand of them takes longer than a
page may. Here a row takes a tenth of that, and each column has an index. SQLite itself keeps it up, by triggers on
`runs`, so that no writer can forget it. It is derived: `sync` makes it anew whenever this module, or the settings of a
run, say something else than the database holds. A new hyper-parameter therefore needs no migration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Computed, Connection, Float, ForeignKey, Index, Integer, String, Table, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from app.db import UtcDateTime
from app.models import Base
from app.runs_table import folds
from trainer.config import OPTIONS
from trainer.options import Option


@dataclass(frozen=True, slots=True)
class Derived:
    """One column: `sql` says how it comes out of a row of `runs`, which it calls `run`."""

    name: str
    type: Any
    sql: str


_LAST_SEEN = "coalesce(run.finished_at, run.epoch_finished_at)"


def _same(type_: Any, *names: str) -> list[Derived]:
    return [Derived(name, type_, f"run.{name}") for name in names]


def _facts(type_: Any, *names: str) -> list[Derived]:
    return [Derived(name, type_, f"json_extract(run.facts, '$.{name}')") for name in names]


ABOUT = (
    *_same(Integer, "archived", "starred", "attempt"),
    *_same(String, "name", "status", "reason", "source", "config_key"),
    *_same(UtcDateTime, "created_at", "started_at", "finished_at"),
    *_facts(Integer, "parameters", "train_samples", "flops_per_image"),
    *_facts(String, "device_name"),
)
RESULTS = (
    *_same(Integer, "epochs_done", "best_epoch"),
    *_same(Float, "best_val_accuracy", "val_accuracy", "val_loss", "train_accuracy", "train_loss"),
    *_same(Float, "images_per_s", "epoch_seconds"),
    # Of a run that still goes on: up to its last epoch.
    Derived("duration_s", Float, f"round(max(0, julianday({_LAST_SEEN}) - julianday(run.started_at)) * 86400, 3)"),
)
"""What changes with every epoch: a trigger of its own, so that no other index is touched then."""
_TYPES = {"integer": Integer, "boolean": Integer, "number": Float}


def _setting(option: Option) -> Derived:
    """A hyper-parameter; NULL where it means nothing beside the others."""
    value = _config(option.name)
    if option.applies is not None:
        name, values = option.applies
        other = _config(name)
        words = [word.replace("'", "''") for word in values]
        means = " OR ".join(f"{other} = '{word}' OR {other} LIKE '{word}:%'" for word in words)
        value = f"CASE WHEN {means} THEN {value} END"
    return Derived(option.name, _TYPES.get(option.kind, String), value)


def _config(name: str) -> str:
    return f"json_extract(run.config, '$.{name}')"


SETTINGS = tuple(_setting(option) for option in OPTIONS.values())
DERIVED = (*ABOUT, *RESULTS, *SETTINGS)

listed = Table(
    "listed",
    Base.metadata,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    *(Column(item.name, item.type) for item in DERIVED),
    Column("fold", Integer),
    Column("leads", Integer, nullable=False, server_default="1"),
    *(Column(name, Float) for name in folds.stored()),
    *(Column(name, Float, Computed(sql, persisted=False)) for name, sql in folds.computed().items()),
)
"""`run_id`, the columns of `DERIVED`, and those of `folds`."""
# Archived runs are left out of nearly every question, so each index begins with that; it ends with the run's number,
# as every index of SQLite does, which makes the order of equals certain.
for _item in DERIVED:
    if _item.name not in ("archived", "config_key"):
        Index(f"ix_listed_{_item.name}", listed.c.archived, listed.c[_item.name])
Index(
    "ix_listed_folding",
    *(listed.c[name] for name in ("archived", "config_key", "best_val_accuracy", "val_accuracy", "val_loss", "seed")),
)
"""The runs of one configuration, whose means come out of an index alone."""
Index("ix_listed_fold", listed.c.fold)
for _name in ("created_at", *folds.computed()):
    Index(f"ix_listed_leads_{_name}", listed.c.archived, listed.c.leads, listed.c[_name])
Index("ix_listed_newest", listed.c.archived, listed.c.status, listed.c.created_at)
"""The newest runs of one status: what the tabs above the table show."""


def sync(connection: Connection) -> None:
    """Make the table anew where the database holds another one than this module says. Inside a transaction."""
    if not in_step(connection):
        drop(connection)
        filling = (_insert(_values("runs"), "FROM runs"), *folds.fold_all())
        for statement in (*_tables(), *filling, *_triggers()):
            connection.exec_driver_sql(statement)


def in_step(connection: Connection) -> bool:
    """Whether the database holds what this module says."""
    found = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE name = 'listed' OR name LIKE 'ix_listed_%' OR name LIKE 'listed_%'")
    )
    return {row.sql for row in found} == {*_tables(), *_triggers()}


def drop(connection: Connection) -> None:
    """Take table and triggers away, so that a migration may change `runs` as it likes; `sync` brings them back."""
    found = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'listed_%'")
    for name in connection.scalars(found).all():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    connection.exec_driver_sql("DROP TABLE IF EXISTS listed")


_SQLITE = sqlite.dialect()


def _tables() -> Iterator[str]:
    """As SQLite keeps them: without the line breaks around."""
    yield str(CreateTable(listed).compile(dialect=_SQLITE)).strip()
    for index in sorted(listed.indexes, key=lambda index: str(index.name)):
        yield str(CreateIndex(index).compile(dialect=_SQLITE)).strip()


def _triggers() -> Iterator[str]:
    yield f"CREATE TRIGGER listed_insert AFTER INSERT ON runs BEGIN {_insert(_values('NEW'))}; END"
    for name, columns in (("about", ABOUT), ("results", RESULTS), ("settings", SETTINGS)):
        yield _on_update(f"listed_{name}", columns)
    yield from folds.triggers()


def _on_update(name: str, columns: Sequence[Derived]) -> str:
    sources = sorted({source for item in columns for source in re.findall(r"run\.(\w+)", item.sql)})
    changes = ", ".join(f"{item.name} = {_of(item, 'NEW')}" for item in columns)
    update = f"UPDATE listed SET {changes} WHERE run_id = NEW.id"  # noqa: S608 - nothing of a person's
    return f"CREATE TRIGGER {name} AFTER UPDATE OF {', '.join(sources)} ON runs BEGIN {update}; END"


def _insert(values: str, source: str = "") -> str:
    names = ", ".join(item.name for item in DERIVED)
    return f"INSERT INTO listed (run_id, {names}) SELECT {values} {source}".strip()


def _values(row: str) -> str:
    return ", ".join([f"{row}.id", *(_of(item, row) for item in DERIVED)])


def _of(item: Derived, row: str) -> str:
    return item.sql.replace("run.", f"{row}.")
