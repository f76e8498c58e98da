"""Recording into SQLite beside MLflow's `log_batch`: a part of `make bench-compare`, or alone

python -m benchmarks.compare_recording --mlflow var/mlflow/bin/python
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app import recording, runs
from app.config import Settings
from app.schema import opened
from benchmarks import beside_mlflow
from tests.app.factories import started
from trainer.config import TrainConfig
from trainer.events import EpochDone, Predictions, Steps, Timings


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one round of recording writes."""

    name: str
    epochs: int
    steps: int
    block: int
    """Losses of steps that are written at a time."""


RECORDED = (
    Recorded("a thousand losses at a time, the most that `log_batch` takes", 4, 10_000, 1000),
    Recorded("the tutorial, a block a second: 234 steps an epoch in four blocks", 20, 234, 59),
)


def table(folder: Path, python: Path, rounds: int) -> list[str]:
    """The same losses and epochs written by each into its own SQLite, as a training tells them."""
    lines = [
        "| recording into SQLite | MLflow `log_batch`, metrics/s | Fitroom, metrics/s | ratio | lowest to highest |",
        "|---|---|---|---|---|",
    ]
    for told in RECORDED:
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(max(rounds, 3)):
            for own in (True, False) if number % 2 else (False, True):
                if own:
                    ours.append(_record(folder / f"recorded-{told.block}-{number}", told))
                else:
                    theirs.append(_record_by_mlflow(folder, python, told))
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        lines.append(
            f"| {told.name} | {statistics.median(theirs):,.0f} | {statistics.median(ours):,.0f} | "
            f"{statistics.median(ratios):.1f} | {ratios[0]:.1f} – {ratios[-1]:.1f} |"
        )
        print(lines[-1], flush=True)
    wait = _wait_for_disk_ms(folder)
    return [
        *lines,
        "",
        f"A hundred kilobytes that wait for the disk take {wait:.2f} ms here. Fitroom waits once an epoch, as its "
        "contract says; MLflow four times a call, which is twenty times an epoch of the tutorial. Where the disk is "
        "slow, that is the ratio.",
    ]


def _wait_for_disk_ms(folder: Path) -> float:
    """The median of some appends, each with the wait until the disk has it."""
    times = []
    with (folder / "appended").open("wb", buffering=0) as file:
        for _ in range(50):
            begun = time.perf_counter()
            file.write(bytes(100_000))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def _record_by_mlflow(folder: Path, python: Path, told: Recorded) -> float:
    numbers = map(str, (told.epochs, told.steps, told.block))
    found = beside_mlflow.ask(python, "record", str(folder / "recorded.db"), *numbers)
    return float(found["metrics"]) / float(found["seconds"])


def _record(home: Path, told: Recorded) -> float:
    """Metrics a second by `app.recording.tell`, a transaction an event, as a worker makes them.

    It waits for the disk at the end of each epoch, not at each block of losses: `app.db.Database.write`.
    """
    now, none = datetime.now(UTC), Predictions(b"", b"")
    with opened(Settings(home=home).database) as db:
        with db.write() as session:
            runs.submit(session, TrainConfig(epochs=told.epochs), now=now)
            held = runs.claim(session, "bench", now=now)
            assert held is not None
            recording.record(session, held, started(), now=now)
        begun, written = time.perf_counter(), 0
        for epoch in range(1, told.epochs + 1):
            first, part = (epoch - 1) * told.steps, 1 / epoch
            for begin in range(0, told.steps, told.block):
                some = range(first + begin, first + min(begin + told.block, told.steps))
                losses = tuple(1 / (step + 1) for step in some)
                recording.tell(db, held, Steps(epoch, first + begin, losses), now=now)
                written += len(losses)
            timings = Timings(0.1, 1.0, 0.1, 0.1)
            done = EpochDone(epoch, part, part, part, part, 0.001, 2.0, 1.5, 5000.0, time.time(), timings, none)
            recording.tell(db, held, done, now=now)
            written += 5
        return written / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_recording", description=__doc__)
    parser.add_argument("--mlflow", type=Path, required=True, help="the Python that has MLflow")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(table(Path(folder), parsed.mlflow, parsed.rounds)))


if __name__ == "__main__":
    main()
