"""Data sets as they lie on disk, read through a memory map. Free of torch: the web server draws samples here."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainer import csv_images, store
from trainer.errors import DataError, DataMissing, within

Split = Literal["train", "val"]

FASHION_MNIST = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CSV = "csv:"
"""What the id of a data set in CSV files begins with; its folder's name follows."""
SET = store.PREFIX
"""What the id of a kept data set begins with: set:NAME@VERSION, or set:NAME for the newest version."""
_PREFIX = {"train": "train", "val": "t10k"}
_UBYTE = 0x08


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One split of a data set."""

    images: np.ndarray[Any, np.dtype[np.uint8]]
    """Shape [N, H, W, C]; a memory map, so only the images that are looked at are read."""
    labels: np.ndarray[Any, np.dtype[np.int64]]
    """Shape [N], each an index into `classes`."""
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def load(dataset: str, split: Split, data_dir: Path, *, csv_shape: str | None = None, convert: bool = True) -> ImageSet:
    """Raises `DataMissing` when the files are not there, `DataError` when they are not what they should be.

    A CSV file that has not been read yet is read now, which takes seconds; without `convert` it counts as missing.
    """
    if dataset.startswith(CSV):
        name = dataset.removeprefix(CSV)
        images, numbers, count = csv_images.load(data_dir, name, split, shape=csv_shape, convert=convert)
        return ImageSet(images, numbers, tuple(map(str, range(count))))
    if dataset.startswith(SET):
        return _kept(dataset, split, data_dir)
    folder = fashion_mnist_folder(data_dir)
    images = read_idx(folder / f"{_PREFIX[split]}-images-idx3-ubyte", dimensions=3)
    labels = read_idx(folder / f"{_PREFIX[split]}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{within(folder)} holds {len(images):,} images but {len(labels):,} labels for {split}.")
    if len(labels) and int(labels.max()) >= len(FASHION_MNIST):
        raise DataError(f"{within(folder)} has a label {int(labels.max())}; Fashion-MNIST's go from 0 to 9.")
    return ImageSet(images[..., np.newaxis], labels.astype(np.int64), FASHION_MNIST)


def _kept(dataset: str, split: Split, data_dir: Path) -> ImageSet:
    kept = store.Store(data_dir).get(*store.parsed(dataset))
    try:
        images = np.load(kept.folder / f"{split}-images.npy", mmap_mode="r")
        labels = np.load(kept.folder / f"{split}-labels.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{label(dataset)} cannot be read ({error}). Upload it again.") from error
    return ImageSet(images, labels, kept.about.classes)


def available(data_dir: Path) -> list[tuple[str, str]]:
    """(id, label) of the data sets that a run may name; Fashion-MNIST whether or not it has been fetched.

    Of the kept ones each version, the newest first.
    """
    kept = (dataset.id for dataset in store.Store(data_dir).sets())
    found = ["fashion-mnist", *kept, *(f"{CSV}{name}" for name in csv_images.names(data_dir))]
    return [(dataset, label(dataset)) for dataset in found]


def resolve(dataset: str, data_dir: Path) -> str:
    """The id with its version: set:NAME becomes set:NAME@VERSION of the newest; any other stays as it is.

    Raises `DataMissing` where a kept data set is not there.
    """
    return store.Store(data_dir).get(*store.parsed(dataset)).id if dataset.startswith(SET) else dataset


def label(dataset: str) -> str:
    """A data set's name as a person reads it."""
    if dataset.startswith(SET):
        name, _, number = dataset.removeprefix(SET).partition("@")
        return f"{name}, version {number}" if number else name
    return f"{dataset.removeprefix(CSV)} (CSV)" if dataset.startswith(CSV) else "Fashion-MNIST"


def version(dataset: str, data_dir: Path) -> str:
    """Part of the addresses of its images, which are kept for ever. Raises `DataMissing`, `DataError`."""
    if dataset.startswith(SET):
        return store.Store(data_dir).get(*store.parsed(dataset)).about.content[:12]
    return csv_images.version(data_dir, dataset.removeprefix(CSV)) if dataset.startswith(CSV) else "1"


def fashion_mnist_folder(data_dir: Path) -> Path:
    """Where torchvision keeps it too."""
    return data_dir / "FashionMNIST" / "raw"


def read_idx(path: Path, *, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An unpacked IDX file of unsigned bytes as a memory map (format: https://yann.lecun.com/exdb/mnist/)."""
    try:
        with path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            size = file.seek(0, 2)
    except FileNotFoundError:
        raise DataMissing(
            f"Fashion-MNIST is not on this machine: {within(path)} is missing. "
            "Run `make data`, or `fitroom data`, to fetch it."
        ) from None
    if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, _UBYTE, dimensions)):
        raise DataError(f"{within(path)} is not an IDX file of {dimensions} dimensions. Delete it and run `make data`.")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if size != len(head) + int(np.prod(shape)):
        raise DataError(f"{within(path)} is cut short or too long. Delete it and run `make data`.")
    if 0 in shape:
        return np.zeros(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", offset=len(head), shape=shape)


def subset_indices(total: int, size: int | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places of a fixed random subset, sorted; None takes all.

    The subset is the same for every run, whatever its seed, so that runs compare on the same images; and it is
    random, because a set may be sorted by class.
    """
    if size is None or size >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).permutation(total)[:size])
