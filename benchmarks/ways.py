"""The ways to train that `benchmarks.trainer` holds against each other, each a stream of timed epochs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from benchmarks.resident import Resident
from benchmarks.tutorial import Epoch, Tutorial
from trainer import devices
from trainer.config import TrainConfig
from trainer.events import EpochDone, Event, Started
from trainer.group import Alone
from trainer.loop import follow, never, train


@dataclass(frozen=True)
class Measured:
    """One epoch: training images per second, and seconds of training and validation together."""

    images_per_s: float
    seconds: float


Go = Callable[[str, Path, int], Iterator[Measured]]
"""(device, data folder, epochs) -> every epoch, the first included."""


@dataclass(frozen=True)
class Way:
    go: Go
    slow: bool = False
    """Whether one counted epoch a round is enough of it, where others get more."""
    may_fail: bool = False
    """Whether a machine need not be able to do it: `torch.compile` wants a compiler."""


def tutorial(workers: int) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        yield from _timed(Tutorial(data_dir, torch.device(device), num_workers=workers).epochs(epochs))

    return Way(go, slow=True)


def resident(*, compiled: bool = False, train_size: int | None = None) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        script = Resident(data_dir, torch.device(device), compiled=compiled, train_size=train_size, val_size=train_size)
        yield from _timed(script.epochs(epochs))

    return Way(go, may_fail=compiled)


def _timed(epochs: Iterator[Epoch]) -> Iterator[Measured]:
    for epoch in epochs:
        yield Measured(epoch.images / epoch.train_seconds, epoch.train_seconds + epoch.val_seconds)


def fitroom(**settings: object) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        return _told(train(configured(device, epochs, settings), data_dir=data_dir))

    return Way(go)


class Compiled(Alone):
    """One process, with the network by `torch.compile` in the mode that records CUDA graphs."""

    def wrap(self, model: nn.Module) -> nn.Module:
        return cast("nn.Module", torch.compile(model, mode="reduce-overhead"))


def fitroom_compiled(**settings: object) -> Way:
    def go(device: str, data_dir: Path, epochs: int) -> Iterator[Measured]:
        config = configured(device, epochs, settings)
        where = devices.resolve(device)
        return _told(follow(config, where, Compiled(), data_dir=data_dir, run_dir=None, should_stop=never))

    return Way(go, may_fail=True)


def configured(device: str, epochs: int, settings: Mapping[str, object]) -> TrainConfig:
    return TrainConfig.from_dict({"device": device, "epochs": epochs, "loading": "resident", **settings})


def _told(events: Iterator[Event]) -> Iterator[Measured]:
    for event in events:
        if isinstance(event, Started):
            rate = event.matmul_flops_per_s
            note = {"matmul_gflops": rate / 1e9, "flops_per_image": event.flops_per_image}
            print(json.dumps({"started": note}), flush=True)
        if isinstance(event, EpochDone):
            yield Measured(event.images_per_s, event.seconds)


AS_GIVEN, LOOP, OURS, GRAPHS = "tutorial, 4 workers", "resident loop", "fitroom", "fitroom, CUDA graphs"
WAYS: dict[str, dict[str, Way]] = {
    "cpu": {
        AS_GIVEN: tutorial(4),
        "tutorial, 0 workers": tutorial(0),
        "tutorial, 1 worker": tutorial(1),
        "tutorial, 2 workers": tutorial(2),
        OURS: fitroom(),
        "fitroom, float32": fitroom(precision="float32"),
        "fitroom, DataLoader, 2 workers": fitroom(loading="dataloader", num_workers=2),
    },
    "cuda": {
        AS_GIVEN: tutorial(4),
        "tutorial, 0 workers": tutorial(0),
        LOOP: resident(),
        "resident loop, torch.compile": resident(compiled=True),
        OURS: fitroom(),
        "fitroom, torch.compile": fitroom_compiled(),
        GRAPHS: fitroom(cuda_graphs=True),
        "fitroom, CUDA graphs, tf32": fitroom(cuda_graphs=True, precision="tf32"),
        "fitroom, CUDA graphs, float32": fitroom(cuda_graphs=True, precision="float32"),
    },
}
"""By kind of device."""
QUICK = {
    "a thousand images": fitroom(train_size=1000, val_size=100),
    "a thousand in a loop": resident(train_size=1000),
}
"""Not measured: for the test of this program."""
WHOLE: dict[str, dict[str, object]] = {OURS: {}, GRAPHS: {"cuda_graphs": True}}
"""Settings of the trainings that are timed from beginning to end, on a GPU."""
