"""Blocks of images become the files of a data set, a few megabytes of memory at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from trainer.errors import IngestError, legible
from trainer.ingest.contract import CLASS_NAME, MOST_CLASSES, VAL_FRACTION, Bytes, Choices, Converted, Guess
from trainer.ingest.fitting import told
from trainer.ingest.names import in_order, renamed

Labels = np.ndarray[Any, np.dtype[np.int64]]

MOST_BYTES = 64 << 30
"""Of all images together. What is small when packed may be endless unpacked."""
LEAST_FREE = 256 << 20
"""Bytes that stay free on the disk: the database lives there too."""
SPLITS = ("train", "val")
_CHUNK = 8 << 20
_CHECKED_EVERY = 128 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Some images of one split."""

    split: str
    images: Bytes
    """Shape [N, H, W, C]."""
    labels: Sequence[str]
    """The class of each, by name."""
    done: int
    """How many bytes of the files have been read so far."""
    resized: int = 0
    """How many of them were of another size."""
    refitted: int = 0
    """How many of those were of other proportions too."""


class ArrayFile:
    """A .npy file of uint8 that grows row by row: only its last row's end is known at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """`shape` is that of one row."""
        self.path, self.rows, self._shape = path, 0, shape
        self._file = path.open("w+b")
        self._header()
        self._start = self._file.tell()

    def write(self, rows: Bytes) -> None:
        self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def close(self) -> None:
        """Whole on the disk, or OSError."""
        self._file.flush()
        self._file.seek(0)
        self._header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        self._file.close()

    def part(self, chosen: np.ndarray[Any, np.dtype[np.bool_]], other: ArrayFile) -> None:
        """Move the chosen rows to another file, and the others up, a chunk at a time: it needs no second copy."""
        self._file.flush()
        width = int(np.prod(self._shape))
        step, kept = max(1, _CHUNK // width), 0
        for start in range(0, self.rows, step):
            self._file.seek(self._start + start * width)
            raw = self._file.read(min(step, self.rows - start) * width)
            rows = np.frombuffer(raw, np.uint8).reshape(-1, width)
            there = chosen[start : start + len(rows)]
            other.write(rows[there])
            self._file.seek(self._start + kept * width)
            self._file.write(rows[~there].data)
            kept += int((~there).sum())
        self.rows = kept
        self._file.truncate(self._start + kept * width)

    def _header(self) -> None:
        # numpy leaves room in the header for a first number that grows, so it can be written again in place.
        about = {"descr": "|u1", "fortran_order": False, "shape": (self.rows, *self._shape)}
        npy.write_array_header_1_0(self._file, about)


class Writer:
    """A data set in the making, in a folder that is there already."""

    def __init__(self, out: Path, shape: tuple[int, int, int]) -> None:
        self._out, self._shape = out, shape
        self._images = {split: ArrayFile(out / f"{split}-images.npy", shape) for split in SPLITS}
        self._codes: dict[str, list[np.ndarray[Any, np.dtype[np.int32]]]] = {split: [] for split in SPLITS}
        self._known: dict[str, int] = {}
        self._bytes = self._checked = self._resized = self._refitted = 0

    def add(self, block: Block) -> None:
        """Raises `IngestError` where the disk or the number of classes does not allow it."""
        self._codes[block.split].append(self._code(block.labels))
        self._bytes += block.images.nbytes
        self._resized += block.resized
        self._refitted += block.refitted
        if self._bytes > MOST_BYTES:
            raise IngestError(f"The images take more than {MOST_BYTES >> 30} GB, which is the limit.")
        if self._bytes - self._checked >= _CHECKED_EVERY:
            self._checked = self._bytes
            check_space(self._out)
        self._images[block.split].write(block.images)

    def finish(self, guessed: Guess) -> Converted:
        """Split, name the classes, and write down what there is. Raises `IngestError`."""
        choices = guessed.choices
        names, codes = self._labels()
        if not len(codes["train"]):
            raise IngestError("There are no training images.")
        if len(names) < 2:
            raise IngestError(f"There is only one class, {names[0]}; a classifier needs two or more to tell apart.")
        if not len(codes["val"]):
            codes = self._hold_back(codes["train"], choices)
        names = renamed(names, choices.classes)
        for split, labels in codes.items():
            self._images[split].close()
            _save(self._out / f"{split}-labels.npy", labels)
        counts = {split: tuple(np.bincount(labels, minlength=len(names)).tolist()) for split, labels in codes.items()}
        content = _content(self._out, self._shape, names)
        converted = Converted(
            kind=str(choices.kind),
            shape=self._shape,
            classes=names,
            **counts,
            content=content,
            choices=choices,
            notes=(*guessed.notes, *told(self._resized, self._refitted, self._total, self._shape[:2], choices.fit)),
        )
        _write(self._out / "about.json", json.dumps(converted.to_dict(), ensure_ascii=False).encode())
        return converted

    @property
    def _total(self) -> int:
        return sum(images.rows for images in self._images.values())

    def abandon(self) -> None:
        """Let go of the files, which someone else removes."""
        for images in self._images.values():
            images.abandon()

    def _code(self, labels: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Each class by the order in which it was first seen."""
        before = len(self._known)
        codes = np.array([self._known.setdefault(label, len(self._known)) for label in labels], np.int32)
        for name in islice(reversed(self._known), len(self._known) - before):
            if len(name) > CLASS_NAME:
                raise IngestError(
                    f"The class {legible(name, 40)} has {len(name):,} characters; up to {CLASS_NAME} are taken. "
                    "Is the label really in this column?",
                    field="label",
                )
        if len(self._known) > MOST_CLASSES:
            raise IngestError(
                f"There are more than {MOST_CLASSES:,} classes. Is the label really in this column?", field="label"
            )
        return codes

    def _labels(self) -> tuple[tuple[str, ...], dict[str, Labels]]:
        """The classes in their order, and each image's place among them."""
        names = in_order(self._known)
        place = {name: i for i, name in enumerate(names)}
        final = np.array([place[name] for name in self._known], np.int64)
        parts = {split: np.concatenate([np.empty(0, np.int32), *found]) for split, found in self._codes.items()}
        return names, {split: final[codes] for split, codes in parts.items()}

    def _hold_back(self, labels: Labels, choices: Choices) -> dict[str, Labels]:
        held_back = stratified(labels, choices.val_fraction or VAL_FRACTION, choices.seed)
        if not len(held_back):
            raise IngestError("Each class has one image only, so none can be held back for validation.")
        chosen = np.zeros(len(labels), np.bool_)
        chosen[held_back] = True
        self._images["train"].part(chosen, self._images["val"])
        return {"train": labels[~chosen], "val": labels[chosen]}


def stratified(labels: Labels, fraction: float, seed: int) -> Labels:
    """Sorted places of a random share of each class, drawn from the seed; of two images or more at least one is taken
    and at least one is left."""
    random = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    chosen = []
    for places in np.split(order, edges):
        # What a fraction such as 1/6 of 6 falls short of 1 by is no image.
        share = int(len(places) * fraction + 1e-9)
        chosen.append(random.permutation(places)[: min(len(places) - 1, max(1, share))])
    return np.sort(np.concatenate(chosen))


def check_space(folder: Path) -> None:
    """Raises `IngestError` where the disk is nearly full."""
    if shutil.disk_usage(folder).free < LEAST_FREE:
        raise IngestError("The disk is full. Nothing was kept; free some space and try again.")


def _save(path: Path, labels: Labels) -> None:
    with path.open("wb") as file:
        np.save(file, labels)
        file.flush()
        os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _content(out: Path, shape: tuple[int, ...], classes: Sequence[str]) -> str:
    """One hash over everything that a training sees."""
    total = hashlib.sha256(json.dumps([shape, classes], ensure_ascii=False).encode())
    for split in SPLITS:
        for what in ("labels", "images"):
            with (out / f"{split}-{what}.npy").open("rb") as file:
                _skip_header(file)
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
        total.update(b"|")
    return total.hexdigest()


def _skip_header(file: BinaryIO) -> None:
    npy.read_magic(file)
    npy.read_array_header_1_0(file)
