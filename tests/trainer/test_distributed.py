"""One run in two processes that torchrun starts, talking by gloo."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from trainer.config import TrainConfig
from trainer.errors import ConfigError, DataError, ProcessLost
from trainer.events import EpochDone, Event, Finished, Started, Steps
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    "train_size": 1024, "val_size": 1500, "batch_size": 125, "epochs": 2, "dropout": 0.0, "precision": "float32",
    "class_weights": "balanced", "grad_clip": 2.0, "device": "cpu",
}  # fmt: skip


def curve(events: list[Event]) -> list[float]:
    done = [event for event in events if isinstance(event, EpochDone)]
    losses = [loss for event in events if isinstance(event, Steps) for loss in event.losses]
    return [*losses, *(value for event in done for value in (event.train_loss, event.val_loss))]


def test_two_processes_give_the_curve_of_one_and_resume_it(data_dir: Path, tmp_path: Path):
    """125 images a batch: the parts of the two are not alike in size, and yet the mean is right."""
    alone = list(train(TrainConfig(**SETTINGS), data_dir=data_dir))  # type: ignore[arg-type]
    shared = TrainConfig(**SETTINGS, processes=2)  # type: ignore[arg-type]
    saved: list[Event] = []
    for event in train(shared, data_dir=data_dir, run_dir=tmp_path, should_stop=lambda: done(saved) >= 1):
        saved.append(event)
    assert isinstance(saved[0], Started)
    assert saved[0].processes == 2
    assert isinstance(saved[-1], Finished)
    assert (saved[-1].reason, done(saved)) == ("stopped", 1)
    rest = list(train(shared, data_dir=data_dir, run_dir=tmp_path))
    together = [
        event for event in saved if isinstance(event, EpochDone) or (isinstance(event, Steps) and event.epoch == 1)
    ]
    together += rest
    assert curve(together) == pytest.approx(curve(alone), rel=2e-3)
    predictions = [event.predictions for event in rest if isinstance(event, EpochDone)]
    assert len(predictions[-1].classes) == 1500


def test_batchnorm_takes_its_statistics_from_the_whole_batch(data_dir: Path):
    """Of 9 images the two processes take 5 and 4, and a batch's last layer is normalized over one value of each."""
    settings = {
        "arch": "resnet", "arch_options": {"width": 8}, "image_size": 8, "train_size": 90, "val_size": 200,
        "batch_size": 9, "epochs": 2, "lr": 1e-4, "dropout": 0.0, "precision": "float32", "ema_decay": 0.9,
        "device": "cpu",
    }  # fmt: skip
    alone, shared = (
        curve(list(train(TrainConfig(**settings, processes=processes), data_dir=data_dir)))  # type: ignore[arg-type]
        for processes in (1, 2)
    )
    assert shared == pytest.approx(alone, rel=2e-3)


def done(events: list[Event]) -> int:
    return sum(isinstance(event, EpochDone) for event in events)


def test_a_process_that_is_killed_ends_the_run_in_words_and_leaves_none_behind(data_dir: Path):
    events = train(TrainConfig(**SETTINGS | {"epochs": 500}, processes=2), data_dir=data_dir)  # type: ignore[arg-type]
    while not isinstance(next(events), EpochDone):
        pass
    started = training()
    assert len(started) >= 3, "two, and torchrun that watches them"
    os.kill(by_rank(started)[1].pid, signal.SIGKILL)
    with pytest.raises(ProcessLost, match="A training process ended unexpectedly"):
        for _ in events:
            pass
    assert psutil.wait_procs(started, timeout=20)[1] == []


def test_what_befalls_one_process_alone_ends_the_run_in_its_own_words(data_dir: Path):
    """The first process meets nothing but silence; it is the other that knows."""
    settings = SETTINGS | {"epochs": 500, "loading": "dataloader", "num_workers": 1}
    events = train(TrainConfig(**settings, processes=2), data_dir=data_dir)  # type: ignore[arg-type]
    while not isinstance(next(events), EpochDone):
        pass
    started = training()
    children = [child for server in by_rank(started)[1].children() for child in server.children()]
    loaders = [child for child in children if "forkserver" in " ".join(child.cmdline())]
    os.kill(loaders[-1].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="A data worker ended unexpectedly"):
        for _ in events:
            pass
    assert psutil.wait_procs([*started, *loaders], timeout=20)[1] == []


def training() -> list[psutil.Process]:
    """torchrun, and those that it has started to train."""
    return [child for child in psutil.Process().children(recursive=True) if "trainer.distributed" in child.cmdline()]


def by_rank(started: list[psutil.Process]) -> dict[int, psutil.Process]:
    return {int(process.environ()["RANK"]): process for process in started if "RANK" in process.environ()}


def test_what_the_processes_refuse_is_refused_here_by_field(data_dir: Path):
    settings = SETTINGS | {"class_weights": "1,2"}
    with pytest.raises(ConfigError) as caught:
        list(train(TrainConfig(**settings, processes=2), data_dir=data_dir))  # type: ignore[arg-type]
    assert set(caught.value.errors) == {"class_weights"}
