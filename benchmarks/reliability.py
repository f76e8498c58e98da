"""What it costs the training that nothing is lost: `python -m benchmarks.reliability`, or a row of `make bench`.

Each promise beside the same work without it, in alternating rounds: a commit that waits for the disk beside one that
does not, a checkpoint with its checksum and the one before kept beside a bare `torch.save`, and the heartbeats. Their
sum is given as a share of an epoch of all 60,000 images, which is trained here as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from app import recording, runs, workers
from app.config import ROOT, Settings
from app.db import Database
from app.runs import Claim
from app.schema import migrate
from tests.app import factories
from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.durable import sync
from trainer.events import EpochDone, Started
from trainer.loop import train

ROUNDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--train-size", type=int, help="of the epoch that is trained; all 60,000 unless told")
    arguments = parser.parse_args()
    # On the disk that the checkout is on: a temporary folder may be in memory, where waiting for it costs nothing.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
        print(json.dumps(measure(Path(folder), arguments.data_dir, arguments.train_size), indent=2))


def measure(home: Path, data_dir: Path, train_size: int | None) -> dict[str, Any]:
    epoch_s = an_epoch(TrainConfig(epochs=1, train_size=train_size), data_dir, home / "run")
    commits = commit_ms(home)
    saves = checkpoint_ms(home / "run" / "last.pt")
    heartbeat = commits.pop("heartbeat_ms")
    beats = epoch_s / (Settings().lease_s / 5)
    extra_ms = commits["durable_ms"] - commits["quick_ms"] + saves["sealed_ms"] - saves["bare_ms"] + beats * heartbeat
    return {
        "epoch_s": round(epoch_s, 2),
        **commits,
        **saves,
        "heartbeat_ms": heartbeat,
        "heartbeats_an_epoch": round(beats, 1),
        "share_of_an_epoch": f"{extra_ms / 1000 / epoch_s:.3%}",
    }


def an_epoch(config: TrainConfig, data_dir: Path, run_dir: Path) -> float:
    events = list(train(config, data_dir=data_dir, run_dir=run_dir))
    assert isinstance(events[0], Started)
    return next(event.seconds for event in events if isinstance(event, EpochDone))


def commit_ms(home: Path) -> dict[str, float]:
    """An epoch with its predictions, on the disk when it returns or not; and a heartbeat."""
    settings = Settings(home=home)
    migrate(settings.database)
    db, now = Database(settings.database), datetime.now(UTC)
    with db.write() as session:
        runs.submit(session, TrainConfig(), now=now)
        held = runs.claim(session, "bench", now=now)
        assert held is not None
    number = iter(range(1, 10_000))

    def epoch(durable: bool) -> None:
        with db.write(durable=durable) as session:
            recording.record(session, held, factories.epoch(next(number), predictions=10_000), now=now)

    try:
        return {
            **alternating({"durable_ms": lambda: epoch(True), "quick_ms": lambda: epoch(False)}),
            **alternating({"heartbeat_ms": lambda: heartbeat(db, held)}),
        }
    finally:
        db.close()


def heartbeat(db: Database, held: Claim) -> None:
    with db.write(durable=False) as session:
        runs.heartbeat(session, held, now=datetime.now(UTC))
        workers.seen(session, "bench", now=datetime.now(UTC))


def checkpoint_ms(last: Path) -> dict[str, float]:
    """The state of the default network with Adam: written and on disk, with what is promised and without."""
    state = checkpoint.read(last)

    def sealed() -> None:
        part = checkpoint._written(last, checkpoint.sealed(state))
        checkpoint._link(last, last.with_name(checkpoint.PREVIOUS))
        part.replace(last)

    def bare() -> None:
        part = last.with_name("bare.part")
        torch.save(state, part)
        sync(part)
        part.replace(last.with_name("bare.pt"))

    return {"megabytes": round(last.stat().st_size / 1e6, 1), **alternating({"sealed_ms": sealed, "bare_ms": bare})}


def alternating(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The median milliseconds of each, one after the other in every round, the first way first in every second."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            begun = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - begun)
    return {name: round(1000 * statistics.median(taken), 2) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
