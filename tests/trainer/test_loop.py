"""Training on real images: what it tells, that it repeats exactly, and how it ends."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError, DataMissing, DeviceError, Diverged
from trainer.events import CheckpointSaved, EpochDone, Event, Finished, Started, Steps
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_tells_its_story_in_order(run, tmp_path: Path):  # noqa: ANN001
    kinds = [type(event) for event in run(run_dir=tmp_path).events]
    merged = [kind for place, kind in enumerate(kinds) if place == 0 or kind is not kinds[place - 1]]
    assert merged == [Started, Steps, EpochDone, CheckpointSaved, Steps, EpochDone, CheckpointSaved, Finished]


def test_every_step_is_told_once(run):  # noqa: ANN001
    trained = run(epochs=2)
    told = [block.first_step + place for block in trained.steps for place in range(len(block.losses))]
    assert told == list(range(2 * (1024 // 128)))
    assert [block.epoch for block in trained.steps] == [1 + block.first_step // 8 for block in trained.steps]


def test_the_training_loss_is_the_mean_over_the_images_seen(run):  # noqa: ANN001
    """1000 images in batches of 128: seven whole batches, and 104 images that are dropped and not counted."""
    trained = run(train_size=1000, epochs=1)
    assert len(trained.losses) == 7
    assert trained.epochs[0].train_loss == pytest.approx(np.mean(trained.losses), rel=1e-6)
    assert trained.epochs[0].train_accuracy * 896 == pytest.approx(round(trained.epochs[0].train_accuracy * 896))


def test_it_learns(run):  # noqa: ANN001
    trained = run(train_size=4096, val_size=1000, epochs=4)
    assert trained.epochs[-1].val_accuracy > 0.7
    assert trained.epochs[-1].val_loss < trained.epochs[0].val_loss


def test_predictions_agree_with_the_accuracy(run, data_dir: Path):  # noqa: ANN001
    from trainer import sources

    epoch = run(epochs=1).epochs[0]
    labels = sources.load("fashion-mnist", "val", data_dir).labels[sources.subset_indices(10_000, 500)]
    predicted = np.frombuffer(epoch.predictions.classes, np.uint8)
    confidence = np.frombuffer(epoch.predictions.confidences, "<u2") / 65535
    assert (predicted == labels).mean() == epoch.val_accuracy
    assert ((confidence >= 0.1 - 1e-4) & (confidence <= 1)).all()


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(run):  # noqa: ANN001
    assert run(seed=7).numbers == run(seed=7).numbers


def test_another_seed_gives_other_numbers(run):  # noqa: ANN001
    assert run(seed=7, epochs=1).numbers != run(seed=8, epochs=1).numbers


def test_a_resumed_run_equals_one_that_never_stopped_bit_for_bit(run, tmp_path: Path):  # noqa: ANN001
    whole = run(epochs=5, run_dir=tmp_path / "whole")
    run(epochs=2, run_dir=tmp_path / "parts")
    rest = run(epochs=5, run_dir=tmp_path / "parts")
    assert rest.events[0].epochs_before == 2
    assert rest.numbers == whole.numbers[2:]
    one, other = (checkpoint.read(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_both_ways_of_loading_give_the_same_numbers(run, num_workers: int):  # noqa: ANN001
    resident = run(loading="resident", epochs=1)
    loaded = run(loading="dataloader", num_workers=num_workers, epochs=1)
    assert loaded.events[0].loading == "dataloader"
    assert loaded.numbers == resident.numbers


def test_a_stop_takes_effect_at_the_next_step(data_dir: Path):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    config = TrainConfig(train_size=1024, val_size=500, batch_size=128)
    events = list(train(config, data_dir=data_dir, should_stop=should_stop))
    assert asked == 4
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].epochs) == ("stopped", 0)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_told_first(data_dir: Path):
    """A learning rate of 10 kills some networks and blows up others: one seed of a few is enough."""
    outcomes = (until_it_diverges(seed, data_dir) for seed in range(4))
    losses, message = next((losses, message) for losses, message in outcomes if message)
    assert not all(math.isfinite(loss) for loss in losses)
    assert re.search(r"The loss became (NaN|infinite) in epoch 1, step \d+\. A learning rate lower than 10", message)


def until_it_diverges(seed: int, data_dir: Path) -> tuple[list[float], str]:
    losses: list[float] = []
    config = TrainConfig(optimizer="sgd", lr=10, train_size=6000, val_size=100, epochs=1, seed=seed)
    try:
        for event in train(config, data_dir=data_dir):
            losses += event.losses if isinstance(event, Steps) else ()
    except Diverged as error:
        return losses, str(error)
    return losses, ""


def test_weights_that_the_last_step_blew_up_are_not_a_finished_run(data_dir: Path, tmp_path: Path):
    """The losses of an epoch of one step are of the weights before it."""
    config = TrainConfig(
        arch="mlp", arch_options={"width": 64, "depth": 16}, optimizer="rmsprop", lr=10, dropout=0.0, epochs=1,
        train_size=128, val_size=100, batch_size=128, precision="float32",
    )  # fmt: skip
    told: list[Event] = []
    with pytest.raises(Diverged, match=r"The validation loss became (NaN|infinite) in epoch 1"):
        told.extend(train(config, data_dir=data_dir, run_dir=tmp_path))
    assert [len(event.losses) for event in told if isinstance(event, Steps)] == [1]
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there_is_named_with_those_that_are(data_dir: Path):
    with pytest.raises(DeviceError, match=r"There is no cuda:99 on this machine; it has cpu"):
        next(iter(train(TrainConfig(device="cuda:99"), data_dir=data_dir)))


def test_a_missing_data_set_says_what_to_do(tmp_path: Path):
    with pytest.raises(DataMissing, match="Run `make data`"):
        next(iter(train(TrainConfig(), data_dir=tmp_path)))


def test_a_batch_larger_than_the_set_is_refused(data_dir: Path):
    with pytest.raises(ConfigError) as caught:
        next(iter(train(TrainConfig(batch_size=65_536), data_dir=data_dir)))
    assert "60,000" in caught.value.errors["batch_size"]


def test_a_checkpoint_of_another_configuration_is_refused(run, tmp_path: Path):  # noqa: ANN001
    run(epochs=1, run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="another lr"):
        run(epochs=2, lr=0.01, run_dir=tmp_path)


@pytest.mark.parametrize("damage", [b"", b"garbage", None], ids=["empty", "garbage", "cut short"])
def test_a_damaged_checkpoint_is_refused_in_words(run, tmp_path: Path, damage: bytes | None):  # noqa: ANN001
    run(epochs=1, run_dir=tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:-1000] if damage is None else damage)
    with pytest.raises(CheckpointError, match="cannot be read"):
        run(epochs=2, run_dir=tmp_path)


def test_the_best_checkpoint_is_the_best_epochs(run, tmp_path: Path):  # noqa: ANN001
    trained = run(epochs=4, run_dir=tmp_path)
    best = max(trained.epochs, key=lambda epoch: (epoch.val_accuracy, -epoch.epoch))
    assert checkpoint.read(tmp_path / "best.pt")["epoch"] == best.epoch
    assert checkpoint.read(tmp_path / "last.pt")["epoch"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "best.safetensors",
        "last.pt",
        "previous.pt",
    ]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_learns(run, optimizer: str):  # noqa: ANN001
    lr = 0.05 if optimizer == "sgd" else 0.001
    trained = run(optimizer=optimizer, lr=lr, train_size=2048, epochs=2)
    assert trained.epochs[-1].val_loss < 1.5
    assert trained.epochs[-1].val_accuracy > 0.4


@pytest.mark.parametrize("image_size", [16, 32])
def test_images_are_resized_and_the_network_follows(run, image_size: int):  # noqa: ANN001
    side = ((image_size - 4) // 2 - 4) // 2
    trained = run(image_size=image_size, train_size=512, epochs=1)
    assert trained.events[0].parameters == 832 + 51_264 + (64 * side * side * 512 + 512) + 5_130
