"""A run's life: who may change its status, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from app import metrics, recording, runs
from app.db import Database
from app.models import Change, Run, Status
from app.runs import Beat, Claim, ClaimLost, QueueFull, RunNotFound, RunStateError
from tests.app import factories
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from tests.conftest import FakeClock


def submit(db: Database, clock: FakeClock, **about: object) -> int:
    with db.write() as session:
        return runs.submit(session, TrainConfig(epochs=3), now=clock(), **about).id  # type: ignore[arg-type]


def claim(db: Database, clock: FakeClock, worker: str = "w1") -> Claim | None:
    with db.write() as session:
        return runs.claim(session, worker, now=clock())


def claimed(db: Database, clock: FakeClock) -> Claim:
    submit(db, clock)
    held = claim(db, clock)
    assert held is not None
    return held


def run_row(db: Database, run_id: int) -> Run:
    with db.read() as session:
        return runs.get(session, run_id)


def test_a_submitted_run_is_queued_with_its_whole_config(db: Database, clock: FakeClock):
    run = run_row(db, submit(db, clock, name="first", tags=["a", "b"], notes="why"))
    assert (run.status, run.name, run.notes) == (Status.QUEUED, "first", "why")
    assert run.config == TrainConfig(epochs=3).to_dict()
    assert [tag.name for tag in run.tags] == ["a", "b"]
    assert (run.arch, run.lr, run.epochs) == ("net", 0.001, 3)


def test_a_run_without_a_name_is_called_after_its_architecture_and_number(db: Database, clock: FakeClock):
    run = run_row(db, submit(db, clock))
    assert run.name == f"net-{run.id}"


def test_the_oldest_queued_run_is_claimed_first(db: Database, clock: FakeClock):
    first, second = submit(db, clock), submit(db, clock)
    claims = [claim(db, clock), claim(db, clock), claim(db, clock)]
    assert [held.run_id if held else None for held in claims] == [first, second, None]


def test_many_workers_at_once_claim_each_run_exactly_once(db: Database, clock: FakeClock):
    wanted = {submit(db, clock) for _ in range(30)}
    taken: list[int] = []

    def work(name: str) -> None:
        own = Database(db.path)
        while (held := claim(own, clock, name)) is not None:
            taken.append(held.run_id)
        own.close()

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(wanted)


def test_a_finished_run_says_its_best_epoch(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with db.write() as session:
        for number, accuracy in ((1, 0.7), (2, 0.9), (3, 0.8)):
            recording.record(session, held, factories.epoch(number, val_accuracy=accuracy), now=clock())
        runs.finish(session, held, now=clock())
    run = run_row(db, held.run_id)
    assert run.status == Status.FINISHED
    assert run.message == "Finished all 3 epochs. Best validation accuracy 90.00 %, after epoch 2."


@pytest.mark.parametrize("end", [runs.finish, runs.cancelled, runs.requeue])
def test_an_owner_that_lost_its_claim_cannot_end_the_run(db: Database, clock: FakeClock, end):  # noqa: ANN001
    old = claimed(db, clock)
    with db.write() as session:
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
    new = claim(db, clock, "w2")
    assert new is not None
    assert new.attempt == old.attempt + 1
    with pytest.raises(ClaimLost), db.write() as session:
        end(session, old, now=clock())
    assert run_row(db, old.run_id).status == Status.RUNNING


def test_an_owner_that_lost_its_claim_cannot_write_metrics(db: Database, clock: FakeClock):
    old = claimed(db, clock)
    with db.write() as session:
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
    with pytest.raises(ClaimLost), db.write() as session:
        recording.record(session, old, factories.epoch(1), now=clock())
    with db.read() as session:
        assert metrics.epochs(session, old.run_id) == []


def test_cancelling_a_queued_run_ends_it_at_once(db: Database, clock: FakeClock):
    run_id = submit(db, clock)
    with db.write() as session:
        runs.request_cancel(session, run_id, now=clock())
    run = run_row(db, run_id)
    assert (run.status, run.message) == (Status.CANCELLED, "Cancelled before it started.")
    assert claim(db, clock) is None


def test_cancelling_a_running_run_asks_its_worker(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with db.read() as session:
        assert not runs.cancel_wanted(session, held)
    with db.write() as session:
        runs.request_cancel(session, held.run_id, now=clock())
    assert run_row(db, held.run_id).status == Status.RUNNING
    with db.write() as session:
        assert runs.heartbeat(session, held, now=clock())
        runs.cancelled(session, held, now=clock())
    assert run_row(db, held.run_id).status == Status.CANCELLED


def test_a_run_that_is_over_cannot_be_cancelled(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with db.write() as session:
        runs.fail(session, held, reason="diverged", message="The loss became NaN.", now=clock())
    with pytest.raises(RunStateError, match="already ended: failed"), db.write() as session:
        runs.request_cancel(session, held.run_id, now=clock())


def free(db: Database, clock: FakeClock, silent: list[Beat]) -> list[int]:
    with db.write() as session:
        return runs.requeue_lost(session, now=clock(), max_attempts=3, silent=silent)


def beats(db: Database) -> list[Beat]:
    with db.read() as session:
        return runs.beats(session)


def test_a_run_whose_owner_has_gone_silent_goes_back_into_the_queue(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    assert free(db, clock, []) == []
    assert free(db, clock, beats(db)) == [held.run_id]
    assert run_row(db, held.run_id).status == Status.QUEUED


def test_a_run_whose_owner_was_heard_of_meanwhile_is_not_taken_away(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    silent = beats(db)
    clock.forward(1)
    with db.write() as session:
        runs.heartbeat(session, held, now=clock())
    assert free(db, clock, silent) == []
    assert run_row(db, held.run_id).status == Status.RUNNING


def test_a_loss_that_is_not_the_runs_fault_is_not_counted(db: Database, clock: FakeClock):
    run_id = submit(db, clock)
    for _ in range(5):
        assert claim(db, clock) is not None
        with db.write() as session:
            runs.requeue_lost(session, now=clock(), max_attempts=1, worker="w1", blame=False)
    run = run_row(db, run_id)
    assert (run.status, run.times_lost) == (Status.QUEUED, 0)


def test_a_full_queue_takes_no_more_until_a_run_is_claimed(db: Database, clock: FakeClock):
    for _ in range(2):
        submit(db, clock, most_queued=2)
    with pytest.raises(QueueFull, match="its limit of 2"):
        submit(db, clock, most_queued=2)
    assert claim(db, clock) is not None
    submit(db, clock, most_queued=2)


def test_a_run_that_keeps_losing_its_worker_fails_in_the_end(db: Database, clock: FakeClock):
    run_id = submit(db, clock)
    for _ in range(3):
        assert claim(db, clock) is not None
        with db.write() as session:
            runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
    run = run_row(db, run_id)
    assert (run.status, run.reason) == (Status.FAILED, "worker_lost")
    assert "lost 3 times" in (run.message or "")


def test_a_run_whose_worker_was_stopped_in_order_may_be_stopped_any_number_of_times(db: Database, clock: FakeClock):
    run_id = submit(db, clock)
    for _ in range(5):
        held = claim(db, clock)
        assert held is not None
        with db.write() as session:
            runs.requeue(session, held, now=clock())
    assert run_row(db, run_id).status == Status.QUEUED


def test_a_cancel_that_was_asked_for_survives_the_loss_of_the_worker(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with db.write() as session:
        runs.request_cancel(session, held.run_id, now=clock())
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
    assert run_row(db, held.run_id).status == Status.CANCELLED


def test_deleting_a_run_leaves_nothing_of_it_but_the_news(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with db.write() as session:
        recording.record(session, held, factories.steps(1, 0, 1.0, 0.9), now=clock())
        recording.record(session, held, factories.epoch(1), now=clock())
        runs.finish(session, held, now=clock())
        runs.remove(session, held.run_id, now=clock())
    with pytest.raises(RunNotFound):
        run_row(db, held.run_id)
    with db.read() as session:
        assert [change.kind for change in session.query(Change)] == ["deleted"]
        assert metrics.steps(session, held.run_id) == []


def test_a_running_run_is_not_deleted(db: Database, clock: FakeClock):
    held = claimed(db, clock)
    with pytest.raises(RunStateError, match="cancel it before"), db.write() as session:
        runs.remove(session, held.run_id, now=clock())


def test_a_block_that_raises_writes_nothing(db: Database, clock: FakeClock):
    def submit_and_break() -> None:
        with db.write() as session:
            runs.submit(session, TrainConfig(), now=clock())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        submit_and_break()
    with db.read() as session:
        assert session.query(Run).count() == 0
