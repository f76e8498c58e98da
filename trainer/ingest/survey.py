"""A look at every image of a converted folder: what its user should see before training on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from trainer.ingest.contract import Bytes, Converted, Finding, Findings

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

IMBALANCE = 10
"""A class with so many times as many training images as another."""
FEW_FOR_VALIDATION = 5
"""Images of a class, on average, below which an accuracy says little."""
_SAMPLES, _PLACES, _CHUNK = 8, 24, 4 << 20


@dataclass(frozen=True, slots=True)
class _Seen:
    """One split, image by image."""

    labels: Numbers
    hashes: Hashes
    """Equal images have equal ones; of unequal ones among 20 million two are equal once in a hundred thousand sets."""
    blank: Numbers
    """Places of the images that are one colour all over."""


def findings(folder: Path) -> Findings:
    """Of what `convert` has written."""
    about = Converted.from_dict(json.loads((folder / "about.json").read_text(encoding="utf-8")))
    train, val = _seen(folder, "train"), _seen(folder, "val")
    warnings = [
        *_missing(about),
        *_imbalance(about),
        *_small_validation(about),
        *_twins(train, val),
        *_contradictions(train),
        *_constant(about, train),
        *_blank(train, val),
    ]
    first = [np.flatnonzero(train.labels == label)[:_SAMPLES] for label in range(len(about.classes))]
    return Findings(about.train, about.val, tuple(tuple(places.tolist()) for places in first), tuple(warnings))


def _seen(folder: Path, split: str) -> _Seen:
    labels = np.load(folder / f"{split}-labels.npy")
    hashes, blank = np.empty(len(labels), np.uint64), []
    for start, images in _images(folder, split):
        flat = images.reshape(len(images), -1)
        digests = b"".join(blake2b(row.data, digest_size=8).digest() for row in flat)
        hashes[start : start + len(flat)] = np.frombuffer(digests, np.uint64)
        blank.append(start + np.flatnonzero((images == images[:, :1, :1]).all((1, 2, 3))))
    return _Seen(labels, hashes, np.concatenate([np.empty(0, np.int64), *blank]))


def _images(folder: Path, split: str) -> Iterator[tuple[int, Bytes]]:
    """Chunks with their places. Read, not mapped: a map would count against a limit on addresses."""
    with (folder / f"{split}-images.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        width = int(np.prod(shape[1:]))
        step = max(1, _CHUNK // width)
        for start in range(0, shape[0], step):
            rows = min(step, shape[0] - start)
            yield start, np.frombuffer(file.read(rows * width), np.uint8).reshape(rows, *shape[1:])


def _missing(about: Converted) -> Iterator[Finding]:
    for counts, words in ((about.train, "training"), (about.val, "validation")):
        without = [name for name, count in zip(about.classes, counts, strict=True) if count == 0]
        if without:
            yield Finding("missing_class", f"There are no {words} images of {_named(without)}.")


def _imbalance(about: Converted) -> Iterator[Finding]:
    counts = [(count, name) for name, count in zip(about.classes, about.train, strict=True) if count]
    (least, rare), (most, common) = min(counts), max(counts)
    if most >= IMBALANCE * least:
        yield Finding(
            "imbalance",
            f"There are {most:,} training images of {common} but {least:,} of {rare}: "
            "a model may do well by never saying the rare ones. Balanced class weights help.",
        )


def _small_validation(about: Converted) -> Iterator[Finding]:
    total = sum(about.val)
    if total < FEW_FOR_VALIDATION * len(about.classes):
        yield Finding(
            "small_validation", f"There are only {total:,} validation images, so an accuracy on them says little."
        )


def _twins(train: _Seen, val: _Seen) -> Iterator[Finding]:
    """Validation images that the training images hold too."""
    places = np.flatnonzero(np.isin(val.hashes, train.hashes))
    if len(places):
        yield Finding(
            "duplicates",
            f"{_images_are(len(places), 'validation')} among the training images too; an accuracy on them says little.",
            tuple(("val", place) for place in places[:_PLACES].tolist()),
        )


def _contradictions(train: _Seen) -> Iterator[Finding]:
    """Equal images of different classes."""
    order = np.lexsort((train.labels, train.hashes))
    hashes, labels = train.hashes[order], train.labels[order]
    differ = np.flatnonzero((hashes[1:] == hashes[:-1]) & (labels[1:] != labels[:-1]))
    if len(differ):
        pairs = [("train", int(order[place + step])) for place in differ[: _PLACES // 2].tolist() for step in (0, 1)]
        many = f"{len(differ):,} times" if len(differ) > 1 else "Once"
        yield Finding("contradiction", f"{many} the same training image stands in two classes.", tuple(pairs))


def _constant(about: Converted, train: _Seen) -> Iterator[Finding]:
    """Classes whose images are all the same."""
    pairs = np.unique(np.stack([train.labels.astype(np.uint64), train.hashes]), axis=1)[0].astype(np.int64)
    different = np.bincount(pairs, minlength=len(about.classes))
    found = [label for label, count in enumerate(about.train) if count > 1 and different[label] == 1]
    if found:
        names = _named([about.classes[label] for label in found])
        places = [("train", int(np.argmax(train.labels == label))) for label in found[:_PLACES]]
        yield Finding("constant_class", f"All training images of {names} are the same.", tuple(places))


def _blank(train: _Seen, val: _Seen) -> Iterator[Finding]:
    for split, seen, words in (("train", train, "training"), ("val", val, "validation")):
        if len(seen.blank):
            places = tuple((split, place) for place in seen.blank[:_PLACES].tolist())
            yield Finding("blank", f"{_images_are(len(seen.blank), words)} blank: one colour all over.", places)


def _images_are(count: int, words: str) -> str:
    return f"{count:,} {words} image{'s are' if count > 1 else ' is'}"


def _named(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
