"""Validation images that the training images hold too, or nearly: an accuracy on those says little.

The difference of two images is the root mean square over their pixels, in grey levels from 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer import sources

NEAR = 10.0
"""Below this difference, in grey levels, two images count as nearly the same."""
_COARSE = 14
_CANDIDATES = 8
_ROWS, _COLUMNS = 512, 8192

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Pair:
    val: int
    train: int
    difference: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    equal: int
    """Validation images that are in the training set pixel by pixel."""
    near: int
    """Those that differ by less than `NEAR` from one there; the equal ones are among them."""
    below: float
    """`NEAR`."""
    pairs: tuple[Pair, ...]
    """The most alike, each validation image with the training image nearest to it."""


def find(dataset: str, data_dir: Path, *, most: int, csv_shape: str | None = None) -> Duplicates:
    """The `most` nearest pairs. Raises `DataError`."""
    train = sources.load(dataset, "train", data_dir, csv_shape=csv_shape).images
    val = sources.load(dataset, "val", data_dir, csv_shape=csv_shape).images
    nearest, differences = nearest_of(val, train)
    order = np.argsort(differences, kind="stable")[:most]
    pairs = tuple(Pair(int(i), int(nearest[i]), round(float(differences[i]), 2)) for i in order)
    return Duplicates(int((differences == 0).sum()), int((differences < NEAR).sum()), NEAR, pairs)


def nearest_of(
    images: Bytes, among: Bytes
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Of each of `images` [N, H, W, C] the place of the nearest in `among` [M, H, W, C], and the difference.

    They are held against each other at `_COARSE` pixels a side; the `_CANDIDATES` nearest there are compared pixel by
    pixel. Averaging pixels never makes a difference larger, so what is nearly the same stays near.
    """
    places = np.empty(len(images), np.int64)
    differences = np.empty(len(images), np.float64)
    coarse = _coarse(among)
    lengths = coarse.square().sum(1)
    for start in range(0, len(images), _ROWS):
        part = images[start : start + _ROWS]
        candidates = _candidates(_coarse(part), coarse, lengths).numpy()
        exact = np.stack([_difference(part, among[candidates[:, k]]) for k in range(candidates.shape[1])], 1)
        best = exact.argmin(1)
        rows = np.arange(len(part))
        places[start : start + len(part)] = candidates[rows, best]
        differences[start : start + len(part)] = exact[rows, best]
    return places, differences


def _coarse(images: Bytes) -> Tensor:
    """float32 [N, C * side * side]."""
    side = min(_COARSE, images.shape[1], images.shape[2])
    parts = []
    for start in range(0, len(images), _ROWS):
        pixels = torch.from_numpy(np.array(images[start : start + _ROWS].transpose(0, 3, 1, 2))).float()
        parts.append(F.adaptive_avg_pool2d(pixels, side).flatten(1))
    return torch.cat(parts)


def _candidates(part: Tensor, coarse: Tensor, lengths: Tensor) -> Tensor:
    """Places of the nearest in `coarse`, int64 [rows, at most `_CANDIDATES`]; in columns, so that memory stays flat."""
    best = torch.empty(len(part), 0)
    places = torch.empty(len(part), 0, dtype=torch.int64)
    for start in range(0, len(coarse), _COLUMNS):
        other = coarse[start : start + _COLUMNS]
        # Without the part's own length, which is the same for all of its row.
        distances = torch.addmm(lengths[start : start + _COLUMNS], part, other.T, alpha=-2)
        found, where = distances.topk(min(_CANDIDATES, len(other)), 1, largest=False)
        best, places = torch.cat([best, found], 1), torch.cat([places, where + start], 1)
        if best.shape[1] > _CANDIDATES:
            best, kept = best.topk(_CANDIDATES, 1, largest=False)
            places = places.gather(1, kept)
    return places


def _difference(a: Bytes, b: Bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each pair, exact in integers but for the root; [N]."""
    squares = (a.astype(np.int32) - b.astype(np.int32)) ** 2
    roots: np.ndarray[Any, np.dtype[np.float64]] = np.sqrt(squares.reshape(len(a), -1).mean(1))
    return roots
