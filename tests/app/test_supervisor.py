"""Workers are kept running and ended, whatever stands in the way."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from app.db import Database
from app.schema import migrate
from app.supervisor import Supervisor, workers_of
from tests.faults.zygote import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.config import Settings


@pytest.fixture
def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that waits for no lock."""
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    migrate(settings.database)
    db = Database(settings.database)
    yield db
    db.close()


def test_a_worker_that_cannot_be_started_is_tried_again_and_the_watch_goes_on(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    supervisor = Supervisor(db, settings, parent=os.getpid())
    with monkeypatch.context() as crowded:
        # More than an environment may hold: no process can be started.
        crowded.setenv("CROWDED", "x" * 200_000)
        supervisor.start()
        wait_until(lambda: "no worker could be started" in caplog.text, "a start has failed")
    wait_until(lambda: len(workers_of(settings.home)) == 1, "a worker is started after all")
    supervisor.stop()
    assert not workers_of(settings.home)


def test_all_workers_are_ended_although_what_they_held_cannot_be_freed_now(
    settings: Settings, impatient: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.supervisor.STOP_GRACE_S", 0.1)
    two = settings.model_copy(update={"workers": 2})
    supervisor = Supervisor(impatient, two, parent=os.getpid())
    supervisor.start()
    wait_until(lambda: len(workers_of(settings.home)) == 2, "both workers are there")
    for worker in workers_of(settings.home):
        worker.suspend()  # so that they do not hear that they are to end
    with closing(sqlite3.connect(settings.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        supervisor.stop()
    assert not workers_of(settings.home)
