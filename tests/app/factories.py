"""A run that a worker holds, and events as a real one tells them, for tests that need no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app import runs
from trainer.config import TrainConfig
from trainer.events import EpochDone, Predictions, Started, Steps, Timings

if TYPE_CHECKING:
    from app.db import Database
    from app.runs import Claim
    from tests.conftest import FakeClock


def claimed(db: Database, clock: FakeClock) -> Claim:
    """A run of three epochs that a worker has just taken."""
    with db.write() as session:
        runs.submit(session, TrainConfig(epochs=3), now=clock())
        claim = runs.claim(session, "w1", now=clock())
    assert claim is not None
    return claim


def started(*, epochs_before: int = 0) -> Started:
    return Started(
        device="cpu",
        device_name="test processor",
        threads=2,
        parameters=580_000,
        classes=("shirt", "boot"),
        train_samples=8,
        val_samples=4,
        steps_per_epoch=4,
        epochs_before=epochs_before,
        loading="resident",
        precision="float32",
        processes=1,
        flops_per_image=24_000_000,
        matmul_flops_per_s=1e11,
        seconds=0.5,
    )


def steps(epoch: int, place: int, *losses: float) -> Steps:
    """A block that begins `place` steps into the epoch, of four steps each."""
    return Steps(epoch, (epoch - 1) * 4 + place, losses)


def epoch(number: int, *, val_accuracy: float = 0.8, train_loss: float = 0.5, predictions: int = 4) -> EpochDone:
    return EpochDone(
        epoch=number,
        train_loss=train_loss,
        train_accuracy=0.75,
        val_loss=0.6,
        val_accuracy=val_accuracy,
        lr=0.001,
        seconds=2.0,
        train_seconds=1.5,
        images_per_s=5000.0,
        timings=Timings(data=0.1, compute=1.4, validation=0.4, recording=0.1),
        finished_at=1_767_323_045.0 + number,
        predictions=Predictions(
            (np.arange(predictions) % 10).astype("<u2").tobytes(), np.full(predictions, 65535, "<u2").tobytes()
        ),
    )
