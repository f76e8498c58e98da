"""Every setting does what it says, and none costs the exact resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainer import checkpoint, devices
from trainer.augment import Targets
from trainer.config import TrainConfig
from trainer.errors import ConfigError, DeviceError
from trainer.events import CheckpointSaved, Finished, Started
from trainer.group import Alone
from trainer.optim import Average, Objective, class_weights, make_optimizer

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
EVERYTHING = {
    "arch": "resnet",
    "arch_options": {"width": 8},
    "normalize": True,
    "flip": True,
    "shift": 2,
    "rotate": 10.0,
    "erase": 0.3,
    "mix": "cutmix",
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "optimizer": "sgd",
    "nesterov": True,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "schedule": "onecycle",
    "grad_clip": 1.0,
    "ema_decay": 0.99,
    "train_size": 512,
    "val_size": 200,
}


@pytest.mark.parametrize(
    "settings",
    [EVERYTHING, EVERYTHING | {"mix": "mixup", "optimizer": "adamw", "lr": 0.003, "schedule": "cosine"}],
    ids=["sgd, cutmix", "adamw, mixup"],
)
def test_with_everything_on_a_resumed_run_equals_one_that_never_stopped(run, tmp_path: Path, settings: dict):  # noqa: ANN001
    """The first part is cut off by a stop after its second epoch, as a killed worker's is."""
    whole = run(epochs=4, run_dir=tmp_path / "whole", **settings)
    parts = run(epochs=4, run_dir=tmp_path / "parts", stop_after=2, **settings)
    assert isinstance(parts.events[-1], Finished)
    assert parts.events[-1].reason == "stopped"
    rest = run(epochs=4, run_dir=tmp_path / "parts", **settings)
    assert [epoch.epoch for epoch in rest.epochs] == [3, 4]
    assert rest.numbers == whole.numbers[2:]
    one, other = (checkpoint.read(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for kind in ("model", "average"):
        assert all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])
    for state, again in zip(one["optimizer"]["state"].values(), other["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(state[name], again[name]) for name in state if isinstance(state[name], torch.Tensor))


def test_a_schedule_that_depends_on_the_length_refuses_another_length(run, tmp_path: Path):  # noqa: ANN001
    run(epochs=1, schedule="cosine", run_dir=tmp_path)
    with pytest.raises(Exception, match="another epochs"):
        run(epochs=2, schedule="cosine", run_dir=tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"arch": "mlp"},
        {"arch": "lenet", "lr": 0.003},
        # More steps than the others: BatchNorm validates with running averages, which lag behind by tens of steps.
        {"arch": "resnet", "arch_options": {"width": 4}, "batch_size": 64},
        {"optimizer": "sgd", "lr": 0.05, "nesterov": True},
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "onecycle", "lr": 0.003},
        {"optimizer": "rmsprop", "lr": 0.0005, "grad_clip": 0.5},
        {"normalize": True, "flip": True, "shift": 1, "ema_decay": 0.9},
        {"mix": "mixup", "label_smoothing": 0.1},
        {"class_weights": "1, 1, 1, 1, 1, 1, 2, 1, 1, 1"},
        {"precision": "bfloat16"},
        {"image_size": 32, "dropout": 0.0},
    ],
    ids=str,
)
def test_it_learns_with(run, settings: dict):  # noqa: ANN001
    trained = run(**({"train_size": 2048, "epochs": 2} | settings))
    chance = 0.1
    assert trained.epochs[-1].val_accuracy > 4 * chance
    assert trained.epochs[-1].val_loss < 1.8


def test_the_averaged_weights_are_what_is_validated_and_saved(run, tmp_path: Path):  # noqa: ANN001
    from safetensors.torch import load_file

    run(epochs=1, ema_decay=0.9, run_dir=tmp_path)
    state, saved = checkpoint.read(tmp_path / "last.pt"), load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(saved[name], state["average"][name]) for name in saved)
    assert any(not torch.equal(saved[name], state["model"][name]) for name in saved)


def test_the_average_follows_its_formula():
    model, averaged = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    averaged.load_state_dict(model.state_dict())
    average, expected = Average(model, averaged, 0.5), model.weight.detach().clone()
    for step in range(20):
        model.weight.data.normal_()
        average.begin(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(averaged.weight.detach(), expected)


def test_early_stopping_ends_the_run_after_so_many_epochs_without_a_better_one(run, tmp_path: Path):  # noqa: ANN001
    """A learning rate of next to nothing: the first epochs are as good as it gets."""
    trained = run(epochs=30, lr=1e-12, patience=3, train_size=256, val_size=100, run_dir=tmp_path)
    best = max(trained.epochs, key=lambda epoch: (epoch.val_accuracy, -epoch.epoch)).epoch
    assert isinstance(trained.events[-1], Finished)
    assert trained.events[-1].reason == "early"
    assert trained.epochs[-1].epoch == best + 3
    again = run(epochs=30, lr=1e-12, patience=3, train_size=256, val_size=100, run_dir=tmp_path)
    assert [type(event) for event in again.events] == [Started, Finished]


@pytest.mark.parametrize("weights", [None, "balanced", "0.5, 1, 2"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_cross_entropy(weights: str | None, smoothing: float):
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    config = TrainConfig(label_smoothing=smoothing, class_weights=weights)
    loss, share = Objective(config, labels.numpy(), 3, CPU)(logits, Targets(labels), batch_size=6, group=Alone())
    asked = class_weights(weights, labels.numpy(), 3)
    given = None if asked is None else torch.tensor(asked)
    expected = F.cross_entropy(logits, labels, weight=given, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(share, expected)


def test_a_batch_whose_classes_all_weigh_nothing_teaches_nothing():
    """Smoothing gives the other classes a part of each label, and they do weigh something."""
    labels = torch.tensor([0, 0])
    logits = torch.randn(2, 2, requires_grad=True)
    config = TrainConfig(label_smoothing=0.1, class_weights="0, 1")
    loss, share = Objective(config, labels.numpy(), 2, CPU)(logits, Targets(labels), batch_size=2, group=Alone())
    loss.backward()
    assert (loss.item(), share.item(), logits.grad.abs().sum().item()) == (0, 0, 0)  # type: ignore[union-attr]


def test_the_loss_of_mixed_labels_is_the_mix_of_both():
    first, second = torch.tensor([0, 1]), torch.tensor([2, 0])
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    objective = Objective(TrainConfig(), first.numpy(), 3, CPU)
    loss, _ = objective(logits, Targets(first, second, torch.tensor(0.3)), batch_size=2, group=Alone())
    expected = 0.3 * F.cross_entropy(logits, first) + 0.7 * F.cross_entropy(logits, second)
    torch.testing.assert_close(loss, expected)


def test_balanced_weights_make_every_class_weigh_alike():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights("balanced", labels, 4)
    assert weights is not None
    assert [weight * count for weight, count in zip(weights[:3], (6, 3, 1), strict=True)] == pytest.approx([2.5] * 3)
    assert weights[3] == 0


@pytest.mark.parametrize(("typed", "message"), [("1,2", "Has 2 numbers, but the data set has 10"), ("0,0", "0")])
def test_class_weights_that_do_not_fit_are_refused_at_their_field(run, typed: str, message: str):  # noqa: ANN001
    with pytest.raises(ConfigError) as caught:
        run(class_weights=typed if typed == "1,2" else ",".join(["0"] * 10))
    assert message in caught.value.errors["class_weights"]


@pytest.mark.parametrize(
    ("optimizer", "given_", "expected"),
    [("adamw", None, 0.01), ("adam", None, 0.0), ("adamw", 0.0, 0.0), ("sgd", 0.1, 0.1)],
)
def test_an_empty_weight_decay_is_the_optimizers_own(optimizer: str, given_: float | None, expected: float):
    made = make_optimizer(TrainConfig(optimizer=optimizer, weight_decay=given_), nn.Linear(1, 1).parameters())
    assert made.param_groups[0]["weight_decay"] == expected


def test_clipped_gradients_make_shorter_steps(run, tmp_path: Path):  # noqa: ANN001
    def weights(name: str, **settings: object) -> dict[str, torch.Tensor]:
        """After the one step that a single batch makes."""
        run(epochs=1, optimizer="sgd", momentum=0.0, train_size=128, run_dir=tmp_path / name, **settings)
        model: dict[str, torch.Tensor] = checkpoint.read(tmp_path / name / "last.pt")["model"]
        return model

    start = weights("start", lr=1e-30)

    def moved(after: dict[str, torch.Tensor]) -> float:
        return float(sum(((after[name] - start[name]) ** 2).sum() for name in start) ** 0.5)

    assert moved(weights("clipped", lr=0.1, grad_clip=0.01)) == pytest.approx(0.1 * 0.01, rel=0.01)
    assert moved(weights("free", lr=0.1)) > 0.005


def test_bfloat16_stays_close_to_float32(run):  # noqa: ANN001
    exact, fast = (run(precision=name, epochs=1, dropout=0.0).epochs[0] for name in ("float32", "bfloat16"))
    assert fast.train_loss == pytest.approx(exact.train_loss, rel=0.02)
    assert fast.val_loss == pytest.approx(exact.val_loss, rel=0.03)


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(DeviceError, match="choose float32 or bfloat16"):
        devices.precision("tf32", CPU)


def test_a_start_tells_what_was_chosen(run, tmp_path: Path):  # noqa: ANN001
    trained = run(epochs=1, run_dir=tmp_path)
    started = trained.events[0]
    assert isinstance(started, Started)
    assert started.precision in ("float32", "bfloat16")
    assert started.matmul_flops_per_s > 1e9
    # Forward 2 x (24² x 5² x 32 + 8² x 5² x 32 x 64 + 1024 x 512 + 512 x 10); backward twice that, but no gradient
    # of the pixels.
    forward = 2 * (24**2 * 25 * 32 + 8**2 * 25 * 32 * 64 + 1024 * 512 + 512 * 10)
    assert started.flops_per_image == 3 * forward - 2 * 24**2 * 25 * 32
    (saved,) = (event for event in trained.events if isinstance(event, CheckpointSaved))
    assert saved.best


def test_the_times_of_an_epoch_add_up(run):  # noqa: ANN001
    for epoch in run(epochs=2).epochs:
        times = epoch.timings
        parts = times.data + times.compute + times.validation + times.recording
        assert parts == pytest.approx(epoch.seconds, rel=0.02)
        assert times.compute > times.recording
