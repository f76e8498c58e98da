"""Settings that do not suit a network or a data set are refused at their field, before anything is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors import safe_open

from tests.trainer.ingest.conftest import arrays
from trainer.__main__ import main
from trainer.config import TrainConfig, validate
from trainer.errors import ConfigError
from trainer.events import EpochDone
from trainer.fit import misfits
from trainer.ingest import Choices, Upload, convert
from trainer.loop import train
from trainer.models import REGISTRY
from trainer.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a small set in colour: 3 classes, bright at another place each."""
    random = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = random.integers(0, 90, (240, 12, 10, 3), np.uint8)
    for place, label in enumerate(labels):
        images[place, 4 * label : 4 * label + 4, :, label] += 150
    store = Store(tmp_path)
    place = store.workplace()
    (place / "a.npz").write_bytes(arrays(images=images, labels=np.array(["top", "middle", "bottom"])[labels]))
    convert([Upload(place / "a.npz", "a.npz")], Choices(), place / "out")
    store.accept(place / "out", "bars")
    return tmp_path


@pytest.mark.parametrize("arch", list(REGISTRY))
def test_an_image_too_small_for_the_network_is_refused_in_the_form(arch: str):
    smallest = REGISTRY[arch].smallest
    for size in range(8, 17):
        errors = validate({"arch": arch, "image_size": size})
        assert ("image_size" in errors) == (size < smallest)
        assert not errors or errors["image_size"].endswith(f"needs at least {smallest} pixels.")


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"class_weights": "1,2"}, "class_weights", "Has 2 numbers, but the data set has 3 classes."),
        ({"class_weights": "0,0,0"}, "class_weights", "Must not all be 0."),
        ({"batch_size": 256}, "batch_size", "Is larger than the 201 training images there are."),
        ({"dataset": "set:bars@2"}, "dataset", "There is no data set bars, version 2 here."),
    ],
)
def test_what_does_not_suit_the_data_set_is_told_by_field_and_by_the_trainer_too(
    data: Path, changes: dict[str, object], field: str, message: str
):
    config = TrainConfig.from_dict({"dataset": "set:bars", "batch_size": 20, "epochs": 1} | changes)
    assert message in misfits(config, data)[field]
    if field != "dataset":
        with pytest.raises(ConfigError) as caught:
            next(iter(train(config, data_dir=data)))
        assert message in caught.value.errors[field]


@pytest.mark.parametrize(
    ("arch", "loading"), [("net", "resident"), ("lenet", "resident"), ("resnet", "resident"), ("mlp", "dataloader")]
)
def test_networks_train_on_a_set_of_another_shape(data: Path, arch: str, loading: str):
    own = {"resnet": {"resnet_width": 4}, "mlp": {"mlp_width": 16}}.get(arch, {})
    config = TrainConfig.from_dict(
        {"dataset": "set:bars@1", "arch": arch, "image_size": 16, "batch_size": 20, "epochs": 1, "num_workers": 1}
        | {"train_size": 40, "val_size": 10, "loading": loading, **own}
    )
    assert misfits(config, data) == {}
    done = [event for event in train(config, data_dir=data) if isinstance(event, EpochDone)]
    assert np.isfinite(done[0].val_loss)


def test_in_the_terminal_a_name_means_its_newest_version_and_a_checkpoint_says_which(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--arch", "mlp", "--mlp-width", "16", "--batch-size", "20", "--epochs", "1", "--data-dir", str(data)]
    assert main(["--dataset", "set:bars", "--run-dir", str(tmp_path / "run"), *arguments]) == 0
    assert "Finished 1 epoch in" in capsys.readouterr().out
    with safe_open(tmp_path / "run" / "best.safetensors", "pt") as saved:
        assert json.loads(saved.metadata()["config"])["dataset"] == "set:bars@1"
    assert main(["--dataset", "set:boots", *arguments]) == 1
    assert "There is no data set boots here" in capsys.readouterr().err


def test_of_files_that_have_not_been_read_nothing_is_said(tmp_path: Path):
    (tmp_path / "csv" / "a").mkdir(parents=True)
    (tmp_path / "csv" / "a" / "train.csv").write_text("0,1\n1,2\n")
    assert misfits(TrainConfig(dataset="csv:a"), tmp_path) == {}
