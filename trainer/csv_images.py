"""Images in CSV files, one a row: a label and the pixels, as Kaggle hands them out (`label,pixel1,...,pixel784`).

A data set is a folder `csv/NAME` of the data folder with a file whose name contains "train" and, best, one whose name
contains "val" or "test"; without that, a sixth of the training images is held back, the same for every run. Each
file is read once and kept as bytes beside it, to be mapped into memory from then on.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import DataError, DataMissing, within
from trainer.ingest.contract import Upload
from trainer.ingest.lines import blocks
from trainer.ingest.rows import Layout, decoded, read, split_cells

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]

_DELIMITERS = ",;\t"
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}(\.[0-9]{0,20})?\s*")
_HELD_BACK = 6
"""Where there is no validation file, one training image in so many is for validation."""


@dataclass(frozen=True, slots=True)
class Table:
    """One file, read: `pixels` [N, P] is a memory map, `labels` [N]."""

    pixels: Bytes
    labels: Labels


def names(data_dir: Path) -> list[str]:
    """The data sets there are: folders under csv/ with a training file."""
    folder = data_dir / "csv"
    if not folder.is_dir():
        return []
    return sorted(
        item.name
        for item in folder.iterdir()
        if item.is_dir() and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", item.name) and _matching(item, ("train",))
    )


def files(data_dir: Path, name: str) -> tuple[Path, Path | None]:
    """The training and the validation file. Raises `DataMissing`, and `DataError` where it is not clear which."""
    folder = data_dir / "csv" / name
    train, val = _matching(folder, ("train",)), _matching(folder, ("val", "test"))
    if not train:
        raise DataMissing(
            f"There is no CSV file with train in its name in {within(folder)}. "
            "Put one there, and one with val or test in its name, and start again."
        )
    for found, kind in ((train, "train"), (val, "val or test")):
        if len(found) > 1:
            several = ", ".join(path.name for path in found)
            raise DataError(f"{within(folder)} has several files with {kind} in their names ({several}); keep one.")
    return train[0], val[0] if val else None


def load(data_dir: Path, name: str, split: str, *, shape: str | None, convert: bool) -> tuple[Bytes, Labels, int]:
    """Images [N, H, W, C], labels [N] and the number of classes.

    Raises `DataMissing`, `DataError` with file, line and column; without `convert` also `DataMissing` where a file
    has not been read yet.
    """
    train_file, val_file = files(data_dir, name)
    train = table(train_file, convert=convert)
    val = table(val_file, convert=convert) if val_file else None
    if val is not None and val.pixels.shape[1] != train.pixels.shape[1]:
        raise DataError(
            f"{train_file.name} has {train.pixels.shape[1]:,} pixels an image, "
            f"but {val_file.name if val_file else ''} has {val.pixels.shape[1]:,}."
        )
    classes = 1 + max(int(part.labels.max()) for part in (train, val) if part is not None)
    chosen, places = _split(train, val, split)
    h, w, c = image_shape(chosen.pixels.shape[1], shape, train_file.name)
    return _rows(chosen.pixels, places).reshape(-1, h, w, c), _rows(chosen.labels, places), classes


def version(data_dir: Path, name: str) -> str:
    """Changes when one of the files does. Raises as `files` does."""
    return hashlib.sha256("".join(_stamp(path) for path in files(data_dir, name) if path).encode()).hexdigest()[:12]


def image_shape(pixels: int, given: str | None, file: str) -> tuple[int, int, int]:
    """Height, width and channels of an image of so many numbers: as given, or square with 1 or 3 channels."""
    if given is not None:
        sizes = [int(part) for part in given.split("x")]
        h, w, c = sizes if len(sizes) == 3 else [*sizes, 1]
        if h * w * c != pixels:
            raise DataError(f"{file} has {pixels:,} pixel columns, which is not {given} ({h * w * c:,}).")
        if c not in (1, 3):
            raise DataError(f"An image shape of {c} channels cannot be shown; 1 (grey) and 3 (colour) can.")
        return h, w, c
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side * side * channels == pixels:
            return side, side, channels
    raise DataError(
        f"{file} has {pixels:,} pixel columns, which make no square image in grey or colour: give the CSV image shape."
    )


def table(path: Path, *, convert: bool = True) -> Table:
    """The file's pixels and labels, read now if they were not yet. Raises `DataError` naming line and column."""
    kept = path.parent / ".converted" / f"{path.stem}-{_stamp(path)}"
    if not kept.is_dir():
        if not convert:
            raise DataMissing(f"{path.name} is read when a run on it starts; then its images show here.")
        _convert(path, kept)
    about = json.loads((kept / "about.json").read_text())
    shape = (about["rows"], about["pixels"])
    return Table(np.memmap(kept / "pixels.u8", np.uint8, "r", shape=shape), np.load(kept / "labels.npy"))


def _matching(folder: Path, words: Sequence[str]) -> list[Path]:
    found = folder.glob("*.csv") if folder.is_dir() else ()
    return sorted(path for path in found if any(word in path.name.lower() for word in words))


def _stamp(path: Path) -> str:
    """Tells one state of a file from another without reading it."""
    about = path.stat()
    return hashlib.sha256(f"{path.name} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:12]


def _split(train: Table, val: Table | None, split: str) -> tuple[Table, Labels | None]:
    """The table to take a split from, and which of its rows; None takes all."""
    if val is not None:
        return (train if split == "train" else val), None
    held_back = _stratified(train.labels)
    return train, held_back if split == "val" else np.setdiff1d(np.arange(len(train.labels)), held_back)


def _stratified(labels: Labels) -> Labels:
    """Sorted places of a fixed random sixth of each class; a class of two or more gives at least one."""
    random = np.random.default_rng(0)
    chosen = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        chosen.append(places[: max(int(len(places) > 1), len(places) // _HELD_BACK)])
    return np.sort(np.concatenate(chosen))


def _rows(array: np.ndarray[Any, Any], places: Labels | None) -> np.ndarray[Any, Any]:
    return array if places is None else array[places]


def _convert(path: Path, kept: Path) -> None:
    """Read the file and keep it as bytes: written beside, then renamed, so that it is whole or not there."""
    kept.parent.mkdir(exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=kept.parent))
    try:
        read_as = layout(path)
        labels: list[Labels] = []
        with (part / "pixels.u8").open("wb") as out:
            for _, (words, pixels) in read(Upload(path, path.name), read_as):
                labels.append(np.array([int(word) for word in words], np.int64))
                out.write(pixels.data)
        if not labels:
            raise DataError(f"{path.name} has no rows{' but its header' if read_as.header else ''}.")
        np.save(part / "labels.npy", np.concatenate(labels))
        about = {"rows": sum(map(len, labels)), "pixels": read_as.columns - 1}
        (part / "about.json").write_text(json.dumps(about))
        for old in set(kept.parent.glob(f"{path.stem}-*")) - {kept}:
            shutil.rmtree(old, ignore_errors=True)
        try:
            part.rename(kept)
        except OSError:
            if not kept.is_dir():  # another process was faster: its copy is as good
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def layout(path: Path) -> Layout:
    """From the first line: what separates, whether it names the columns, and which holds the label.

    Raises `DataError` where it is no such line.
    """
    first = next(blocks(Upload(path, path.name)), None)
    line = first.data.partition(b"\n")[0] if first else b""
    if not line.strip():
        raise DataError(f"{path.name} is empty, or begins with an empty line.")
    text = decoded(line, path.name, 1)
    delimiter = max(_DELIMITERS, key=text.count)
    row = split_cells(text, delimiter, path.name, 1)
    if len(row) < 2:
        raise DataError(f"{path.name}, line 1: one column only; a label and pixels with commas between are needed.")
    names = tuple(cell.strip() for cell in row)
    label = next((i for i, name in enumerate(names) if name.lower() == "label"), None)
    words = sum(not _NUMBER.fullmatch(cell) for cell in row)
    # A row of numbers with a wrong cell is no header: that is to be told, with its line and column.
    if label is None and _NUMBER.fullmatch(row[0]) and 2 * words < len(row):
        return Layout(path.name, delimiter, None, len(row), 0, numbered=True)
    return Layout(path.name, delimiter, names, len(row), label or 0, numbered=True)
