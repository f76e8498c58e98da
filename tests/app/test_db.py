"""What a transaction promises."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db import ChangeDetector, Database
from app.models import Run

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

NORMAL, FULL = 1, 2


def synchronous(session: Session) -> int:
    found: int = session.execute(text("PRAGMA synchronous")).scalar_one()
    return found


def test_what_must_survive_a_loss_of_power_waits_for_the_disk_and_the_rest_does_not(db: Database):
    for durable, level in ((True, FULL), (False, NORMAL), (True, FULL)):
        with db.write(durable=durable) as session:
            assert synchronous(session) == level


def test_who_reads_cannot_write(db: Database):
    with pytest.raises(OperationalError, match="readonly"), db.read() as session:
        session.execute(text("DELETE FROM runs"))


def test_what_is_read_in_a_write_stays_true_until_it_commits(db: Database, monkeypatch: pytest.MonkeyPatch):
    """The lock is taken at the start of the block, not at its first change."""
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    other = Database(db.path)
    with db.write() as session:
        assert session.query(Run).count() == 0
        with pytest.raises(OperationalError, match="locked"), other.write():
            pass
    other.close()


def test_a_writer_that_waits_too_long_for_another_of_its_process_gives_up(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    refused: list[OperationalError] = []

    def wait() -> None:
        try:
            with db.write():
                pass
        except OperationalError as error:
            refused.append(error)

    with db.write():
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join()
    assert len(refused) == 1
    with db.write() as session:
        assert session.query(Run).count() == 0


def test_a_look_for_changes_does_not_wait_for_a_lock_and_misses_nothing(tmp_path: Path):
    path = tmp_path / "rollback.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer, closing(ChangeDetector(path)) as changes:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("CREATE TABLE made (id INTEGER)")
        begun = time.monotonic()
        assert changes.changed() is False
        assert time.monotonic() - begun < 1
        writer.execute("COMMIT")
        assert changes.changed() is True
