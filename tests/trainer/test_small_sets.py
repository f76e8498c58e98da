"""torchvision's small sets, from small files in their real formats; nothing here goes to a network."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from app.config import ROOT
from tests.trainer.ingest.conftest import idx
from trainer import small_sets, sources
from trainer.errors import DataMissing
from trainer.small_sets import SMALL

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (60, 28, 28), np.uint8)
COLOUR = RANDOM.integers(0, 256, (60, 32, 32, 3), np.uint8)


def in_order(classes: int) -> np.ndarray:
    return np.arange(60) % classes


def put(folder: Path, name: str, content: bytes) -> str:
    """The MD5 of what was written, by which torchvision knows a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("name", "prefixes", "classes"),
    [
        ("mnist", ("MNIST/raw/train", "MNIST/raw/t10k"), 10),
        ("kmnist", ("KMNIST/raw/train", "KMNIST/raw/t10k"), 10),
        ("emnist", ("EMNIST/raw/emnist-balanced-train", "EMNIST/raw/emnist-balanced-test"), 47),
    ],
)
def test_those_like_mnist_are_kept_as_they_are(tmp_path: Path, name: str, prefixes: tuple[str, str], classes: int):
    for number, prefix in enumerate(prefixes):
        folder = tmp_path / "downloads" / name / prefix
        put(folder.parent, f"{folder.name}-images-idx3-ubyte", idx(GREY[number:]))
        put(folder.parent, f"{folder.name}-labels-idx1-ubyte", idx(in_order(classes)[number:]))
    kept = small_sets.fetch(name, tmp_path)
    assert (kept.id, len(kept.about.classes)) == (f"set:{name}@1", classes)
    assert kept.card.licence
    upright = GREY.transpose(0, 2, 1) if name == "emnist" else GREY
    for split, start in (("train", 0), ("val", 1)):
        found = sources.load(kept.id, split, tmp_path)  # type: ignore[arg-type]
        assert (found.images[..., 0] == upright[start:]).all()
        assert found.labels.tolist() == in_order(classes)[start:].tolist()
    assert not (tmp_path / "downloads" / name).exists()
    assert small_sets.fetch(name, tmp_path) == kept  # without a download


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_those_like_cifar_are_kept_as_they_are(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    classes, key = (10, "labels") if name == "cifar10" else (100, "fine_labels")
    folder = tmp_path / "downloads" / name / kind.base_folder
    planes = COLOUR.transpose(0, 3, 1, 2).reshape(60, -1)
    digests = {
        file: put(folder, file, pickle.dumps({"data": planes, key: in_order(classes).tolist()}))
        for file in ("one", "two")
    }
    names = [f"class {number}" for number in range(classes)]
    meta = put(folder, "meta", pickle.dumps({kind.meta["key"]: names}))
    monkeypatch.setattr(kind, "train_list", [["one", digests["one"]]])
    monkeypatch.setattr(kind, "test_list", [["two", digests["two"]]])
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": kind.meta["key"], "md5": meta})
    kept = small_sets.fetch(name, tmp_path)
    found = sources.load(kept.id, "train", tmp_path)
    assert (found.images == COLOUR).all()
    assert [found.classes[label] for label in found.labels] == [names[label] for label in in_order(classes)]


def test_house_numbers_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, parts = tmp_path / "downloads" / "svhn", {}
    folder.mkdir(parents=True)
    labels = np.where(in_order(10) == 0, 10, in_order(10)).reshape(-1, 1).astype(np.uint8)
    for split in ("train", "test"):
        savemat(folder / f"{split}.mat", {"X": COLOUR.transpose(1, 2, 3, 0), "y": labels})
        parts[split] = ["", f"{split}.mat", hashlib.md5((folder / f"{split}.mat").read_bytes()).hexdigest()]  # noqa: S324
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    found = sources.load(small_sets.fetch("svhn", tmp_path).id, "val", tmp_path)
    assert (found.images == COLOUR).all()
    assert found.labels.tolist() == in_order(10).tolist()
    assert found.classes == tuple("0123456789")


def test_without_a_network_it_says_so_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataMissing, match=r"MNIST could not be downloaded \(.*needs a network"):
        small_sets.fetch("mnist", tmp_path)
    assert not (tmp_path / "sets").exists()


def test_as_a_process_it_answers_in_json(tmp_path: Path):
    for part in ("train", "t10k"):
        folder = tmp_path / "downloads" / "mnist" / "MNIST" / "raw"
        put(folder, f"{part}-images-idx3-ubyte", idx(GREY))
        put(folder, f"{part}-labels-idx1-ubyte", idx(in_order(10)))
    question = json.dumps({"fetch": "mnist", "data_dir": str(tmp_path)})
    command = [sys.executable, "-m", "trainer.small_sets"]
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=True, cwd=ROOT)
    *progress, answer = map(json.loads, done.stdout.splitlines())
    assert answer == {"kept": "set:mnist@1"}
    assert all(0 <= line["progress"][0] <= line["progress"][1] == SMALL["mnist"].bytes for line in progress)


def test_an_unknown_name_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    from app.cli import main

    assert main(["data", "imagenet"]) == 2
    assert "There is no imagenet to fetch; there are fashion-mnist, mnist, kmnist" in capsys.readouterr().err
