"""Whatever people, workers and the server do to runs, in whatever order, the rules of `app.runs` hold."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app import metrics, recording, runs
from app.db import Database
from app.models import Run, Status
from app.runs import Beat, Claim, ClaimLost, QueueFull, RunNotFound, RunStateError
from app.schema import migrate
from tests.app import factories
from trainer.config import TrainConfig

MOST_QUEUED, MAX_ATTEMPTS = 4, 2
WORKERS = st.sampled_from(["w1", "w2"])


@cache
def empty_database() -> bytes:
    """Migrated once: that takes longer than all else."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(Path(folder) / "fitroom.db")
        return (Path(folder) / "fitroom.db").read_bytes()


class Runs(RuleBasedStateMachine):
    """The real database beside a model of it: who holds what, which epochs are committed."""

    submitted = Bundle("submitted")
    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        database = Path(self.folder.name) / "fitroom.db"
        database.write_bytes(empty_database())
        self.db = Database(database)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.status: dict[int, Status] = {}
        self.attempt: dict[int, int] = {}
        self.owner: dict[int, str] = {}
        self.asked_to_cancel: set[int] = set()
        self.lost: dict[int, int] = {}
        self.epochs: dict[int, dict[int, float]] = {}
        self.seen: list[Beat] = []

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def holds(self, held: Claim) -> bool:
        return self.status.get(held.run_id) == Status.RUNNING and self.attempt[held.run_id] == held.attempt

    @rule(target=submitted)
    def submit(self) -> object:
        full = sum(status == Status.QUEUED for status in self.status.values()) >= MOST_QUEUED
        try:
            with self.db.write() as session:
                run_id = runs.submit(session, TrainConfig(), now=self.tick(), most_queued=MOST_QUEUED).id
        except QueueFull:
            assert full
            return multiple()
        assert not full
        assert run_id not in self.status, "a number is never given twice"
        self.status[run_id], self.attempt[run_id], self.lost[run_id] = Status.QUEUED, 0, 0
        self.epochs[run_id] = {}
        return run_id

    @rule(target=claims, worker=WORKERS)
    def claim(self, worker: str) -> object:
        with self.db.write() as session:
            held = runs.claim(session, worker, now=self.tick())
        waiting = [run_id for run_id, status in self.status.items() if status == Status.QUEUED]
        if held is None:
            assert not waiting
            return multiple()
        assert (held.run_id, held.attempt) == (min(waiting), self.attempt[held.run_id] + 1)
        self.status[held.run_id], self.attempt[held.run_id] = Status.RUNNING, held.attempt
        self.owner[held.run_id] = worker
        return held

    def written(self, held: Claim, act) -> bool:  # noqa: ANN001
        """Only who holds the run may write."""
        try:
            with self.db.write() as session:
                act(session)
        except ClaimLost:
            assert not self.holds(held)
            return False
        assert self.holds(held)
        return True

    @rule(held=claims)
    def heartbeat(self, held: Claim) -> None:
        now = self.tick()
        self.written(held, lambda session: self.same_wish(held, runs.heartbeat(session, held, now=now)))

    def same_wish(self, held: Claim, wanted: bool) -> None:
        assert wanted == (held.run_id in self.asked_to_cancel)

    @rule(held=claims, number=st.integers(1, 3), accuracy=st.sampled_from([0.5, 0.8]))
    def epoch(self, held: Claim, number: int, accuracy: float) -> None:
        now, event = self.tick(), factories.epoch(number, val_accuracy=accuracy)
        if self.written(held, lambda session: recording.record(session, held, event, now=now)):
            self.epochs[held.run_id][number] = accuracy

    @rule(held=claims, how=st.sampled_from(["finish", "fail", "cancelled", "requeue"]))
    def end(self, held: Claim, how: str) -> None:
        now = self.tick()
        acts = {
            "finish": (Status.FINISHED, lambda session: runs.finish(session, held, now=now)),
            "fail": (Status.FAILED, lambda session: runs.fail(session, held, reason="x", message="x", now=now)),
            "cancelled": (Status.CANCELLED, lambda session: runs.cancelled(session, held, now=now)),
            "requeue": (Status.QUEUED, lambda session: runs.requeue(session, held, now=now)),
        }
        after, act = acts[how]
        if self.written(held, act):
            self.status[held.run_id] = after

    @rule(run_id=submitted)
    def cancel(self, run_id: int) -> None:
        try:
            with self.db.write() as session:
                runs.request_cancel(session, run_id, now=self.tick())
        except RunNotFound:
            assert run_id not in self.status
        except RunStateError:
            assert self.status[run_id].over
        else:
            self.asked_to_cancel.add(run_id)
            if self.status[run_id] == Status.QUEUED:
                self.status[run_id] = Status.CANCELLED

    @rule(run_id=submitted)
    def remove(self, run_id: int) -> None:
        try:
            with self.db.write() as session:
                runs.remove(session, run_id, now=self.tick())
        except RunNotFound:
            assert run_id not in self.status
        except RunStateError:
            assert self.status[run_id] == Status.RUNNING
        else:
            assert self.status.pop(run_id) != Status.RUNNING

    @rule()
    def look(self) -> None:
        """What a worker that watches the leases has seen last."""
        with self.db.read() as session:
            self.seen = runs.beats(session)

    @rule(blame=st.booleans())
    def free_the_silent(self, blame: bool) -> None:
        with self.db.read() as session:
            unheard = [beat for beat in self.seen if beat in runs.beats(session)]
        with self.db.write() as session:
            freed = runs.requeue_lost(
                session, now=self.tick(), max_attempts=MAX_ATTEMPTS, silent=self.seen, blame=blame
            )
        assert sorted(freed) == sorted(beat.run_id for beat in unheard)
        self.lose(freed, blame)

    @rule(worker=WORKERS)
    def lose_worker(self, worker: str) -> None:
        with self.db.write() as session:
            freed = runs.requeue_lost(session, now=self.tick(), max_attempts=MAX_ATTEMPTS, worker=worker)
        held = [run for run, status in self.status.items() if status == Status.RUNNING and self.owner[run] == worker]
        assert sorted(freed) == held
        self.lose(freed, blame=True)

    def lose(self, freed: list[int], blame: bool) -> None:
        for run_id in freed:
            self.lost[run_id] += blame
            if run_id in self.asked_to_cancel:
                self.status[run_id] = Status.CANCELLED
            elif blame and self.lost[run_id] >= MAX_ATTEMPTS:
                self.status[run_id] = Status.FAILED
            else:
                self.status[run_id] = Status.QUEUED

    @invariant()
    def every_run_is_what_it_should_be(self) -> None:
        if not hasattr(self, "db"):
            return
        with self.db.read() as session:
            rows = {run.id: run for run in session.query(Run)}
            assert {run_id: Status(run.status) for run_id, run in rows.items()} == self.status
            for run_id, run in rows.items():
                assert (run.attempt, run.times_lost) == (self.attempt[run_id], self.lost[run_id])
                assert (run.worker is not None) == (run.status == Status.RUNNING)
                assert (run.finished_at is not None) == Status(run.status).over
                assert run.times_lost <= MAX_ATTEMPTS
                kept = {row.epoch: row.val_accuracy for row in metrics.epochs(session, run_id)}
                assert kept == self.epochs[run_id], "what was committed is there, once"


def test_whatever_happens_to_runs_the_rules_hold():
    few = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Runs, settings=few)  # type: ignore[no-untyped-call]
