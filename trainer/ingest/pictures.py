"""What numbers say of the picture that they make: neighbours in a picture are much alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.ingest.contract import Bytes

Images = np.ndarray[Any, np.dtype[Any]]

_SURE = 1.25
"""So many times rougher must the other reading be. Of real photographs it is 1.5 to 10 times; of noise about 1."""
_WIDEST = 4
"""Height and width of a guessed shape differ by this factor at most, where any such pair is to be had."""


@dataclass(frozen=True, slots=True)
class Looks:
    layout: str
    sure: bool


def looks(pixels: Bytes, shape: tuple[int, int, int]) -> Looks:
    """Whether the colours of [N, P] lie interleaved or planar: the reading that makes the smoother picture."""
    h, w, c = shape
    readings = {
        "interleaved": pixels.reshape(-1, h, w, c),
        "planar": pixels.reshape(-1, c, h, w).transpose(0, 2, 3, 1),
    }
    low, high = sorted(_roughness(reading) + 1e-9 for reading in readings.values())
    return Looks(smoother(readings), high / low >= _SURE)


def smoother(readings: Mapping[str, Images]) -> str:
    """Of several [N, H, W, C] the one that looks most like pictures; the first of equals."""
    return min(readings, key=lambda name: _roughness(readings[name]))


def likeliest_shape(pixels: Bytes) -> tuple[tuple[int, int, int], bool]:
    """Height, width and channels of [N, P], and whether it is told by the number alone: a square in grey or colour."""
    count = pixels.shape[1]
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side * side * channels == count:
            return (side, side, channels), True
    pairs = [(h, count // h) for h in range(1, count + 1) if count % h == 0]
    usual = [(h, w) for h, w in pairs if max(h, w) <= _WIDEST * min(h, w)] or pairs
    h, w = min(usual, key=lambda pair: (_roughness(pixels.reshape(-1, *pair, 1)), abs(pair[0] - pair[1])))
    return (h, w, 1), False


def _roughness(images: Images) -> float:
    """Mean difference of neighbours, down and across, of [N, H, W, C]."""
    whole = images.astype(np.float32)
    across, down = np.abs(np.diff(whole, axis=2)), np.abs(np.diff(whole, axis=1))
    return sum(float(found.mean()) for found in (across, down) if found.size)
