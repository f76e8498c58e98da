"""What only a GPU can show. It needs nothing but torch, pytest and the images, so that a bare GPU machine will do:

python -m pytest --noconftest tests/trainer/test_cuda.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import loop
from trainer.config import TrainConfig
from trainer.data import open_split
from trainer.errors import OutOfMemory
from trainer.events import CheckpointSaved, EpochDone, Event, Finished, Steps
from trainer.graphs import CudaGraphs
from trainer.group import Alone
from trainer.learner import Learner
from trainer.loop import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DATA = Path(os.environ.get("FITROOM_TEST_DATA", Path(__file__).parents[2] / "var" / "data"))
SMALL = {"device": "cuda:0", "train_size": 4096, "val_size": 1000, "batch_size": 256, "epochs": 2}
DRAWN = {"flip": True, "shift": 2, "rotate": 10.0, "erase": 0.3, "normalize": True, "ema_decay": 0.99}
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd, cutmix": {
        **DRAWN, "arch": "resnet", "optimizer": "sgd", "nesterov": True, "lr": 0.05, "mix": "cutmix",
        "class_weights": "balanced", "label_smoothing": 0.1, "grad_clip": 1.0, "schedule": "onecycle",
    },
    "adamw, mixup": {**DRAWN, "optimizer": "adamw", "mix": "mixup", "schedule": "cosine", "warmup_epochs": 1},
    "rmsprop": {"arch": "lenet", "optimizer": "rmsprop", "schedule": "step", "grad_clip": 1.0, "precision": "tf32"},
}  # fmt: skip


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SMALL | request.param


def trained(settings: dict[str, Any], **more: Any) -> list[Event]:
    return list(train(TrainConfig(**settings), data_dir=DATA, **more))


def losses(events: list[Event]) -> list[float]:
    return [loss for event in events if isinstance(event, Steps) for loss in event.losses]


def test_replayed_steps_learn_what_steps_taken_one_by_one_do(settings: dict[str, Any]):
    """Each replay draws anew, so the same step repeated would not come to this."""
    settings = settings | {"epochs": 4}
    plain, replayed = (trained(settings | {"cuda_graphs": graphs}) for graphs in (False, True))
    one, other = (sum(losses(events)[-16:]) / 16 for events in (plain, replayed))
    assert other == pytest.approx(one, rel=0.1)
    assert len(set(losses(replayed))) > 50


def test_without_a_draw_they_are_the_same_to_the_last_digits():
    exact = SMALL | {"dropout": 0.0, "precision": "float32"}
    plain, replayed = (losses(trained(exact | {"cuda_graphs": graphs})) for graphs in (False, True))
    assert replayed == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
def test_no_step_makes_the_host_wait(settings: dict[str, Any], graphs: bool):
    device = torch.device("cuda:0")
    config = TrainConfig(**settings | {"cuda_graphs": graphs})
    data = open_split(config, "train", DATA, device)
    learner = Learner(config, data, device, Alone(), CudaGraphs(device) if graphs else None)
    learner.start_epoch(1)
    inputs = enumerate(data.train_inputs(1))
    for _ in range(6):  # libraries choose their kernels, and a graph is recorded
        place, given = next(inputs)
        learner.step(given, place)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for place, given in inputs:
            learner.step(given, place)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(learner.losses).all()


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
def test_a_run_stopped_within_an_epoch_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: bool
):
    monkeypatch.setattr(loop, "READ_LOSSES_S", 0.0)
    settings = SMALL | {"cuda_graphs": graphs, "precision": "float32", "flip": True, "shift": 2}
    whole = losses(trained(settings))
    seen: list[Event] = []
    config = TrainConfig(**settings)
    for event in train(config, data_dir=DATA, run_dir=tmp_path, should_stop=lambda: len(losses(seen)) >= 20):
        seen.append(event)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].reason == "stopped"
    assert [event.steps for event in seen if isinstance(event, CheckpointSaved)][-1] > 0
    rest = trained(settings, run_dir=tmp_path)
    assert losses(rest) == pytest.approx(whole[-len(losses(rest)) :], rel=1e-2)


def test_memory_that_does_not_suffice_is_told_and_the_next_run_trains():
    too_much = {"device": "cuda:0", "arch": "resnet18", "image_size": 224, "batch_size": 16384, "train_size": 16384}
    with pytest.raises(OutOfMemory, match="smaller batch size"):
        trained(too_much | {"epochs": 1, "val_size": 100})
    assert isinstance(trained(SMALL | {"epochs": 1})[-1], Finished)


def test_the_default_settings_learn():
    done = [event for event in trained(SMALL | {"epochs": 5}) if isinstance(event, EpochDone)]
    assert done[-1].val_accuracy > 0.6
