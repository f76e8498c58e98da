"""The worker: one step is one run, from claim to end, with real training on real images."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from app import metrics, runs
from app.clock import utc_now
from app.db import Database
from app.models import Checkpoint, Run
from app.worker import Worker
from trainer.config import TrainConfig
from trainer.loop import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.config import Settings
    from trainer.events import Event

SMALL = {"train_size": 512, "val_size": 200, "batch_size": 128, "epochs": 2}


@pytest.fixture
def worker(db: Database, home_with_data: Settings) -> Worker:
    return Worker(db, home_with_data, name="w1", train=train)


def submit(db: Database, **fields: object) -> int:
    with db.write() as session:
        return runs.submit(session, TrainConfig(**(SMALL | fields)), now=utc_now()).id  # type: ignore[arg-type]


def row(db: Database, run_id: int) -> Run:
    with db.read() as session:
        return runs.get(session, run_id)


def log_of(db: Database, run_id: int) -> str:
    with db.read() as session:
        return "\n".join(line["message"] for line in metrics.log_lines(session, run_id))


def test_with_nothing_to_do_a_step_does_nothing(worker: Worker):
    assert worker.step() is False


def test_a_run_is_trained_and_all_of_it_recorded(worker: Worker, db: Database, home_with_data: Settings):
    run_id = submit(db)
    assert worker.step() is True
    run = row(db, run_id)
    assert (run.status, run.reason, run.epochs_done) == ("finished", "completed", 2)
    assert run.facts is not None
    assert run.facts["device"] == "cpu"
    with db.read() as session:
        epochs = metrics.epochs(session, run_id)
        assert [epoch.epoch for epoch in epochs] == [1, 2]
        assert [(block.first_step, len(block.losses)) for block in metrics.steps(session, run_id)] == [(0, 4), (4, 4)]
        predicted = metrics.predictions(session, run_id)
        assert predicted is not None
        assert len(predicted.classes) == 200
        assert session.query(Checkpoint).count() == 2
    assert (home_with_data.run_dir(run_id) / "best.pt").exists()
    assert "Training on cpu" in log_of(db, run_id)


def test_the_recorded_numbers_are_the_trainers_own(worker: Worker, db: Database, home_with_data: Settings):
    run_id = submit(db)
    worker.step()
    told = [e for e in train(TrainConfig(**SMALL), data_dir=home_with_data.data_dir) if hasattr(e, "val_loss")]  # type: ignore[arg-type]
    with db.read() as session:
        recorded = metrics.epochs(session, run_id)
    assert [(e.train_loss, e.val_loss, e.val_accuracy) for e in recorded] == [
        (e.train_loss, e.val_loss, e.val_accuracy) for e in told
    ]


def test_a_missing_data_set_fails_the_run_with_what_to_do(worker: Worker, db: Database, home_with_data: Settings):
    (home_with_data.data_dir / "FashionMNIST").unlink()
    run_id = submit(db)
    worker.step()
    run = row(db, run_id)
    assert (run.status, run.reason) == ("failed", "data_missing")
    assert "Run `make data`" in (run.message or "")
    assert "Traceback" not in log_of(db, run_id)


def test_a_device_that_is_not_there_fails_the_run_in_words(worker: Worker, db: Database):
    run_id = submit(db, device="cuda:77")
    worker.step()
    assert (row(db, run_id).reason, row(db, run_id).message) == (
        "device",
        "There is no cuda:77 on this machine; it has cpu.",
    )


def test_an_error_nobody_foresaw_fails_the_run_and_not_the_worker(db: Database, home_with_data: Settings):
    def broken(*_: object, **__: object) -> Iterator[Event]:
        raise ZeroDivisionError("by zero")

    worker = Worker(db, home_with_data, name="w1", train=broken)
    run_id = submit(db)
    assert worker.step() is True
    assert (row(db, run_id).status, row(db, run_id).message) == ("failed", "ZeroDivisionError: by zero")
    assert "Traceback" in log_of(db, run_id)
    assert worker.step() is False


def test_a_run_whose_settings_cannot_be_read_fails_in_words_and_holds_up_nobody(worker: Worker, db: Database):
    foreign, next_one = submit(db), submit(db, epochs=1)
    with db.write() as session:
        run = runs.get(session, foreign)
        run.config = {**run.config, "of_a_newer_version": 1}
    assert worker.step() is True
    assert (row(db, foreign).status, row(db, foreign).reason) == ("failed", "config")
    assert row(db, foreign).message == "of_a_newer_version: Is not a setting of a run."
    assert worker.step() is True
    assert row(db, next_one).status == "finished"


def in_the_middle(db: Database, home_with_data: Settings, run_id: int, act) -> Worker:  # noqa: ANN001
    """A worker that trains `run_id`, and does `act` as soon as the first epoch is recorded."""
    worker = Worker(db, home_with_data, name="w1", train=train)
    acted = threading.Event()

    def watch() -> None:
        while row(db, run_id).epochs_done < 1:
            threading.Event().wait(0.01)
        act(worker)
        acted.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    worker.step()
    watcher.join()
    assert acted.is_set()
    return worker


def test_a_cancel_ends_a_running_run_and_keeps_its_history(db: Database, home_with_data: Settings):
    run_id = submit(db, epochs=500)

    def cancel(_: Worker) -> None:
        with db.write() as session:
            runs.request_cancel(session, run_id, now=utc_now())

    in_the_middle(db, home_with_data, run_id, cancel)
    run = row(db, run_id)
    assert run.status == "cancelled"
    with db.read() as session:
        assert len(metrics.epochs(session, run_id)) == run.epochs_done >= 1
    assert (run.message or "").startswith("Cancelled after")


def test_a_stopped_worker_gives_its_run_back_and_the_next_one_resumes_it(db: Database, home_with_data: Settings):
    whole = submit(db, epochs=6)
    Worker(db, home_with_data, name="w0", train=train).step()
    run_id = submit(db, epochs=6)
    in_the_middle(db, home_with_data, run_id, lambda worker: worker.stop.set())
    stopped = row(db, run_id)
    assert stopped.status == "queued"
    assert 1 <= stopped.epochs_done < 6
    Worker(db, home_with_data, name="w2", train=train).step()
    assert row(db, run_id).status == "finished"
    assert "Resuming after epoch" in log_of(db, run_id)
    with db.read() as session:
        one, other = metrics.epochs(session, whole), metrics.epochs(session, run_id)
        assert [(e.epoch, e.train_loss, e.val_loss) for e in one] == [
            (e.epoch, e.train_loss, e.val_loss) for e in other
        ]
        assert [b.losses for b in metrics.steps(session, whole)] == [b.losses for b in metrics.steps(session, run_id)]


def test_a_worker_that_lost_its_claim_stops_and_writes_nothing_more(db: Database, home_with_data: Settings):
    run_id = submit(db, epochs=500)

    def steal(_: Worker) -> None:
        with db.write() as session:
            runs.requeue_lost(session, now=utc_now(), max_attempts=3, worker="w1")
            runs.claim(session, "thief", now=utc_now())

    in_the_middle(db, home_with_data, run_id, steal)
    run = row(db, run_id)
    assert (run.status, run.worker, run.attempt) == ("running", "thief", 2)


def test_a_leftover_folder_of_the_same_number_is_not_resumed_from(
    worker: Worker, db: Database, home_with_data: Settings
):
    leftover = home_with_data.run_dir(1)
    leftover.mkdir(parents=True)
    (leftover / "last.pt").write_bytes(b"of another database")
    run_id = submit(db, epochs=1)
    worker.step()
    assert row(db, run_id).status == "finished"


def test_an_idle_worker_writes_nothing(worker: Worker, db: Database):
    from contextlib import closing

    from app.db import ChangeDetector

    with closing(ChangeDetector(db.path)) as changes:
        for _ in range(20):
            assert worker.step() is False
        assert changes.changed() is False
