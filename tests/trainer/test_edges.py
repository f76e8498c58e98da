"""Runs at the edges: too little data, too few classes, workers that die."""

from __future__ import annotations

import os
import signal
import struct
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from trainer import sources
from trainer.config import TrainConfig
from trainer.devices import out_of_memory
from trainer.errors import ConfigError, DataError
from trainer.events import EpochDone, Finished, Steps
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path


def write_set(data_dir: Path, labels: list[int], *, val: list[int] | None = None) -> Path:
    """A data folder in Fashion-MNIST's layout, of noise with these labels."""
    folder = sources.fashion_mnist_folder(data_dir)
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for prefix, these in (("train", labels), ("t10k", labels if val is None else val)):
        pixels = random.integers(0, 256, (len(these), 28, 28), np.uint8)
        images = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        numbers = struct.pack(">4BI", 0, 0, 8, 1, len(these)) + bytes(these)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(numbers)
    return data_dir


def trained(data_dir: Path, **settings: object) -> list[EpochDone]:
    events = list(train(TrainConfig(**({"epochs": 1} | settings)), data_dir=data_dir))  # type: ignore[arg-type]
    assert isinstance(events[-1], Finished)
    return [event for event in events if isinstance(event, EpochDone)]


@pytest.mark.parametrize("arch", ["net", "resnet", "mlp"])
def test_batches_of_one_image_train(tmp_path: Path, arch: str):
    options = {"width": 4} if arch == "resnet" else {}
    write_set(tmp_path, [0, 1, 2, 3, 4])
    (epoch,) = trained(tmp_path, arch=arch, arch_options=options, batch_size=1)
    assert 0 <= epoch.val_accuracy <= 1


def test_one_image_of_which_batch_norm_sees_one_value_is_refused_at_the_batch_size(tmp_path: Path):
    write_set(tmp_path, [0, 1, 2, 3, 4])
    settings = {"arch": "resnet", "arch_options": {"width": 4}, "image_size": 8}
    with pytest.raises(ConfigError) as caught:
        trained(tmp_path, **settings, batch_size=1)
    assert "2 or more" in caught.value.errors["batch_size"]
    (epoch,) = trained(tmp_path, **settings, batch_size=2)
    assert 0 <= epoch.val_accuracy <= 1


def test_a_last_validation_batch_of_one_image_is_fine_with_batch_norm(tmp_path: Path):
    write_set(tmp_path, [0, 1] * 8, val=[1] * 1001)
    (epoch,) = trained(tmp_path, arch="resnet", arch_options={"width": 4}, batch_size=8)
    assert len(epoch.predictions.classes) == 1001


def test_images_of_one_class_are_all_told_right(tmp_path: Path):
    folder = tmp_path / "csv" / "one"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("".join(f"0,{','.join(['7'] * 784)}\n" for _ in range(20)))
    (epoch,) = trained(tmp_path, dataset="csv:one", batch_size=4)
    assert (epoch.train_loss, epoch.val_loss, epoch.val_accuracy) == (0, 0, 1)


def test_an_empty_set_is_refused_in_words(tmp_path: Path):
    write_set(tmp_path, [])
    with pytest.raises(DataError, match="There are no training images"):
        trained(tmp_path)


def test_an_empty_validation_set_is_refused_in_words(tmp_path: Path):
    write_set(tmp_path, [0, 1], val=[])
    with pytest.raises(DataError, match="There are no validation images"):
        trained(tmp_path, batch_size=2)


def test_a_label_out_of_range_is_refused_in_words(tmp_path: Path):
    write_set(tmp_path, [0, 1, 10])
    with pytest.raises(DataError, match="has a label 10"):
        trained(tmp_path, batch_size=2)


def test_a_set_smaller_than_a_batch_is_refused_at_the_field(tmp_path: Path):
    write_set(tmp_path, [0, 1, 2])
    with pytest.raises(ConfigError) as caught:
        trained(tmp_path)
    assert "3 training images" in caught.value.errors["batch_size"]


def test_a_data_worker_that_is_killed_ends_the_run_in_words(data_dir: Path):
    config = TrainConfig(loading="dataloader", num_workers=2, epochs=50, train_size=4096, val_size=100, batch_size=64)
    events = train(config, data_dir=data_dir)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    while not isinstance(next(events), Steps):
        pass
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    workers = [child for child in children if "forkserver" in " ".join(child.cmdline()) and not child.children()]
    assert workers
    origin = workers[0].parent()
    assert origin is not None
    # They are forked from one process that has read torch, instead of each reading it for itself.
    assert any("libtorch" in region.path for region in origin.memory_maps())
    os.kill(workers[-1].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="A data worker ended unexpectedly"):
        for _ in events:
            pass


def test_a_run_without_a_gpu_leaves_less_than_a_gigabyte_resident(data_dir: Path):
    """Beside what torch itself holds: the images are 55 MB, and are kept as bytes."""
    before = psutil.Process().memory_info().rss
    events = train(TrainConfig(loading="resident", epochs=1), data_dir=data_dir)
    while not isinstance(next(events), Steps):
        pass
    held = psutil.Process().memory_info().rss - before
    events.close()  # type: ignore[attr-defined]
    assert held < 1e9


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", False),
    ],
)
def test_a_full_device_is_known_by_what_its_libraries_say(said: str, full: bool):
    assert out_of_memory(RuntimeError(said)) is full
