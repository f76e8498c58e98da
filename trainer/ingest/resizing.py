"""Images that all have one size, in rows or arrays, in another one: where that was chosen, or they are too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from trainer.ingest.contract import MOST_SIDE, Bytes, Guess
from trainer.ingest.fitting import FIT, Size, fitted, same_proportions, smaller
from trainer.ingest.writing import Block


def sized(found: Guess) -> Guess:
    """The guess as the images will be kept, of one as they are stored."""
    stored = found.shape[:2]
    size = found.choices.size or (smaller(stored) if max(stored) > MOST_SIDE else None)
    if size is None:
        return found
    fit = found.choices.fit or (None if same_proportions(stored, size) else FIT)
    told = f"The images have {stored[0]:,} x {stored[1]:,} pixels, more than the {MOST_SIDE} a side that are kept."
    return replace(
        found,
        choices=replace(found.choices, size=size, fit=fit),
        shape=(*size, found.shape[2]),
        sample=replace(found.sample, images=_all_fitted(found.sample.images, size, fit)),
        unsure=dict(found.unsure) if found.choices.size else {**found.unsure, "size": told},
    )


def noted(found: Guess) -> Guess:
    """With a word on what becomes of images that are no squares, when they are trained on."""
    h, w, _ = found.shape
    told = f"A run takes squares, so it stretches images of {h} x {w}; in a square size they would keep their form."
    return found if h == w else replace(found, notes=(*found.notes, told))


def resized(blocks: Iterator[Block], found: Guess) -> Iterator[Block]:
    """Blocks as they are stored, in the size that the guess says."""
    size = found.shape[:2]
    for block in blocks:
        count, *stored, _ = block.images.shape
        if tuple(stored) == size:
            yield block
            continue
        refitted = 0 if same_proportions((stored[0], stored[1]), size) else count
        images = _all_fitted(block.images, size, found.choices.fit)
        yield replace(block, images=images, resized=count, refitted=refitted)


def _all_fitted(images: Bytes, size: Size, fit: str | None) -> Bytes:
    """[N, H, W, C] -> [N, *size, C]."""
    channels = images.shape[3]
    plain = (np.ascontiguousarray(image[:, :, 0] if channels == 1 else image) for image in images)
    found = [np.asarray(fitted(Image.fromarray(image), size, fit or FIT), np.uint8) for image in plain]
    return np.stack(found).reshape(-1, *size, channels)
