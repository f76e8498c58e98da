from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer.config import TrainConfig
from trainer.events import CheckpointSaved, EpochDone, Event, Steps
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path


class Trained:
    """The events of a run, by kind."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.epochs = [event for event in events if isinstance(event, EpochDone)]
        self.steps = [event for event in events if isinstance(event, Steps)]

    @property
    def losses(self) -> list[float]:
        return [loss for block in self.steps for loss in block.losses]

    @property
    def numbers(self) -> list[tuple[float, ...]]:
        """All that must be equal when two runs are."""
        return [(e.epoch, e.train_loss, e.train_accuracy, e.val_loss, e.val_accuracy) for e in self.epochs]


@pytest.fixture
def run(data_dir: Path):
    """Train on a small part of the real images, unless told otherwise."""

    def go(*, run_dir: Path | None = None, stop_after: int | None = None, **settings: object) -> Trained:
        """`stop_after`: as many epochs, and then a stop in the middle of the next."""
        small = {"train_size": 1024, "val_size": 500, "batch_size": 128, "epochs": 2} | settings
        done: list[Event] = []

        def should_stop() -> bool:
            return stop_after is not None and sum(isinstance(event, CheckpointSaved) for event in done) >= stop_after

        config = TrainConfig(**small)  # type: ignore[arg-type]
        for event in train(config, data_dir=data_dir, run_dir=run_dir, should_stop=should_stop):
            done.append(event)
        return Trained(done)

    return go
