"""A few runs whose every value is known, for tests of what the table finds and in which order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app import recording, runs
from app.db import Database
from tests.app import factories
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import FakeClock


def add(
    db: Database,
    clock: FakeClock,
    name: str,
    *,
    accuracies: tuple[float, ...] = (),
    end: str = "",
    tags: tuple[str, ...] = (),
    notes: str = "",
    **settings: Any,
) -> int:
    """A run a minute after the one before; with accuracies it is trained that far, and then ends as `end` says."""
    clock.forward(60)
    with db.write() as session:
        config = TrainConfig.from_dict(settings)
        run_id = runs.submit(session, config, name=name, tags=tags, notes=notes, now=clock()).id
    if accuracies or end:
        _train(db, clock, accuracies, end)
    return run_id


def filled(path: Path, clock: FakeClock) -> Database:
    """Runs 1 to 3 are seeds of one configuration; 4 failed; 5 is queued."""
    db = Database(path)
    for seed, accuracy in enumerate((0.8, 0.9, 0.85)):
        add(db, clock, f"seed {seed}", lr=0.1, seed=seed, tags=("sweep",), accuracies=(0.5, accuracy), end="finished")
    add(db, clock, "broken", lr=0.2, tags=("sweep", "bad"), accuracies=(0.1,), end="failed")
    add(db, clock, "waits", lr=0.3)
    return db


def _train(db: Database, clock: FakeClock, accuracies: tuple[float, ...], end: str) -> None:
    with db.write() as session:
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, factories.started(), now=clock())
        for number, accuracy in enumerate(accuracies, 1):
            event = factories.epoch(number, val_accuracy=accuracy, train_loss=1 / number)
            recording.record(session, held, event, now=clock())
    with db.write() as session:
        later = clock() + timedelta(seconds=10 * len(accuracies))
        if end == "finished":
            runs.finish(session, held, now=later)
        elif end == "failed":
            runs.fail(session, held, reason="diverged", message="The loss is not finite.", now=later)
