"""How what training tells is written: which commits wait for the disk, and that a write is whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import metrics, recording, runs
from app.db import Database
from app.models import Change, Epoch, StepBlock
from app.runs import Claim, ClaimLost
from tests.app import factories

if TYPE_CHECKING:
    from tests.conftest import FakeClock
    from trainer.events import EpochDone, Steps


@pytest.fixture
def held(db: Database, clock: FakeClock) -> Claim:
    return factories.claimed(db, clock)


@pytest.fixture
def statements(db: Database) -> list[str]:
    """Every statement that the writing connection executes from now on."""
    seen: list[str] = []
    with db.write_plainly(durable=False) as connection:
        connection.set_trace_callback(seen.append)
    seen.clear()
    return seen


def test_an_epoch_waits_for_the_disk_and_the_losses_of_its_steps_do_not(
    db: Database, clock: FakeClock, held: Claim, statements: list[str]
):
    for event, level in (
        (factories.steps(1, 0, 0.5), "NORMAL"),
        (factories.epoch(1), "FULL"),
        (factories.steps(2, 0, 0.5), "NORMAL"),
    ):
        statements.clear()
        recording.tell(db, held, event, now=clock())
        assert statements[:2] == [f"PRAGMA synchronous={level}", "BEGIN IMMEDIATE"]
        assert statements[-1] == "COMMIT"


@pytest.mark.parametrize("event", [factories.steps(1, 0, 0.5), factories.epoch(1)])
def test_who_lost_the_run_writes_nothing_and_who_holds_it_writes_next(
    db: Database, clock: FakeClock, held: Claim, event: Steps | EpochDone
):
    with db.write() as session:
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
        again = runs.claim(session, "w2", now=clock())
    assert again is not None
    with db.read() as session:
        before = metrics.cursor(session)
    with pytest.raises(ClaimLost):
        recording.tell(db, held, event, now=clock())
    with db.read() as session:
        assert metrics.cursor(session) == before
        assert session.query(StepBlock).count() + session.query(Epoch).count() == 0
    recording.tell(db, again, event, now=clock())
    with db.read() as session:
        assert session.query(StepBlock).count() + session.query(Epoch).count() == 1


def test_a_write_that_fails_half_way_leaves_nothing(db: Database, clock: FakeClock, held: Claim):
    """The journal refuses the line of the log, the last thing that an epoch writes."""
    recording.tell(db, held, factories.steps(1, 0, 0.9), now=clock())
    recording.tell(db, held, factories.steps(1, 1, 0.8), now=clock())
    with closing(sqlite3.connect(db.path)) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON changes WHEN NEW.kind = 'log' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="full"):
            recording.tell(db, held, factories.epoch(1), now=clock())
        with db.read() as session:
            assert [block.losses for block in metrics.steps(session, held.run_id)] == [[0.9], [0.8]]
            assert session.query(Epoch).count() == 0
            assert runs.get(session, held.run_id).epochs_done == 0
        other.execute("DROP TRIGGER full")
        recording.tell(db, held, factories.epoch(1), now=clock())
    with db.read() as session:
        assert [block.losses for block in metrics.steps(session, held.run_id)] == [[0.9, 0.8]]
        assert runs.get(session, held.run_id).epochs_done == 1


def test_a_locked_database_is_told_as_any_other_write_tells_it(
    db: Database, clock: FakeClock, held: Claim, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.db.BUSY_TIMEOUT_S", 0.1)
    with closing(Database(db.path)) as impatient, closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            recording.tell(impatient, held, factories.epoch(1), now=clock())
        other.execute("ROLLBACK")
        recording.tell(impatient, held, factories.epoch(1), now=clock())


def test_events_are_stored_alike_alone_and_within_a_session(db: Database, clock: FakeClock, held: Claim):
    """Their instants too, which the driver writes as text."""
    other = factories.claimed(db, clock)
    events = [factories.started(), factories.steps(1, 0, 0.9, 0.8), factories.steps(1, 2, 0.7), factories.epoch(1)]
    for event in events:
        recording.tell(db, held, event, now=clock())
        with db.write() as session:
            recording.record(session, other, event, now=clock())
    with db.read() as session:
        (one, two) = ([row_of(epoch) for epoch in metrics.epochs(session, claim.run_id)] for claim in (held, other))
        assert one == two
        for claim in (held, other):
            query = select(Change.at).where(Change.run_id == claim.run_id, Change.kind.in_(["epoch", "steps", "log"]))
            assert set(session.scalars(query)) == {clock()}
        assert one[0]["finished_at"].timestamp() == factories.epoch(1).finished_at


def row_of(epoch: Epoch) -> dict[str, object]:
    return {column.name: getattr(epoch, column.name) for column in Epoch.__table__.columns if column.name != "run_id"}


def test_an_older_epoch_that_is_done_again_leaves_the_newest_ones_results_in_the_runs_row(
    db: Database, clock: FakeClock, held: Claim
):
    for number, accuracy in ((1, 0.7), (2, 0.9), (3, 0.8)):
        recording.tell(db, held, factories.epoch(number, val_accuracy=accuracy), now=clock())
    recording.tell(db, held, replace(factories.epoch(2, val_accuracy=0.6), seconds=9.0), now=clock())
    with db.read() as session:
        run = runs.get(session, held.run_id)
    assert (run.epochs_done, run.best_epoch, run.best_val_accuracy) == (3, 3, 0.8)
    assert (run.val_accuracy, run.epoch_seconds) == (0.8, 2.0)


def test_an_epoch_takes_as_many_statements_late_in_a_run_as_early(
    db: Database, clock: FakeClock, held: Claim, statements: list[str]
):
    counts = []
    for number in range(1, 31):
        for place in range(4):
            recording.tell(db, held, factories.steps(number, place, 0.5), now=clock())
        statements.clear()
        recording.tell(db, held, factories.epoch(number), now=clock())
        counts.append(len(statements))
    assert len(set(counts)) == 1
