"""The only place that knows which database it is: SQLite in WAL mode.

Reads and the one write path are apart. A process holds many reading connections and exactly one that writes,
so writers inside a process wait for each other in order and SQLite's lock is only met between processes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, Engine, create_engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

BUSY_TIMEOUT_S = 10.0
READERS, READERS_AT_ONCE = 8, 48
"""Reading connections that stay open, and how many there are at most."""
CACHE_KIB = 8000
"""Of each connection: all that a question goes through of ten thousand runs. Grouping them took 22 ms with SQLite's
own 2 MB, and takes 15."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime in Python, naive UTC text in SQLite (so that it sorts and reads as it should)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs its time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def as_stored(instant: datetime) -> str:
    """What `UtcDateTime` makes of it, for who writes without SQLAlchemy."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


@contextmanager
def plainly(session: Session) -> Iterator[sqlite3.Connection]:
    """SQLite's own driver within the transaction of a session, which forgets what it has read."""
    session.flush()
    connection: sqlite3.Connection = session.connection().connection.driver_connection  # type: ignore[assignment]
    yield connection
    session.expire_all()


class Database:
    """Sessions on one SQLite file: `read()` sees a snapshot and cannot write, `write()` is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers = _engine(path, lambda: ["BEGIN"], query_only=True, pool_size=READERS, at_most=READERS_AT_ONCE)
        self._writer = _engine(path, self._begin_writing, query_only=False, pool_size=1, at_most=1)
        self._write_lock = threading.Lock()
        self._durable = True

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on a snapshot of the database: whatever is read in it belongs together.

        Its first question raises `sqlalchemy.exc.TimeoutError` where no connection is free within `BUSY_TIMEOUT_S`.
        """
        with Session(self._readers, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """One transaction, committed at the end of the block and rolled back when it raises.

        It takes the write lock at its start (BEGIN IMMEDIATE), so what it reads stays true until it commits. When it
        is `durable` it is on disk then, with all before it; otherwise a loss of power, but no crash, may undo it.
        Raises `OperationalError` where the lock is not to be had within `BUSY_TIMEOUT_S`.
        """
        with self._alone(durable), Session(self._writer, expire_on_commit=False) as session, session.begin():
            # The lock is taken now, whatever the block does first.
            session.connection()
            yield session

    @contextmanager
    def write_plainly(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Like `write`, with SQLite's own driver, for `app.recording`."""
        # What goes back into the pool before its commit is rolled back there.
        with self._alone(durable), closing(self._writer.raw_connection()) as pooled:
            connection: sqlite3.Connection = pooled.driver_connection  # type: ignore[assignment]
            try:
                for statement in self._begin_writing():
                    connection.execute(statement)
                yield connection
                connection.commit()
            except sqlite3.OperationalError as error:
                raise OperationalError("a write", None, error) from error

    @contextmanager
    def _alone(self, durable: bool) -> Iterator[None]:
        """No other thread of this process writes."""
        if not self._write_lock.acquire(timeout=BUSY_TIMEOUT_S):
            raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))
        try:
            self._durable = durable
            yield
        finally:
            self._write_lock.release()

    def _begin_writing(self) -> list[str]:
        # In WAL mode NORMAL leaves the commit in the system's memory, FULL waits for the disk.
        return [f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}", "BEGIN IMMEDIATE"]

    def close(self) -> None:
        self._readers.dispose()
        self._writer.dispose()


class ChangeDetector:
    """Tells cheaply whether anybody has committed since the last look, by SQLite's `data_version`.

    The pragma changes when *another* connection commits, so this one is its own and never writes.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._seen = self._version()
        # Who looks from an event loop must not wait for a lock.
        self._connection.execute("PRAGMA busy_timeout=0")

    def changed(self) -> bool:
        """False where it cannot be told now: the next look then tells what this one has missed."""
        try:
            version = self._version()
        except sqlite3.OperationalError:
            return False
        before, self._seen = self._seen, version
        return version != before

    def close(self) -> None:
        self._connection.close()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _engine(
    path: Path, begin: Callable[[], Sequence[str]], *, query_only: bool, pool_size: int, at_most: int
) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=pool_size,
        max_overflow=at_most - pool_size,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver must not begin transactions by itself: the `begin` hook below says which kind.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KIB}",
            f"query_only={int(query_only)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        for statement in begin():
            connection.exec_driver_sql(statement)

    return engine
