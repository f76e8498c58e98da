"""What is on disk after a stop, a full disk or a bit that has changed, and that a run goes on from it exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open

from tests.limits import files_no_larger_than
from tests.trainer.conftest import Trained
from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.events import CheckpointFailed, CheckpointSaved, EpochDone, Finished, Started
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"train_size": 512, "val_size": 1500, "batch_size": 128, "epochs": 2}
EVERYTHING = {
    "arch": "resnet", "arch_options": {"width": 4}, "shift": 2, "flip": True, "erase": 0.3, "mix": "cutmix",
    "optimizer": "sgd", "lr": 0.05, "schedule": "onecycle", "ema_decay": 0.99, "normalize": True,
}  # fmt: skip


def trained(data_dir: Path, run_dir: Path, *, asked: int | None = None, **settings: object) -> Trained:
    """`asked`: how often `should_stop` answers no.

    It is asked before each step, for each validation batch, before a state is written, and before it takes the place
    of the old.
    """
    left = asked

    def should_stop() -> bool:
        nonlocal left
        if left is None:
            return False
        left -= 1
        return left < 0

    config = TrainConfig(**(SMALL | settings))  # type: ignore[arg-type]
    return Trained(list(train(config, data_dir=data_dir, run_dir=run_dir, should_stop=should_stop)))


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        (2, {"loading": "dataloader", "num_workers": 0}),
        (5, {}),
        (9, EVERYTHING),
        (10, EVERYTHING | {"optimizer": "adam", "mix": "mixup"}),
    ],
    ids=["in the first epoch", "in validation", "in the second epoch", "there with mixup"],
)
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(data_dir: Path, tmp_path: Path, asked: int, settings: dict):
    whole = trained(data_dir, tmp_path / "whole", **settings)
    part = trained(data_dir, tmp_path / "parts", asked=asked, **settings)
    saved, finished = part.events[-2:]
    assert isinstance(saved, CheckpointSaved)
    assert isinstance(finished, Finished)
    # Eight times an epoch: four steps, two validation batches, before and after one state is written.
    assert (finished.reason, saved.epoch, saved.steps) == ("stopped", asked // 8, min(asked % 8, 4))
    rest = trained(data_dir, tmp_path / "parts", **settings)
    assert isinstance(rest.events[0], Started)
    assert (rest.events[0].epochs_before, rest.events[0].steps_before) == (saved.epoch, saved.steps)
    assert rest.numbers == whole.numbers[saved.epoch :]
    assert rest.losses == whole.losses[saved.epoch * 4 :], "what the first part told of this epoch is told again"
    one, other = (checkpoint.read(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for kind in ("model", "average"):
        assert one[kind] is None or all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])


def test_a_stop_before_anything_new_saves_nothing(data_dir: Path, tmp_path: Path):
    trained(data_dir, tmp_path, asked=2)
    before = (tmp_path / "last.pt").read_bytes()
    again = trained(data_dir, tmp_path, asked=0)
    assert isinstance(again.events[-1], Finished)
    assert (tmp_path / "last.pt").read_bytes() == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_taken(data_dir: Path, tmp_path: Path, damage):  # noqa: ANN001
    whole = trained(data_dir, tmp_path / "whole", epochs=3)
    trained(data_dir, tmp_path / "parts", epochs=2)
    damage(tmp_path / "parts" / "last.pt")
    rest = trained(data_dir, tmp_path / "parts", epochs=3)
    assert isinstance(rest.events[0], Started)
    assert rest.events[0].epochs_before == 1
    assert "goes on from the one before" in (rest.events[0].warning or "")
    assert rest.numbers == whole.numbers[1:]
    # The damaged file was not kept as the one before.
    assert [checkpoint.read(tmp_path / "parts" / name)["epoch"] for name in ("last.pt", "previous.pt")] == [3, 2]


def test_with_all_checkpoints_damaged_the_run_is_refused_in_words(data_dir: Path, tmp_path: Path):
    trained(data_dir, tmp_path)
    for name in ("last.pt", "previous.pt"):
        flip(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged: its checksum does not match"):
        trained(data_dir, tmp_path, epochs=3)


def test_a_checkpoint_of_the_version_before_is_read(data_dir: Path, tmp_path: Path):
    """It had neither a checksum nor a place within an epoch."""
    trained(data_dir, tmp_path, epochs=1)
    state = checkpoint.read(tmp_path / "last.pt")
    del state["within"]
    torch.save(state | {"format": 1}, tmp_path / "last.pt")
    assert [number[0] for number in trained(data_dir, tmp_path).numbers] == [2]


def test_a_checkpoint_that_cannot_be_written_is_told_and_training_goes_on(data_dir: Path, tmp_path: Path):
    trained(data_dir, tmp_path, epochs=1)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_no_larger_than(1_000_000):
        told = trained(data_dir, tmp_path, epochs=3)
    failed = [event for event in told.events if isinstance(event, CheckpointFailed)]
    assert [event.epoch for event in failed] == [2, 3]
    assert "File too large" in failed[0].message
    assert isinstance(told.events[-1], Finished)
    assert told.events[-1].reason == "completed"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept, "nothing half-written is left"
    again = trained(data_dir, tmp_path, epochs=3)
    assert again.numbers == told.numbers
    assert not [event for event in again.events if isinstance(event, CheckpointFailed)]


def test_the_best_that_could_not_be_kept_leaves_the_place_to_the_next_that_is_better(data_dir: Path, tmp_path: Path):
    """Files and what is known of them agree: the best is the best of those that were saved."""
    settings = {"epochs": 8, "train_size": 2048, "lr": 0.0003}
    config = TrainConfig(**(SMALL | settings))  # type: ignore[arg-type]
    done, accuracies, failed = 0, {}, set()
    events = train(config, data_dir=data_dir, run_dir=tmp_path)
    while True:
        # The disk is full for all states but those of two epochs.
        with files_no_larger_than(10**12 if done + 1 in (2, 6) else 1_000_000):
            event = next(events, None)
        if event is None:
            break
        if isinstance(event, EpochDone):
            done, accuracies[event.epoch] = event.epoch - 1, event.val_accuracy
        if isinstance(event, (CheckpointSaved, CheckpointFailed)):
            done = event.epoch
            failed |= {event.epoch} if isinstance(event, CheckpointFailed) else set()
    assert failed == {1, 3, 4, 5, 7, 8}
    best = max((2, 6), key=lambda epoch: accuracies[epoch])
    assert checkpoint.read(tmp_path / "best.pt")["epoch"] == best
    with safe_open(tmp_path / "best.safetensors", "pt") as weights:
        assert weights.metadata()["epoch"] == str(best)


def test_what_a_dying_process_left_half_written_is_removed(data_dir: Path, tmp_path: Path):
    trained(data_dir, tmp_path, epochs=1)
    (tmp_path / "last.pt.0badf00d.part").write_bytes(b"half")
    trained(data_dir, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_what_one_that_lost_the_run_leaves_half_written_is_removed_when_the_run_is_over(data_dir: Path, tmp_path: Path):
    config = TrainConfig(**SMALL)  # type: ignore[arg-type]
    for event in train(config, data_dir=data_dir, run_dir=tmp_path):
        if isinstance(event, EpochDone):
            (tmp_path / "last.pt.0badf00d.part").write_bytes(b"half")
    assert not list(tmp_path.glob("*.part"))


def test_data_that_have_changed_since_are_refused_in_words(tmp_path: Path):
    folder = tmp_path / "csv" / "own"
    folder.mkdir(parents=True)
    rows = [f"{place % 3}," + ",".join(str((place * 7 + pixel) % 256) for pixel in range(256)) for place in range(40)]
    (folder / "train.csv").write_text("\n".join(rows))
    settings = {"dataset": "csv:own", "arch": "mlp", "image_size": 16, "train_size": None, "val_size": None}
    small = SMALL | settings | {"batch_size": 8}
    run_dir = tmp_path / "run"
    list(train(TrainConfig(**small), data_dir=tmp_path, run_dir=run_dir))  # type: ignore[arg-type]
    (folder / "train.csv").write_text("\n".join([*rows, rows[0].replace("0,", "3,", 1)] * 2))
    longer = TrainConfig(**small | {"epochs": 3})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="csv:own has changed"):
        list(train(longer, data_dir=tmp_path, run_dir=run_dir))


def test_what_was_stopped_within_an_epoch_is_not_begun_again_by_several_processes(data_dir: Path, tmp_path: Path):
    trained(data_dir, tmp_path, asked=2)
    shared = TrainConfig(**SMALL, processes=2)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="one process alone"):
        list(train(shared, data_dir=data_dir, run_dir=tmp_path))
