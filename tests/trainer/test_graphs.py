"""Steps that are recorded once and replayed. Here a CPU's operations are; on a GPU it is a CUDA graph that is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.trainer.recording import OnCpu
from tests.trainer.test_settings import EVERYTHING
from trainer.config import TrainConfig
from trainer.data import open_split
from trainer.errors import ConfigError
from trainer.graphs import WARM_UP
from trainer.group import Alone
from trainer.learner import Learner
from trainer.loop import train
from trainer.optim import make_optimizer, set_lr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CPU = torch.device("cpu")
SMALL = {"train_size": 80, "batch_size": 16, "epochs": 3, "cuda_graphs": True}
MIXED = EVERYTHING | SMALL | {"arch_options": {"width": 4}}
STEPS = 5


class Training:
    """A learner and its data, stepped by hand."""

    def __init__(self, config: TrainConfig, data_dir: Path, recorder: OnCpu | None = None) -> None:
        self._data = open_split(config, "train", data_dir, CPU)
        self.learner = Learner(config, self._data, CPU, Alone(), recorder)

    def epoch(self, epoch: int, *, begin: int = 0, end: int = STEPS) -> list[float]:
        """Its losses from step `begin` on."""
        if begin == 0:
            self.learner.start_epoch(epoch)
        for place, inputs in enumerate(self._data.train_inputs(epoch, skip=begin), begin):
            if place < end:
                self.learner.step(inputs, (epoch - 1) * STEPS + place)
        losses: list[float] = self.learner.losses[begin:end].tolist()
        return losses

    def state(self) -> list[torch.Tensor]:
        """Every tensor that training changes."""
        told = self.learner.state()
        optimizer = [value for state in told["optimizer"]["state"].values() for value in state.values()]
        return [*told["model"].values(), *(told["average"] or {}).values(), *optimizer, self.learner.correct]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On batches as small as these, threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**(SMALL | settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        MIXED,
        {"mix": "mixup", "optimizer": "adamw", "ema_decay": 0.99, "schedule": "cosine", "rotate": 10.0},
        {"arch": "mlp", "loading": "dataloader", "num_workers": 0, "optimizer": "sgd", "momentum": 0.0, "lr": 0.05},
    ],
    ids=["tutorial", "sgd, cutmix", "adamw, mixup", "dataloader"],
)
def test_replayed_steps_do_what_the_steps_would_have_done(data_dir: Path, settings: dict[str, Any]):
    """Bit for bit: so nothing that changes from step to step was kept as a number, and each replay draws anew."""
    recorder = OnCpu()
    plain = Training(config(**settings), data_dir)
    replayed = Training(config(**settings), data_dir, recorder)
    for epoch in (1, 2):
        assert replayed.epoch(epoch) == plain.epoch(epoch)
    assert all(torch.equal(one, other) for one, other in zip(replayed.state(), plain.state(), strict=True))
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (WARM_UP, 1, 2 * STEPS - WARM_UP)


def test_a_number_that_python_kept_is_noticed(data_dir: Path):
    """The learning rate of a run without graphs is one: replays go on with that of the recorded step."""
    settings = config(cuda_graphs=False, schedule="onecycle")
    plain, replayed = Training(settings, data_dir), Training(settings, data_dir, OnCpu())
    losses, again = plain.epoch(1), replayed.epoch(1)
    assert losses[: WARM_UP + 1] == again[: WARM_UP + 1]
    plain.epoch(2)
    replayed.epoch(2)
    assert not all(torch.equal(one, other) for one, other in zip(replayed.state(), plain.state(), strict=True))


def test_a_learning_rate_on_the_device_trains_as_one_in_python_does(data_dir: Path):
    """Not bit for bit: on the device it is a float32."""
    for optimizer in ("adam", "adamw", "sgd"):
        on_device = config(
            optimizer=optimizer, arch="mlp", schedule="onecycle", dropout=0.0, precision="float32", lr=0.003
        )
        plain = Training(replace(on_device, cuda_graphs=False), data_dir)
        assert Training(on_device, data_dir).epoch(1) == pytest.approx(plain.epoch(1), rel=1e-4)


def test_rmsprop_never_asks_a_gpu_for_its_learning_rate():
    """A GPU is only thought of here: of its tensors all is known but their values, and asking for one raises.

    A CPU's RMSprop cannot be recorded: torch makes it so on GPUs alone.
    """
    with FakeTensorMode():
        weights = [nn.Parameter(torch.rand(3, 4, device="cuda")) for _ in range(2)]
        optimizer = make_optimizer(config(optimizer="rmsprop", weight_decay=0.1), weights)
        for step in range(2):
            set_lr(optimizer, 0.1 / (1 + step))
            for weight in weights:
                weight.grad = torch.rand_like(weight)
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        assert {state["step"].device.type for state in optimizer.state.values()} == {"cuda"}
        with pytest.raises(DataDependentOutputException):
            optimizer.param_groups[0]["lr"].item()


def test_a_training_goes_on_within_an_epoch_from_where_its_generators_stood(data_dir: Path):
    """Stopped after replays, taken up by a learner that records anew."""
    whole = Training(config(**MIXED), data_dir, OnCpu())
    losses = [*whole.epoch(1), *whole.epoch(2)]
    first = Training(config(**MIXED), data_dir, OnCpu())
    begun = [*first.epoch(1), *first.epoch(2, end=2)]
    random = first.learner.random_state()
    rest = Training(config(**MIXED), data_dir, OnCpu())
    rest.learner.load(copy.deepcopy(first.learner.state()))
    rest.learner.start_epoch(2, steps=2, correct=float(first.learner.correct))
    rest.learner.load_random(random)
    assert begun + rest.epoch(2, begin=2) == losses
    assert all(torch.equal(one, other) for one, other in zip(rest.state(), whole.state(), strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_a_run_with_graphs_saved_is_gone_on_with_without_them(data_dir: Path, optimizer: str):
    """Where the optimizer keeps its state and its learning rate is the run's own affair, not its predecessor's."""
    with_graphs = config(optimizer=optimizer, arch="mlp")
    without = replace(with_graphs, cuda_graphs=False)
    for before, after in ((with_graphs, without), (without, with_graphs)):
        saved = Training(before, data_dir)
        saved.epoch(1)
        taken_up = Training(after, data_dir)
        own = taken_up.learner.optimizer.param_groups[0]
        kinds = (type(own["lr"]), own.get("capturable"))
        taken_up.learner.load(copy.deepcopy(saved.learner.state()))
        own = taken_up.learner.optimizer.param_groups[0]
        assert (type(own["lr"]), own.get("capturable")) == kinds
        assert taken_up.epoch(2) == pytest.approx(saved.epoch(2), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"), [({"device": "cpu"}, "the device is the CPU"), ({"processes": 2}, "one process")]
)
def test_graphs_are_refused_at_their_field_where_they_cannot_be(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert message in caught.value.errors["cuda_graphs"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to take")
def test_graphs_are_refused_at_their_field_where_auto_finds_no_gpu(data_dir: Path):
    with pytest.raises(ConfigError) as caught:
        next(iter(train(config(), data_dir=data_dir)))
    assert "there is none" in caught.value.errors["cuda_graphs"]
