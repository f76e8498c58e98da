"""Images in IDX files, gzipped or not, as MNIST and its followers come (https://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest import arrays
from trainer.ingest.arrays import Array, Stored
from trainer.ingest.contract import Choices, Guess, Upload
from trainer.ingest.opening import opened
from trainer.ingest.parts import for_training, for_validation
from trainer.ingest.writing import Block

_UBYTE = 0x08
_MOST_LABELS = 1 << 28


@dataclass(frozen=True, slots=True)
class _File:
    upload: Upload
    shape: tuple[int, ...]

    @property
    def head(self) -> int:
        """Bytes before the numbers."""
        return 4 + 4 * len(self.shape)


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """Raises `IngestError`."""
    return arrays.guess("idx", _stored(files), choices)


def blocks(files: Sequence[Upload], found: Guess) -> Iterator[Block]:
    """Raises `IngestError`."""
    return arrays.blocks(_stored(files), found)


def _stored(files: Sequence[Upload]) -> list[Stored]:
    found = [_File(upload, _shape(upload)) for upload in files]
    images, labels = ([file for file in found if (len(file.shape) > 1) == wanted] for wanted in (True, False))
    if not images:
        raise IngestError("holds labels only; the file with the images is missing.", file=files[0].filename)
    if len(images) > 2:
        raise IngestError("One file with images for training and one for validation are taken; these are more.")
    roles = _roles(images)
    return [_split(split, file, _labels_of(file, labels, alone=len(images) == 1)) for split, file in roles.items()]


def _shape(upload: Upload) -> tuple[int, ...]:
    with opened(upload) as file:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0":
            raise IngestError("is not an IDX file.", file=upload.filename)
        if head[2] != _UBYTE:
            raise IngestError("holds other numbers than bytes; images and labels are bytes.", file=upload.filename)
        if head[3] not in (1, 3, 4):
            raise IngestError(f"has {head[3]} dimensions; labels have 1, images 3 or 4.", file=upload.filename)
        sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise IngestError("is cut short.", file=upload.filename)
    return tuple(np.frombuffer(sizes, ">u4").tolist())


def _roles(images: Sequence[_File]) -> dict[str, _File]:
    if len(images) == 1:
        return {"train": images[0]}
    for train, val in (images, reversed(images)):
        if for_training(train.upload.filename) or for_validation(val.upload.filename):
            return {"train": train, "val": val}
    larger, smaller = sorted(images, key=lambda file: file.shape[0], reverse=True)
    return {"train": larger, "val": smaller}


def _labels_of(images: _File, labels: Sequence[_File], *, alone: bool) -> _File:
    """Those for the same split by name, of the same number, or the only ones."""
    name = images.upload.filename
    same = [
        file
        for file in labels
        if (for_training(name), for_validation(name))
        == (for_training(file.upload.filename), for_validation(file.upload.filename))
    ]
    found = same or [file for file in labels if file.shape[0] == images.shape[0]] or (labels if alone else [])
    if len(found) != 1:
        which = (
            "are missing" if not found else f"could be {' or '.join(legible(file.upload.filename) for file in found)}"
        )
        raise IngestError(f"the labels for these images {which}.", file=name)
    return found[0]


def _split(split: str, images: _File, labels: _File) -> Stored:
    def rows(count: int) -> Iterator[Array]:
        return _rows(images, count)

    if labels.shape[0] > _MOST_LABELS:
        raise IngestError("has more labels than can be read.", file=labels.upload.filename)
    told = [np.empty(0, np.uint8), *_rows(labels, 1 << 20)]
    size = images.upload.size
    return Stored(
        split, images.upload.filename, None, images.shape, np.dtype(np.uint8), np.concatenate(told), rows, size
    )


def _rows(file: _File, count: int) -> Iterator[Array]:
    """So many at a time. Raises `IngestError` where they are fewer or more than the head says."""
    upload, width = file.upload, int(np.prod(file.shape[1:], dtype=object))
    if width > arrays.MOST_WIDTH:
        raise IngestError("has images that are too large, or its head is damaged.", file=upload.filename)
    with opened(upload) as stream:
        stream.read(file.head)
        for start in range(0, file.shape[0], count):
            rows = min(count, file.shape[0] - start)
            raw = stream.read(rows * width)
            if len(raw) < rows * width:
                end = start + len(raw) // max(1, width)
                problem = f"is cut short: it should hold {file.shape[0]:,}, but ends in number {end:,}."
                raise IngestError(problem, file=upload.filename)
            yield np.frombuffer(raw, np.uint8).reshape(rows, *file.shape[1:])
        if stream.read(1):
            raise IngestError(f"is longer than its head says ({file.shape[0]:,}).", file=upload.filename)
