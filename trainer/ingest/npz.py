"""Images in a NumPy .npz file. Its arrays are read piece by piece, and never as pickles."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from trainer.errors import IngestError, legible
from trainer.ingest import arrays
from trainer.ingest.arrays import Array, Stored
from trainer.ingest.contract import CLASS_NAME, MOST_CLASSES, Choices, Guess, Upload
from trainer.ingest.damage import in_words
from trainer.ingest.names import class_name
from trainer.ingest.parts import for_training, for_validation
from trainer.ingest.writing import Block

MOST_LABELS = 512 << 20
"""Bytes of an array that is read whole."""
_NAMES = ("class_names", "classes", "label_names", "names")
_IMAGES = re.compile(r"(^|[^a-z])(x|images?|imgs?|data|pixels|features)([^a-z]|$)", re.IGNORECASE)
_LABELS = re.compile(r"(^|[^a-z])(y|labels?|targets?|class(es)?)([^a-z]|$)", re.IGNORECASE)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class _Head:
    """What an array's first bytes say."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    """Bytes it takes in the file."""


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """Raises `IngestError`."""
    stored, names = _stored(files)
    return arrays.guess("npz", stored, choices, names)


def blocks(files: Sequence[Upload], found: Guess) -> Iterator[Block]:
    """Raises `IngestError`."""
    return arrays.blocks(_stored(files)[0], found)


def _stored(files: Sequence[Upload]) -> tuple[list[Stored], tuple[str, ...] | None]:
    """The splits, and the names of the classes where the file tells them."""
    if len(files) > 1:
        raise IngestError("One .npz file holds all images; these are several.", file=files[0].filename)
    upload = files[0]
    with in_words(upload.filename, None), zipfile.ZipFile(upload.path) as packed:
        heads = [_head(packed, info, upload) for info in packed.infolist() if info.filename.endswith(".npy")]
    if len({head.key for head in heads}) < len(heads):
        raise IngestError("holds two arrays of the same name.", file=upload.filename)
    names = next((head for head in heads if head.key.lower() in _NAMES and head.dtype.kind == "U"), None)
    splits = _splits([head for head in heads if head is not names], upload)
    found = [_split(split, images, labels, upload) for split, (images, labels) in splits.items()]
    return found, _class_names(upload, names) if names else None


def _head(packed: zipfile.ZipFile, info: zipfile.ZipInfo, upload: Upload) -> _Head:
    with in_words(upload.filename, info.filename), packed.open(info) as file:
        shape, fortran, dtype = _header(file)
    if dtype.hasobject:
        problem = "holds Python objects, which are not read: they could run programs. Save numbers, or texts."
        raise IngestError(problem, file=upload.filename, entry=info.filename)
    if fortran and len(shape) > 1:
        problem = "is stored column by column. Save it with numpy.ascontiguousarray."
        raise IngestError(problem, file=upload.filename, entry=info.filename)
    claimed = dtype.itemsize * int(np.prod([int(size) for size in shape], dtype=object))
    if not 0 <= claimed <= info.file_size or any(size < 0 for size in shape):
        raise IngestError("is cut short.", file=upload.filename, entry=info.filename)
    return _Head(info.filename.removesuffix(".npy"), shape, dtype, info.compress_size)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version[0]} of the format")
    shape, fortran, dtype = _HEADERS[version](file)
    return shape, bool(fortran), dtype


def _splits(heads: Sequence[_Head], upload: Upload) -> Mapping[str, tuple[_Head, _Head]]:
    """Images and labels by split; a test split is for validation where there is no other."""
    groups: dict[str, list[_Head]] = {}
    for head in heads:
        groups.setdefault(_role(head.key), []).append(head)
    whole = {role: _pair(group, upload) for role, group in groups.items()}
    found = {role: pair for role, pair in whole.items() if pair}
    train = found.get("train") or found.get("all")
    if train is None:
        keys = ", ".join(legible(head.key) for head in heads) or "none"
        problem = f"has no images with labels for training; its arrays are: {keys}. Call them images and labels."
        raise IngestError(problem, file=upload.filename)
    val = found.get("val") or found.get("test")
    return {"train": train} | ({"val": val} if val else {})


def _role(key: str) -> str:
    if for_training(key):
        return "train"
    if not for_validation(key):
        return "all"
    return "test" if "test" in key.lower() else "val"


def _pair(group: Sequence[_Head], upload: Upload) -> tuple[_Head, _Head] | None:
    """By number of dimensions, and by name where that leaves several."""
    images = _best([head for head in group if len(head.shape) in (3, 4)], _IMAGES)
    labels = _best([head for head in group if len(head.shape) == 1 or head.shape[1:] == (1,)], _LABELS)
    if images and not labels:
        raise IngestError("there are no labels for these images.", file=upload.filename, entry=images.key)
    return (images, labels) if images and labels else None


def _best(heads: Sequence[_Head], names: re.Pattern[str]) -> _Head | None:
    return max(heads, key=lambda head: bool(names.search(head.key)), default=None)


def _split(split: str, images: _Head, labels: _Head, upload: Upload) -> Stored:
    def rows(count: int) -> Iterator[Array]:
        return _rows(upload, images, count)

    told = _whole(upload, labels).reshape(-1)
    if told.dtype.kind == "f" and not np.array_equal(told, np.rint(told)):
        raise IngestError("labels must be whole numbers or words.", file=upload.filename, entry=labels.key)
    if told.dtype.kind not in "biufU" or (told.dtype.kind in "if" and told.size and told.min() < 0):
        raise IngestError("labels must be numbers from 0 up, or words.", file=upload.filename, entry=labels.key)
    whole = told.astype(np.int64) if told.dtype.kind in "bf" else told
    return Stored(split, upload.filename, images.key, images.shape, images.dtype, whole, rows, images.size)


def _class_names(upload: Upload, head: _Head) -> tuple[str, ...]:
    if len(head.shape) != 1 or head.shape[0] > MOST_CLASSES:
        raise IngestError("class names must be a list of texts.", file=upload.filename, entry=head.key)
    return tuple(class_name(name)[:CLASS_NAME] for name in _whole(upload, head).tolist())


def _whole(upload: Upload, head: _Head) -> Array:
    size = int(np.prod(head.shape)) * head.dtype.itemsize
    if size > MOST_LABELS:
        raise IngestError(f"has more than {MOST_LABELS >> 20} MB of labels.", file=upload.filename, entry=head.key)
    if size == 0:
        return np.empty(head.shape, head.dtype)
    found = np.concatenate([np.empty((0, *head.shape[1:]), head.dtype), *_rows(upload, head, head.shape[0])])
    if head.dtype.kind == "U" and found.view(np.dtype("u4").newbyteorder(found.dtype.byteorder)).max() > sys.maxunicode:
        # Python may crash on what NumPy would make of them.
        raise IngestError("is damaged: it holds numbers that are no characters.", file=upload.filename, entry=head.key)
    return found


def _rows(upload: Upload, head: _Head, count: int) -> Iterator[Array]:
    """The array, so many of its rows at a time."""
    width = int(np.prod(head.shape[1:])) * head.dtype.itemsize
    with (
        in_words(upload.filename, head.key),
        zipfile.ZipFile(upload.path) as packed,
        packed.open(f"{head.key}.npy") as file,
    ):
        _header(file)
        for start in range(0, head.shape[0], count):
            rows = min(count, head.shape[0] - start)
            raw = file.read(rows * width)
            if len(raw) < rows * width:
                raise IngestError("is cut short.", file=upload.filename, entry=head.key)
            yield np.frombuffer(raw, head.dtype).reshape(rows, *head.shape[1:])
