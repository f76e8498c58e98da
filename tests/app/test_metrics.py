"""What training tells is stored once, and read back as it was told."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event as hooks
from sqlalchemy import select

from app import journal, metrics, recording, runs
from app.models import Checkpoint, EpochPredictions, StepBlock
from app.runs import Claim
from tests.app import factories
from trainer.config import TrainConfig
from trainer.events import CheckpointFailed, CheckpointSaved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.db import Database
    from tests.conftest import FakeClock
    from trainer.events import Event


@pytest.fixture
def held(db: Database, clock: FakeClock) -> Claim:
    return factories.claimed(db, clock)


def record(db: Database, clock: FakeClock, held: Claim, *events: Event) -> None:
    for event in events:
        with db.write() as session:
            recording.record(session, held, event, now=clock())


def all_steps(db: Database, run_id: int) -> list[tuple[int, list[float | None]]]:
    with db.read() as session:
        return [(block.first_step, block.losses) for block in metrics.steps(session, run_id)]


def test_the_blocks_of_an_epoch_become_one_when_it_is_done(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.steps(1, 0, 1.0, 0.9), factories.steps(1, 2, 0.8, 0.7))
    assert all_steps(db, held.run_id) == [(0, [1.0, 0.9]), (2, [0.8, 0.7])]
    record(db, clock, held, factories.epoch(1), factories.steps(2, 0, 0.6))
    assert all_steps(db, held.run_id) == [(0, [1.0, 0.9, 0.8, 0.7]), (4, [0.6])]


def test_a_replayed_epoch_replaces_itself(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.steps(1, 0, 1.0, 0.9, 0.8, 0.7), factories.epoch(1, val_accuracy=0.5))
    record(db, clock, held, factories.steps(2, 0, 0.6, 0.5))
    with db.write() as session:
        runs.requeue_lost(session, now=clock(), max_attempts=3, worker="w1")
        again = runs.claim(session, "w2", now=clock())
    assert again is not None
    # Nothing recorded is gone while the second attempt has not come to it again.
    assert all_steps(db, held.run_id) == [(0, [1.0, 0.9, 0.8, 0.7]), (4, [0.6, 0.5])]
    record(db, clock, again, factories.steps(2, 0, 0.61, 0.51, 0.41, 0.31), factories.epoch(2, val_accuracy=0.7))
    assert [losses for _, losses in all_steps(db, held.run_id)] == [[1.0, 0.9, 0.8, 0.7], [0.61, 0.51, 0.41, 0.31]]
    with db.read() as session:
        assert [row.epoch for row in metrics.epochs(session, held.run_id)] == [1, 2]


def test_a_loss_that_is_not_finite_is_null_and_flagged(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.steps(1, 0, 1.0, math.nan, math.inf), factories.epoch(1, train_loss=math.nan))
    assert all_steps(db, held.run_id) == [(0, [1.0, None, None])]
    with db.read() as session:
        (row,) = metrics.epochs(session, held.run_id)
    assert (row.train_loss, row.diverged) == (None, True)


def test_the_run_carries_its_newest_and_its_best_epoch(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.epoch(1, val_accuracy=0.9), factories.epoch(2, val_accuracy=0.8))
    with db.read() as session:
        run = runs.get(session, held.run_id)
    assert (run.epochs_done, run.best_epoch, run.best_val_accuracy, run.val_accuracy) == (2, 1, 0.9, 0.8)


def test_predictions_come_back_as_classes_and_probabilities(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.epoch(1), factories.epoch(2))
    with db.read() as session:
        newest, first = metrics.predictions(session, held.run_id), metrics.predictions(session, held.run_id, 1)
        assert metrics.predictions(session, held.run_id, 9) is None
    assert newest is not None
    assert first is not None
    assert (newest.epoch, first.epoch) == (2, 1)
    assert newest.classes.tolist() == [0, 1, 2, 3]
    assert newest.confidences.tolist() == [1.0] * 4


def test_a_page_made_at_any_moment_and_its_stream_together_tell_everything_once(
    db: Database, clock: FakeClock, held: Claim
):
    events: list[Event] = [factories.started()]
    for number in (1, 2):
        events += [factories.steps(number, place, 1 / (number + place), 0.5) for place in (0, 2)]
        events.append(factories.epoch(number))
    snapshots = []
    for event in events:
        with db.read() as session:
            seen = {(b.first_step + i) for b in metrics.steps(session, held.run_id) for i in range(len(b.losses))}
            epochs = {row.epoch for row in metrics.epochs(session, held.run_id)}
            snapshots.append((metrics.cursor(session), seen, epochs))
        record(db, clock, held, event)
    with db.write() as session:
        runs.finish(session, held, now=clock())
    for cursor, steps, epochs in snapshots:
        with db.read() as session:
            batch = journal.of_run(session, held.run_id, cursor, now=clock())
        for event in batch.events:
            if event.kind == "steps":
                first = event.data["first_step"]
                steps |= set(range(first, first + len(event.data["losses"])))
            if event.kind == "epoch":
                assert event.data["epoch"] not in epochs
                epochs.add(event.data["epoch"])
        assert steps == set(range(8))
        assert epochs == {1, 2}
        assert batch.over
        assert [event.kind for event in batch.events].count("status") == 1
        assert batch.events[-1].kind == "status"


def test_a_stream_read_in_pieces_misses_nothing(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.started(), *(factories.epoch(number) for number in range(1, 4)))
    with db.write() as session:
        for i in range(journal.BATCH):
            runs.log(session, held.run_id, f"line {i}", now=clock())
    cursor, kinds = 0, []
    while True:
        with db.read() as session:
            batch = journal.of_run(session, held.run_id, cursor, now=clock())
        kinds += [event.kind for event in batch.events]
        cursor = batch.cursor
        if not batch.more:
            break
    assert kinds.count("epoch") == 3
    assert kinds.count("log") == journal.BATCH + 6


def test_the_tables_stream_names_each_changed_run_once(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.started(), factories.epoch(1), factories.epoch(2))
    with db.write() as session:
        runs.submit(session, TrainConfig(), now=clock())
        other = runs.submit(session, TrainConfig(), now=clock())
        gone = other.id
        runs.request_cancel(session, gone, now=clock())
        runs.remove(session, gone, now=clock())
    with db.read() as session:
        batch = journal.of_table(session, 0, now=clock())
    assert [(event.kind, event.data.get("id")) for event in batch.events] == [
        ("run", None),
        ("run", None),
        ("deleted", gone),
    ]


def test_what_was_missed_is_read_in_as_many_statements_however_much_it_is(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, factories.started())
    counts = []
    for number in range(1, 21):
        record(db, clock, held, factories.steps(number, 0, 0.9, 0.8), factories.epoch(number))
        with db.read() as session, counted(db) as statements:
            kinds = [event.kind for event in journal.of_run(session, held.run_id, 0, now=clock()).events]
        assert kinds.count("epoch") == kinds.count("steps") == number
        counts.append(len(statements))
    assert set(counts) == {counts[0]}


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """The statements of reading connections."""
    seen: list[str] = []
    listener = lambda _c, _u, statement, *_: seen.append(statement)  # noqa: E731
    hooks.listen(db._readers, "before_cursor_execute", listener)
    yield seen
    hooks.remove(db._readers, "before_cursor_execute", listener)


def test_losses_are_told_with_the_six_digits_that_they_have(db: Database, clock: FakeClock, held: Claim):
    losses = [2.302585, 0.1, 0.0, -1.5, 123456.0, 1234567.0, 1.23457e20, 1e-7, 0.000123457]
    record(db, clock, held, factories.steps(1, 0, *losses))
    ((_, told),) = all_steps(db, held.run_id)
    assert told == [2.30258, *losses[1:5], 1234570.0, *losses[6:]]


def test_small_blocks_do_not_stay_in_the_journal(db: Database, clock: FakeClock, held: Claim):
    record(db, clock, held, *(factories.steps(1, i, 0.5) for i in range(4)), factories.epoch(1))
    with db.read() as session:
        kinds = [change.kind for change in metrics.changes_after(session, 0)]
        assert session.query(StepBlock).count() == 1
    assert kinds.count("steps") == 1


def test_a_long_run_keeps_the_predictions_of_a_bounded_number_of_epochs(db: Database, clock: FakeClock, held: Claim):
    """The best epoch is one that thinning would have let go, and later one that is better takes its place."""
    kept: list[list[int]] = []
    for number in range(1, 901):
        accuracy = {77: 0.9, 555: 0.95}.get(number, 0.5)
        record(db, clock, held, factories.epoch(number, val_accuracy=accuracy))
        if number in (200, 300, 900):
            with db.read() as session:
                query = select(EpochPredictions.epoch).where(EpochPredictions.run_id == held.run_id)
                kept.append(sorted(session.scalars(query)))
    assert kept[0] == list(range(1, 201))
    assert kept[1] == [1, *range(2, 77, 2), 76 + 1, *range(78, 251, 2), *range(251, 301)]
    assert set(range(851, 901)) | {1, 555} <= set(kept[2])
    assert 77 not in kept[2]
    assert len(kept[2]) < 260
    with db.read() as session:
        asked = metrics.predictions(session, held.run_id, 843)
        assert metrics.predictions(session, held.run_id, 901) is None
    assert asked is not None
    assert asked.epoch == 840


def test_classes_of_8_and_of_16_bits_are_read_alike(db: Database, clock: FakeClock, held: Claim):
    """Runs of up to 256 classes store 8 bits; more classes, and runs of before, 16."""
    narrow = factories.epoch(2)
    narrow = replace(narrow, predictions=replace(narrow.predictions, classes=bytes([0, 1, 2, 3])))
    record(db, clock, held, factories.epoch(1), narrow)
    with db.read() as session:
        assert metrics.classes_by_epoch(session, held.run_id).tolist() == [[0, 1, 2, 3]] * 2
        found = metrics.predictions(session, held.run_id)
    assert found is not None
    assert found.classes.tolist() == [0, 1, 2, 3]


def test_what_happens_to_checkpoints_is_told_in_the_log(db: Database, clock: FakeClock, held: Claim):
    damaged = "The checkpoint last.pt is damaged: its checksum does not match. The run goes on from the one before it."
    record(db, clock, held, replace(factories.started(epochs_before=1), warning=damaged, steps_before=3))
    record(db, clock, held, CheckpointFailed(2, "The state could not be saved in runs/1: No space left on device."))
    record(db, clock, held, CheckpointSaved(2, "runs/1/last.pt", 7_000_000, 0.1, best=False, steps=3))
    record(db, clock, held, CheckpointFailed(3, "The state could not be saved in runs/1: No space left on device."))
    with db.read() as session:
        told = [(line["level"], line["message"]) for line in metrics.log_lines(session, held.run_id)][2:]
        assert session.query(Checkpoint).count() == 0, "what is saved within an epoch is no epoch's checkpoint"
    assert told[0] == ("warning", damaged)
    assert told[1][1].endswith("Resuming in epoch 2, after 3 of its steps.")
    assert told[2] == (
        "warning",
        "The state could not be saved in runs/1: No space left on device. "
        "Training goes on, and it is tried again after the next epoch.",
    )
    assert told[3] == ("info", "Saved within epoch 3, after 3 of its steps.")
    assert told[4][1].endswith("It was the last epoch, so its state is not kept.")
