"""The data sets that are kept: one folder a version, `sets/NAME/VERSION` in the data folder, and nothing half-made.

    train-images.npy, train-labels.npy, val-images.npy, val-labels.npy    the arrays, to be mapped into memory
    about.json                                                            shape, classes, counts, hash of it all
    card.json                                                             where it comes from, as its user says

What is written is written beside, flushed to the disk and then renamed, under one lock for all processes; a crash
leaves at most a folder that begins with a dot, which the next `sweep` removes. A version's number is never given twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainer.durable import sync
from trainer.errors import ConfigError, DataError, DataMissing, within
from trainer.ingest.contract import Converted

PREFIX = "set:"
"""What the id of a kept data set begins with."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
ID = re.compile(rf"{PREFIX}({NAME})(?:@([1-9][0-9]{{0,8}}))?")
ARRAYS = ("train-images.npy", "train-labels.npy", "val-images.npy", "val-labels.npy")
_TOO_OLD_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Card:
    """What its user says of a data set."""

    source: str = ""
    licence: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One version of a kept data set."""

    name: str
    version: int
    folder: Path
    about: Converted
    card: Card
    bytes: int
    """On the disk."""
    added: float
    """When it was kept, in seconds since 1970."""

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """What it is called when it is taken away."""
        return f"{self.name}-{self.version}.npz"


class Store:
    """All methods may be called by several processes at once."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "sets"

    def accept(self, converted: Path, name: str, card: Card = Card()) -> DataSet:
        """Keep what `convert` has made, by moving it here (from the same disk), as the next version of `name`.

        What is there already, under whatever name, is not kept twice: that data set is returned, and `converted`
        removed. Raises `DataError` for a name that is none.
        """
        if not re.fullmatch(NAME, name):
            raise DataError("A name is made of letters, digits, - and _, up to 64, and begins with a letter or digit.")
        about = _about(converted)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            known = self.find(about.content)
            if known is not None:
                shutil.rmtree(converted)
                return known
            _write(converted / "card.json", {**asdict(card), "added": time.time()})
            place = self._next(name)
            converted.rename(place)
            sync(place.parent)
        return _dataset(place)

    def sets(self) -> list[DataSet]:
        """All versions of all data sets, by name, the newest version first."""
        places = sorted(self._places(), key=lambda place: (place.parent.name.lower(), -int(place.name)))
        return [found for found in map(_found, places) if isinstance(found, DataSet)]

    def damaged(self) -> list[tuple[str, int]]:
        """Name and version of those whose description cannot be read."""
        places = sorted(self._places())
        return [(place.parent.name, int(place.name)) for place in places if isinstance(_found(place), DataError)]

    def get(self, name: str, version: int | None = None) -> DataSet:
        """The newest version where none is named. Raises `DataMissing`; `DataError` for a damaged description."""
        places = [place for place in self._places(name) if version in (None, int(place.name))]
        found = _found(max(places, key=lambda place: int(place.name))) if places else None
        if found is None:
            wanted = name if version is None else f"{name}, version {version}"
            raise DataMissing(f"There is no data set {wanted} here. It may have been removed.")
        if isinstance(found, DataError):
            raise found
        return found

    def find(self, content: str) -> DataSet | None:
        """The one with just this content, by its hash."""
        return next((dataset for dataset in self.sets() if dataset.about.content == content), None)

    def describe(self, name: str, version: int, card: Card) -> DataSet:
        """Change what is said of it. Raises `DataMissing`."""
        with self._locked():
            dataset = self.get(name, version)
            _write(dataset.folder / "card.json", {**asdict(card), "added": dataset.added})
        return self.get(name, version)

    def remove(self, name: str, version: int) -> None:
        """Its number is not given again, so what names it will not find another. Raises `DataMissing`."""
        with self._locked():
            place = self.get(name, version).folder
            gone = Path(tempfile.mkdtemp(prefix=".removed-", dir=self.folder))
            place.rename(gone / "set")
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, *, now: float | None = None) -> int:
        """Remove what a crash or an upload that nobody finished has left, after a day; how many folders it was."""
        limit = (time.time() if now is None else now) - _TOO_OLD_S
        old = [
            place for place in self._hidden() if place.lstat().st_mtime < limit or place.name.startswith(".removed-")
        ]
        for place in old:
            shutil.rmtree(place, ignore_errors=True)
        return len(old)

    def workplace(self) -> Path:
        """A new folder on the same disk to convert in, swept after a day; the conversion's `out` goes inside it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))

    def _places(self, name: str | None = None) -> list[Path]:
        """Folders of versions; links are left out, wherever they lead."""
        if not self.folder.is_dir():
            return []
        named = [item for item in self.folder.iterdir() if re.fullmatch(NAME, item.name) and name in (None, item.name)]
        inner = [place for item in named if item.is_dir() and not item.is_symlink() for place in item.iterdir()]
        return [place for place in inner if place.name.isdigit() and place.is_dir() and not place.is_symlink()]

    def _hidden(self) -> list[Path]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return [item for item in found if item.name.startswith(".") and item.is_dir() and not item.is_symlink()]

    def _next(self, name: str) -> Path:
        """The place of the next version, whose number is noted before it is used."""
        folder = self.folder / name
        if folder.is_symlink():
            raise DataError(f"{within(folder)} is a link; data sets are not kept behind one.")
        folder.mkdir(exist_ok=True)
        noted = folder / "newest"
        last = int(noted.read_text()) if noted.exists() else 0
        version = 1 + max([last, *(int(place.name) for place in self._places(name))])
        _write_text(noted, str(version))
        return folder / str(version)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def export_npz(dataset: DataSet, out: BinaryIO) -> None:
    """All of it as one .npz: train_images, train_labels, val_images, val_labels, class_names, and card.json.

    `numpy.load(file, allow_pickle=False)` reads it, and so does an upload. `out` need not be seekable.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name in ARRAYS:
            with (
                (dataset.folder / name).open("rb") as file,
                packed.open(name.replace("-", "_"), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(file, member, 1 << 20)
        with packed.open("class_names.npy", "w") as member:
            np.lib.format.write_array(member, np.array(dataset.about.classes), allow_pickle=False)
        packed.writestr("card.json", json.dumps(card_of(dataset), ensure_ascii=False, indent=2))


def card_of(dataset: DataSet) -> dict[str, Any]:
    """The data card, for people and programs."""
    about = dataset.about
    return {
        "name": dataset.name,
        "version": dataset.version,
        **asdict(dataset.card),
        "classes": about.classes,
        "read": about.notes,
        "shape": dict(zip(("height", "width", "channels"), about.shape, strict=True)),
        "train": dict(zip(about.classes, about.train, strict=True)),
        "val": dict(zip(about.classes, about.val, strict=True)),
        "sha256": about.content,
    }


def parsed(dataset: str) -> tuple[str, int | None]:
    """Name and version, or None for the newest, of an id. Raises `DataMissing` where it is none."""
    if not dataset.startswith(PREFIX):
        raise DataMissing(
            f"{dataset} was not brought here, and only what was has versions, a data card and a file to take away."
        )
    match = ID.fullmatch(dataset)
    if match is None:
        raise DataMissing(f"{dataset} names no data set.")
    return match[1], int(match[2]) if match[2] else None


def _found(place: Path) -> DataSet | DataError | None:
    """None where it was removed meanwhile; an error to be raised where it cannot be understood."""
    try:
        return _dataset(place)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError, ConfigError) as error:
        return DataError(
            f"The description in {within(place)} is damaged ({error}). Remove that folder, upload it again."
        )


def _dataset(place: Path) -> DataSet:
    card = json.loads((place / "card.json").read_text(encoding="utf-8"))
    added = card.pop("added")
    size = sum((place / name).stat().st_size for name in (*ARRAYS, "about.json", "card.json"))
    return DataSet(place.parent.name, int(place.name), place, _about(place), Card(**card), size, added)


def _about(folder: Path) -> Converted:
    path = folder / "about.json"
    return _told(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _told(path: Path, _changed_ns: int) -> Converted:
    """It is asked for several times a page, of every version, and never changes."""
    return Converted.from_dict(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, value: dict[str, Any]) -> None:
    _write_text(path, json.dumps(value, ensure_ascii=False))


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all, even if the power goes."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
