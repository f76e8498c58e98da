"""Brings the database to the newest migration, and refuses one that it does not understand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DatabaseError, OperationalError

from app.config import ROOT
from app.db import Database
from app.keeping.locks import cannot_write
from app.refusal import Refusal
from app.runs_table import listed

_OURS = re.compile(r"[0-9]{4}")
"""How Fitroom's migrations are called; those of other programs that use Alembic have other names."""


class SchemaError(Refusal):
    """The database cannot be used as it is; the message says what to do."""


class _Foreign(Exception):
    """It has tables, and they are not Fitroom's."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    current: str | None
    """The migration that the database stands at; None for an empty or absent one."""
    head: str
    """The newest migration of this version of Fitroom."""

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def schema_state(database: Path) -> SchemaState:
    """Where the database stands; creates nothing.

    Raises `SchemaError` for a file that is no SQLite database or another program's, `HomeError` for one that cannot
    be opened because its folder cannot be written.
    """
    return SchemaState(_current(database), _scripts().get_current_head() or "")


def known_state(database: Path) -> SchemaState:
    """The same, and raises `SchemaError` too for a database that a newer Fitroom has written."""
    state = schema_state(database)
    known = {script.revision for script in _scripts().walk_revisions()}
    if state.current is not None and state.current not in known:
        raise SchemaError(
            f"{database} was written by a newer Fitroom (migration {state.current}, newest known {state.head}). "
            "Update Fitroom, or name another FITROOM_HOME."
        )
    return state


def migrate(database: Path) -> None:
    """Upgrade to the newest migration, all or nothing; two processes at once wait for each other.

    Raises `SchemaError` for a corrupt database, for another program's and for one that a newer Fitroom has written,
    `HomeError` where its folder cannot be written.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(database.parent, error) from error
    if known_state(database).up_to_date and _in_step(database):
        return
    _must_be_writable(database)
    _upgrade(database)


def must_exist(database: Path) -> None:
    """Raises `SchemaError` where there is no database: who only looks must not make one under a mistyped name."""
    if not database.exists():
        raise SchemaError(
            f"There is no database in {database.parent}. If it is elsewhere, name its folder in FITROOM_HOME; "
            "`fitroom serve` makes a new one."
        )


@contextmanager
def opened(path: Path, *, existing: bool = False) -> Iterator[Database]:
    """The database at its newest migration, closed at the end of the block.

    Raises as `migrate` does; where it has to be an `existing` one, as `must_exist` does too.
    """
    if existing:
        must_exist(path)
    migrate(path)
    db = Database(path)
    try:
        yield db
    finally:
        db.close()


def _upgrade(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 60, "isolation_level": None})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            # Everything in one transaction: a process killed half-way leaves the version before. It is taken
            # before Alembic looks at the version, so the second of two processes finds the work done.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config = _alembic()
            config.attributes["connection"] = connection
            try:
                # Migrations see `runs` without what is derived from it, and what is derived is made from the result.
                if _current_of(connection) != _scripts().get_current_head():
                    listed.drop(connection)
                    command.upgrade(config, "head")
                listed.sync(connection)
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def _current(database: Path) -> str | None:
    if not database.exists():
        return None
    with _looking_at(database) as connection:
        return _current_of(connection)


def _in_step(database: Path) -> bool:
    with _looking_at(database) as connection:
        return listed.in_step(connection)


def _current_of(connection: Connection) -> str | None:
    """Raises `_Foreign`."""
    tables = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
    if "alembic_version" not in tables:
        if tables:
            raise _Foreign
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and not _OURS.fullmatch(version):
        raise _Foreign
    return version


@contextmanager
def _looking_at(database: Path) -> Iterator[Connection]:
    """A connection that changes nothing. Raises `SchemaError` or `HomeError` where it cannot be had."""
    engine = create_engine(f"sqlite:///file:{database}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        # Even to read, SQLite needs files of its own beside a database in WAL mode.
        _must_be_writable(database)
        raise SchemaError(f"{database} cannot be opened: {error.orig}.") from error
    except DatabaseError as error:
        raise SchemaError(
            f"{database} cannot be read ({error.orig}). "
            "Put a backup in its place (move it away, then `fitroom restore FILE`), or move it away to start with "
            "an empty one."
        ) from error
    except _Foreign:
        raise SchemaError(
            f"{database} is another program's database. Name another FITROOM_HOME, or move the file away."
        ) from None
    finally:
        engine.dispose()


def _must_be_writable(database: Path) -> None:
    if not os.access(database.parent, os.W_OK):
        raise cannot_write(database.parent)


def _alembic() -> Config:
    return Config(ROOT / "alembic.ini")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_alembic())
