"""torchvision's small image sets by name, downloaded once and kept like any other data set.

A process of its own for a server: `python -m trainer.small_sets` reads a question a line, as JSON.

    {"fetch": "cifar10", "data_dir": ...}
        -> {"progress": [bytes downloaded, bytes in all, about]}, some times a second
        -> {"kept": "set:cifar10@1"}, or {"error": {"message": ...}}

Torch is imported only where something is fetched, so a form may be made from `SMALL`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import PickleError
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainer.errors import DataError, DataMissing
from trainer.ingest.arrays import Array, Stored, blocks, guess
from trainer.ingest.contract import Choices, Progress
from trainer.ingest.reading import written
from trainer.store import Card, DataSet, Store

_SILENCE_S = 30.0
"""A server that says nothing for so long is taken for gone."""
_EVERY_S = 0.3
_DIFFERS, _UNREACHED = "corrupted", "Error downloading"
"""What torchvision says of a file with another checksum than was published, and where no mirror had it."""
_CANNOT_BE_HAD = (OSError, HTTPException)
_CANNOT_BE_READ = (
    RuntimeError, ValueError, AssertionError, LookupError, TypeError, EOFError, BadZipFile, TarError, PickleError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Small:
    """What is known of a set before it is here."""

    label: str
    about: str
    bytes: int
    """Of the download, about."""
    source: str
    licence: str


SMALL = {
    "mnist": Small(
        "MNIST", "70,000 handwritten digits, 28 x 28 grey", 12_000_000,
        "http://yann.lecun.com/exdb/mnist/", "CC BY-SA 3.0",
    ),
    "kmnist": Small(
        "Kuzushiji-MNIST", "70,000 handwritten Japanese characters in 10 classes, 28 x 28 grey", 21_000_000,
        "http://codh.rois.ac.jp/kmnist/", "CC BY-SA 4.0",
    ),
    "emnist": Small(
        "EMNIST Balanced", "131,600 handwritten letters and digits in 47 classes, 28 x 28 grey", 562_000_000,
        "https://www.nist.gov/itl/products-and-services/emnist-dataset", "free to use, see its source",
    ),
    "cifar10": Small(
        "CIFAR-10", "60,000 photographs in 10 classes, 32 x 32 colour", 170_500_000,
        "https://www.cs.toronto.edu/~kriz/cifar.html", "not stated, see its source",
    ),
    "cifar100": Small(
        "CIFAR-100", "60,000 photographs in 100 classes, 32 x 32 colour", 169_000_000,
        "https://www.cs.toronto.edu/~kriz/cifar.html", "not stated, see its source",
    ),
    "svhn": Small(
        "SVHN", "99,289 house numbers from photographs, 32 x 32 colour", 246_000_000,
        "http://ufldl.stanford.edu/housenumbers/", "for non-commercial use",
    ),
}  # fmt: skip

Split = tuple[Array, Array]
"""Images [N, H, W] or [N, H, W, C], and labels [N]."""


def fetch(name: str, data_dir: Path, progress: Progress = lambda *_: None) -> DataSet:
    """Download the set where it is not here yet, and keep it; what was downloaded of it before is used.

    Raises `DataMissing` where it cannot be downloaded, `DataError` where it is damaged.
    """
    small, store = SMALL[name], Store(data_dir)
    here = next((kept for kept in store.sets() if kept.name == name and kept.card.source == small.source), None)
    if here is not None:
        return here
    folder = data_dir / "downloads" / name
    folder.mkdir(parents=True, exist_ok=True)
    with _Watched(folder, small.bytes, progress), _silence_ends(), _in_words(small, folder):
        train, val, classes = _LOADERS[name](folder)
    place = store.workplace()
    try:
        stored = [_stored("train", train), _stored("val", val)]
        found = guess("npz", stored, Choices(), classes)
        written(found, blocks(stored, found), place / "out")
        kept = store.accept(place / "out", name, Card(small.source, small.licence, small.about))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return kept


def _stored(split: str, part: Split) -> Stored:
    images, labels = part

    def rows(count: int) -> Iterator[Array]:
        return (images[start : start + count] for start in range(0, len(images), count))

    return Stored(split, split, None, images.shape, images.dtype, labels, rows, images.nbytes)


@contextlib.contextmanager
def _silence_ends() -> Iterator[None]:
    """torchvision waits for ever for a server that says nothing."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _in_words(small: Small, folder: Path) -> Iterator[None]:
    """What torchvision raises, as what it means for a person."""
    try:
        yield
    except _CANNOT_BE_HAD as error:
        raise DataMissing(_without(small, str(error))) from error
    except _CANNOT_BE_READ as error:
        if _UNREACHED in str(error) or _DIFFERS in str(error):
            raise DataMissing(_without(small, str(error))) from error
        # torchvision takes a file that was being unpacked when its process ended for a whole one.
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"What was downloaded of {small.label} is damaged and was removed. Fetch it again.") from error


def _without(small: Small, said: str) -> str:
    if _DIFFERS in said:
        return (
            f"What arrived of {small.label} is not what was published: it was cut short, or its checksum differs. "
            "Fetch it again; what arrived whole is kept for that."
        )
    why = (said.strip().splitlines() or ["no answer"])[-1]
    return f"{small.label} could not be downloaded ({why}). It comes from {small.source} and needs a network."


class _Watched:
    """Tells the progress of a download by what lies in its folder, whoever writes it there."""

    def __init__(self, folder: Path, total: int, progress: Progress) -> None:
        self._folder, self._total, self._progress = folder, total, progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._progress(min(self._total, _size(self._folder)), self._total)


def _size(folder: Path) -> int:
    """Of what was downloaded; files that are unpacked beside it, or gone meanwhile, count little."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


# ---------------------------------------------------------------- as each of them comes

Loader = Callable[[Path], tuple[Split, Split, tuple[str, ...]]]


def _like_mnist(name: str, **how: Any) -> Loader:
    def load(folder: Path) -> tuple[Split, Split, tuple[str, ...]]:
        from torchvision import datasets

        train, val = (getattr(datasets, name)(str(folder), train=part, download=True, **how) for part in (True, False))
        # EMNIST is stored with rows and columns exchanged.
        parts = [(found.data.numpy(), found.targets.numpy()) for found in (train, val)]
        first, second = [
            (images.transpose(0, 2, 1) if name == "EMNIST" else images, labels) for images, labels in parts
        ]
        return first, second, tuple(train.classes)

    return load


def _like_cifar(name: str) -> Loader:
    def load(folder: Path) -> tuple[Split, Split, tuple[str, ...]]:
        from torchvision import datasets

        train, val = (getattr(datasets, name)(str(folder), train=part, download=True) for part in (True, False))
        first, second = [(found.data, np.array(found.targets)) for found in (train, val)]
        return first, second, tuple(train.classes)

    return load


def _svhn(folder: Path) -> tuple[Split, Split, tuple[str, ...]]:
    from torchvision import datasets

    train, val = (datasets.SVHN(str(folder), split=split, download=True) for split in ("train", "test"))
    first, second = [(found.data.transpose(0, 2, 3, 1), found.labels) for found in (train, val)]
    return first, second, tuple("0123456789")


_LOADERS: dict[str, Loader] = {
    "mnist": _like_mnist("MNIST"),
    "kmnist": _like_mnist("KMNIST"),
    "emnist": _like_mnist("EMNIST", split="balanced"),
    "cifar10": _like_cifar("CIFAR10"),
    "cifar100": _like_cifar("CIFAR100"),
    "svhn": _svhn,
}


def main() -> None:
    def say(value: dict[str, Any]) -> None:
        print(json.dumps(value), flush=True)

    for line in sys.stdin:
        question = json.loads(line)
        try:
            kept = fetch(
                question["fetch"], Path(question["data_dir"]), lambda done, total: say({"progress": [done, total]})
            )
        except DataError as error:
            say({"error": {"message": str(error)}})
        else:
            say({"kept": kept.id})


if __name__ == "__main__":
    main()
