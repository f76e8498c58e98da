"""What it costs the training that the loss of every step is recorded; a part of `make bench-trainer`.

    python -m benchmarks.recording --device cuda

Two trainings with the same settings take turns in one process, epoch by epoch, so that both see the same machine; which
of them begins alternates. Of one the losses are read once a second and written to a database as a worker writes them;
of the other they are read when the epoch is over, and not written. The first epoch of each is not counted. On a machine
shared with others two epochs differ by several per cent for no reason of ours, so there are many short ones.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks.revision import ROOT
from trainer import devices
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.events import EpochDone, Event, Started, Steps
from trainer.group import Alone, Group
from trainer.loop import follow, never

Write = Callable[[Event], None]


@dataclass(frozen=True)
class Turn:
    """An epoch: seconds of training, of them seconds of writing, and of the processor's time with the validation."""

    seconds: float
    writing: float
    work: float


@dataclass(frozen=True)
class Pair:
    """An epoch with recording and one without."""

    recorded: Turn
    bare: Turn

    @property
    def cost(self) -> float:
        """Share of the throughput that recording takes."""
        return 1 - self.bare.seconds / self.recorded.seconds

    @property
    def work(self) -> float:
        """The same by the processor's time."""
        return 1 - self.bare.work / self.recorded.work


class Unread(Alone):
    """One process that reads its losses at the end of an epoch only."""

    def decide(self, step: int, *, stop: Callable[[], bool], read: Callable[[], bool]) -> tuple[bool, bool]:
        return stop(), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--pairs", type=int, default=60, help="counted epochs of each")
    parser.add_argument("--train-size", type=int, default=15_360, help="training images of an epoch")
    parser.add_argument("--graphs", action="store_true", help="with CUDA graphs")
    arguments = parser.parse_args()
    if find_spec("sqlalchemy") is None:
        sys.exit("What recording costs was not measured: it needs sqlalchemy, as the server does.")
    config = TrainConfig(
        device="cuda:0" if arguments.device == "cuda" else arguments.device,
        cuda_graphs=arguments.graphs,
        epochs=arguments.pairs + 1,
        train_size=arguments.train_size,
        val_size=1000,
        loading="resident",
    )
    # On the disk that the checkout is on: a temporary folder may be in memory.
    try:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
            print(sentence(measured(config, arguments.data_dir, Path(folder))))
    except TrainerError as error:
        sys.exit(str(error))


def measured(config: TrainConfig, data_dir: Path, home: Path) -> list[Pair]:
    pairs: list[Pair] = []
    with recorder(config, home) as write:
        recorded = epochs(config, data_dir, Alone(), write)
        bare = epochs(config, data_dir, Unread(), lambda event: None)
        for number in range(config.epochs):
            turns = [turn(one) for one in ((recorded, bare) if number % 2 else (bare, recorded))]
            pairs.append(Pair(*(turns if number % 2 else reversed(turns))))
    return pairs[1:]


def turn(events: Iterator[EpochDone]) -> Turn:
    begun = time.process_time()
    done = next(events)
    return Turn(done.train_seconds, done.timings.recording, time.process_time() - begun)


def epochs(config: TrainConfig, data_dir: Path, group: Group, write: Write) -> Iterator[EpochDone]:
    device = devices.resolve(config.device)
    for event in follow(config, device, group, data_dir=data_dir, run_dir=None, should_stop=never):
        if isinstance(event, (Started, Steps)):
            write(event)
        if isinstance(event, EpochDone):
            yield event


@contextmanager
def recorder(config: TrainConfig, home: Path) -> Iterator[Write]:
    """Writes as a worker does, who does not wait for the disk at a block of losses."""
    # Only here: where there is but torch, it shall say so in words.
    from app import recording, runs
    from app.config import Settings
    from app.schema import opened

    with opened(Settings(home=home).database) as database:
        with database.write() as session:
            runs.submit(session, config, now=datetime.now(UTC))
            held = runs.claim(session, "bench", now=datetime.now(UTC))
            assert held is not None

        def write(event: Event) -> None:
            recording.tell(database, held, event, now=datetime.now(UTC))

        yield write


def sentence(pairs: list[Pair]) -> str:
    costs = sorted(pair.cost for pair in pairs)
    low, high = interval(costs)
    work = statistics.median(pair.work for pair in pairs)
    writing = statistics.median(pair.recorded.writing / pair.recorded.seconds for pair in pairs)
    return (
        f"Reading and writing the loss of every step takes {statistics.median(costs):.2%} of the throughput: "
        f"the median of {len(pairs)} pairs of epochs with and without, in turn (95% interval of the median "
        f"{low:.2%} to {high:.2%}; single pairs {costs[0]:.2%} to {costs[-1]:.2%}). "
        f"Of the processor's time it takes {work:.2%}; by the trainer's own clock {writing:.3%} of the training time "
        "goes into the writing."
    )


def interval(ordered: list[float]) -> tuple[float, float]:
    """Between which two values the median of all lies, 19 times of 20: so many are below it as in tosses of a coin."""
    half = 1.96 * math.sqrt(len(ordered)) / 2
    first, last = math.floor(len(ordered) / 2 - half), math.ceil(len(ordered) / 2 + half)
    return ordered[max(0, first)], ordered[min(len(ordered), last) - 1]


if __name__ == "__main__":
    main()
