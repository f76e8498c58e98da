"""Images that lie in arrays, whoever stored them: what .npz and IDX files have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainer.errors import IngestError
from trainer.ingest.contract import CHANNELS, MOST_READ_SIDE, Bytes, Choices, Guess, Part, Sample
from trainer.ingest.names import class_name, in_order, renamed
from trainer.ingest.pictures import smoother
from trainer.ingest.writing import Block

Array = np.ndarray[Any, np.dtype[Any]]

MOST_WIDTH = 3 * MOST_READ_SIDE**2
"""Numbers of the largest image."""
_SAMPLE, _CHUNK = 200, 1 << 20
_HEAD = 32 << 20
"""Bytes of a sample at most, where images are large."""
_NUMBERS = "bBuif"
"""NumPy's letters for the kinds of numbers that pixels may be."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The images and labels of one split, as they are stored."""

    split: str
    file: str
    entry: str | None
    """The array's name in the file, where it has one."""
    shape: tuple[int, ...]
    """Of the images: [N, H, W], [N, H, W, C] or [N, C, H, W]."""
    dtype: np.dtype[Any]
    labels: Array
    rows: Callable[[int], Iterator[Array]]
    """All images, so many at a time. Raises `IngestError`."""
    size: int
    """Bytes of the file that they take."""

    @property
    def width(self) -> int:
        """Bytes of an image."""
        return int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize

    def wrong(self, problem: str, *, field: str | None = None) -> IngestError:
        return IngestError(problem, file=self.file, entry=self.entry, field=field)


def guess(kind: str, found: Sequence[Stored], choices: Choices, names: tuple[str, ...] | None = None) -> Guess:
    """Labels are read whole, images only at their beginning; `names` of the classes, where the file tells them.

    Raises `IngestError`.
    """
    train = next(stored for stored in found if stored.split == "train")
    for stored in found:
        _check(stored)
    head = _head(train)
    unsure: dict[str, str] = {}
    layout = _layout(train, head, choices, unsure)
    shapes = {stored.split: _shape(stored, layout) for stored in found}
    if len(set(shapes.values())) > 1:
        sizes = " and ".join(" x ".join(map(str, shape)) for shape in shapes.values())
        raise train.wrong(f"training and validation images differ in shape: {sizes}.")
    counts = _counts(found)
    seen = in_order(counts)
    own = _own_names(seen, names) if choices.classes is None else choices.classes
    classes = renamed(seen, own)
    scale, note = _scale(train, head)
    named = dict(zip(seen, classes, strict=True))
    effective = replace(choices, kind=kind, layout=layout if train.shape[3:] else None, classes=own)
    return Guess(
        choices=effective,
        shape=shapes["train"],
        parts=tuple(Part(stored.entry or stored.file, stored.split, stored.shape[0]) for stored in found),  # type: ignore[arg-type]
        classes=classes,
        counts=tuple(counts[name] for name in seen),
        sample=Sample(
            _pixels(train, head, layout, scale),
            tuple(named[class_name(label)] for label in train.labels[: len(head)].tolist()),
        ),
        unsure=unsure,
        notes=(note,) if note else (),
    )


def blocks(found: Sequence[Stored], guessed: Guess) -> Iterator[Block]:
    """Raises `IngestError`."""
    train = next(stored for stored in found if stored.split == "train")
    scale, _ = _scale(train, _head(train))
    before = 0
    for stored in found:
        done = 0
        for images in stored.rows(max(1, _CHUNK // stored.width)):
            labels = stored.labels[done : done + len(images)].tolist()
            done += len(images)
            read = before + stored.size * done // stored.shape[0]
            pixels = _pixels(stored, images, guessed.choices.layout, scale, first=done - len(images))
            yield Block(stored.split, pixels, [class_name(label) for label in labels], read)
        before += stored.size


def _head(stored: Stored) -> Array:
    return next(stored.rows(max(1, min(_SAMPLE, _HEAD // stored.width))))


def _check(stored: Stored) -> None:
    if stored.dtype.kind not in _NUMBERS:
        raise stored.wrong(f"holds {stored.dtype}, where numbers of pixels are needed.")
    if len(stored.shape) not in (3, 4):
        words = "[N, H, W], [N, H, W, C] or [N, C, H, W]"
        raise stored.wrong(f"has {len(stored.shape)} dimensions; images are {words}.")
    if 0 in stored.shape:
        raise stored.wrong("holds no images.")
    if stored.labels.shape != (stored.shape[0],):
        raise stored.wrong(f"has {stored.shape[0]:,} images, but there are {stored.labels.size:,} labels for them.")
    if stored.width > MOST_WIDTH * stored.dtype.itemsize:
        raise stored.wrong(_too_large(" x ".join(f"{size:,}" for size in stored.shape[1:])))


def _layout(stored: Stored, head: Array, choices: Choices, unsure: dict[str, str]) -> str:
    """Whether channels come last or first."""
    if len(stored.shape) == 3:
        return "interleaved"
    if choices.layout is not None:
        return choices.layout
    first, last = (stored.shape[place] in CHANNELS.values() for place in (1, 3))
    if first == last:
        if not first:
            raise stored.wrong(f"has {stored.shape[3]} channels; 1 (grey) and 3 (colour) are taken.")
        unsure["layout"] = "Both the second and the last number of the shape could be that of the channels."
        return smoother({"interleaved": head, "planar": head.transpose(0, 2, 3, 1)})
    return "interleaved" if last else "planar"


def _shape(stored: Stored, layout: str) -> tuple[int, int, int]:
    sizes = stored.shape[1:]
    h, w, c = (*sizes, 1) if len(sizes) == 2 else sizes if layout == "interleaved" else (*sizes[1:], sizes[0])
    if c not in CHANNELS.values():
        raise stored.wrong(f"has {c} channels; 1 (grey) and 3 (colour) are taken.", field="layout")
    if max(h, w) > MOST_READ_SIDE:
        raise stored.wrong(_too_large(f"{h:,} x {w:,}"))
    return h, w, c


def _too_large(size: str) -> str:
    return (
        f"has images of {size} pixels; up to {MOST_READ_SIDE:,} a side are read from arrays. "
        "Bring larger ones as image files in folders, which are resized."
    )


def _counts(found: Sequence[Stored]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for stored in found:
        for label, count in zip(*np.unique(stored.labels, return_counts=True), strict=True):
            name = class_name(label.item())
            if not name:
                raise stored.wrong("one of its labels is empty.")
            counts[name] = counts.get(name, 0) + int(count)
    return counts


def _own_names(seen: Sequence[str], names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The file's names of the classes that occur, where labels are places among the names and each has one."""
    if names is None or not all(name.isdigit() and int(name) < len(names) for name in seen):
        return None
    own = tuple(names[int(name)] for name in seen)
    return own if all(own) and len(set(own)) == len(own) else None


def _scale(stored: Stored, head: Array) -> tuple[float, str]:
    """What stored numbers are multiplied by to go from 0 to 255, and a word on it."""
    if stored.dtype.kind == "b":
        return 255.0, "Pixels are true or false; they become 255 and 0."
    if stored.dtype.kind == "f" and head.size and np.nanmax(head) <= 1:
        return 255.0, "Pixels are numbers from 0 to 1; they become whole numbers from 0 to 255."
    return 1.0, ""


def _pixels(stored: Stored, rows: Array, layout: str | None, scale: float, *, first: int = 0) -> Bytes:
    """[N, H, W, C] in bytes. Raises `IngestError` that names the first image that does not fit."""
    images = rows[..., np.newaxis] if rows.ndim == 3 else rows.transpose(0, 2, 3, 1) if layout == "planar" else rows
    if images.dtype == np.uint8:
        return images
    scaled = np.rint(images.astype(np.float64) * scale) if images.dtype.kind in "bf" else images
    with np.errstate(invalid="ignore"):
        fits = ((scaled >= 0) & (scaled <= 255)).reshape(len(images), -1).all(1)
    if not fits.all():
        place = int(np.argmin(fits))
        odd = images[place]
        most = "1" if scale > 1 else "255"
        raise stored.wrong(
            f"image {first + place:,} (counted from 0) has numbers from {odd.min():g} to {odd.max():g}, "
            f"where they should be from 0 to {most}."
        )
    return scaled.astype(np.uint8)
