"""Files as people bring them, made of real images."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from trainer import sources
from trainer.errors import IngestError
from trainer.ingest import Choices, Converted, Upload, convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Bench:
    """Files go into one folder, what is made of them into another."""

    def __init__(self, folder: Path) -> None:
        self.files, self.out = folder / "files", folder / "made" / "out"
        self.files.mkdir(parents=True)
        self.out.parent.mkdir()

    def file(self, name: str, content: str | bytes) -> Upload:
        path = self.files / str(len(list(self.files.iterdir())))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return Upload(path, name)

    def made(self, *files: Upload, **choices: object) -> Made:
        return Made(self.out, convert(files, Choices(**choices), self.out))  # type: ignore[arg-type]

    def made_again(self, *files: Upload, **choices: object) -> Made:
        self.out = self.out.with_name("again")
        return self.made(*files, **choices)

    def refused(self, *files: Upload, **choices: object) -> IngestError:
        """The error of converting them, after which nothing is left behind."""
        with pytest.raises(IngestError) as caught:
            convert(files, Choices(**choices), self.out)  # type: ignore[arg-type]
        assert list(self.out.parent.iterdir()) == []
        return caught.value


class Made:
    """A converted folder, read back."""

    def __init__(self, folder: Path, about: Converted) -> None:
        self.folder, self.about = folder, about
        self.images = {split: np.load(folder / f"{split}-images.npy") for split in ("train", "val")}
        self.labels = {split: np.load(folder / f"{split}-labels.npy") for split in ("train", "val")}

    def named(self, split: str) -> list[str]:
        """The class of each image."""
        return [self.about.classes[label] for label in self.labels[split]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def real(data_dir: Path) -> sources.ImageSet:
    """The first 1,200 images of Fashion-MNIST for training."""
    found = sources.load("fashion-mnist", "train", data_dir)
    return sources.ImageSet(np.array(found.images[:1200]), found.labels[:1200], found.classes)


def table(images: np.ndarray, labels: Sequence[object], *, delimiter: str = ",", header: bool = True) -> str:
    """As Kaggle hands them out."""
    out = io.StringIO()
    rows = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    flat = images.reshape(len(images), -1)
    if header:
        rows.writerow(["label", *(f"pixel{number}" for number in range(1, flat.shape[1] + 1))])
    rows.writerows([label, *row] for label, row in zip(labels, flat.tolist(), strict=True))
    return out.getvalue()


def picture(pixels: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    """[H, W, C] as a file."""
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, kind, **how)
    return out.getvalue()


def zipped(entries: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return out.getvalue()


def tarred(entries: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


def arrays(**found: np.ndarray) -> bytes:
    """As numpy.savez writes them."""
    out = io.BytesIO()
    np.savez(out, **found)  # type: ignore[arg-type]
    return out.getvalue()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype("u1").tobytes()
