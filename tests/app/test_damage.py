"""A database whose damage shows only when it is used: said in words with the way out, by pages and by the API."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app import runs
from app.db import Database
from app.main import create_app
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.config import Settings
    from tests.conftest import FakeClock


@pytest.fixture
def damaged(home_with_data: Settings, db: Database, clock: FakeClock) -> Iterator[TestClient]:
    """A server that started well on a database of which one page, that of the runs, is noise."""
    with db.write() as session:
        runs.submit(session, TrainConfig(), now=clock())
    db.close()
    overwrite_page_of("runs", home_with_data.database)
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        yield client


def overwrite_page_of(table: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_a_damaged_database_is_told_with_the_way_out_and_never_called_busy(damaged: TestClient):
    for path in ("/runs/1", "/api/v1/runs/1"):
        answer = damaged.get(path)
        assert answer.status_code == 500, path
        assert "The database is damaged" in answer.text
        assert "fitroom restore" in answer.text
        assert "retry-after" not in answer.headers
    assert damaged.post("/api/v1/runs", json={"epochs": 1}).status_code == 500


def test_a_server_with_a_damaged_database_lives_and_is_not_ready(damaged: TestClient):
    assert damaged.get("/healthz").status_code == 200
    answer = damaged.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["ok"] is False
