"""Images of a data set as PNG: one, or many in one sprite. Reads the files through a memory map, without torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer import sources
from trainer.config import TrainConfig
from trainer.sources import Split

GRID = 40
"""Images of a grid on a page."""
GRID_COLUMNS = 10
MOST_IN_SPRITE = 256


class NoSuchImage(LookupError):
    """The data set has no image of that number."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A sprite and its cells in order, row by row."""

    sprite_url: str
    cell: int
    """Pixels a side of one cell in the sprite."""
    columns: int
    items: list[dict[str, Any]]
    epoch: int | None = None


def image_set(dataset: str, split: Split, data_dir: Path, csv_shape: str | None = None) -> sources.ImageSet:
    """Raises `DataMissing`, `DataError`; what raised is tried again the next time."""
    return _image_set(dataset, split, data_dir, csv_shape, sources.version(dataset, data_dir))


@lru_cache(maxsize=16)
def _image_set(dataset: str, split: Split, data_dir: Path, csv_shape: str | None, version: str) -> sources.ImageSet:
    # A page never waits while a large file is read: the first run on it does that.
    return sources.load(dataset, split, data_dir, csv_shape=csv_shape, convert=False)


def sprite(images: sources.ImageSet, indices: Sequence[int]) -> bytes:
    """PNG of the images at `indices`, `GRID_COLUMNS` a row. Raises `NoSuchImage`."""
    check(images, indices)
    chosen = np.asarray(images.images[list(indices)])
    count, height, width, channels = chosen.shape
    side, rows = cell_of(images), -(-count // GRID_COLUMNS)
    sheet = np.zeros((rows * GRID_COLUMNS, side, side, channels), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    sheet[:count, top : top + height, left : left + width] = chosen
    return png(tiled(sheet.reshape(rows, GRID_COLUMNS, side, side, channels)))


def tiled(cells: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[rows, columns, H, W, C] -> one picture [rows * H, columns * W, C]."""
    rows, columns, height, width, channels = cells.shape
    return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def cell_of(images: sources.ImageSet) -> int:
    """Pixels a side of a grid's cells: images that are not square stand in the middle of one."""
    _, height, width, _ = images.images.shape
    return max(int(height), int(width))


def single(images: sources.ImageSet, index: int) -> bytes:
    """PNG of one image. Raises `NoSuchImage`."""
    check(images, [index])
    return png(np.asarray(images.images[index]))


def samples(config: TrainConfig, data_dir: Path) -> Grid:
    """The first training images of each class, a column a class; just the first ones where classes are many."""
    images = image_set(config.dataset, "train", data_dir, config.csv_shape)
    subset = sources.subset_indices(len(images.labels), config.train_size)
    chosen = _rows_of_classes(images.labels[subset], len(images.classes))
    indices = [int(subset[i]) for i in chosen] if chosen is not None else [int(i) for i in subset[:GRID]]
    return labelled(images, config, "train", data_dir, indices)


def labelled(
    images: sources.ImageSet, config: TrainConfig, split: Split, data_dir: Path, indices: Sequence[int]
) -> Grid:
    """The images at `indices`, each with its class; without any, without a sprite."""
    items = [
        {"index": i, "label": int(images.labels[i]), "class_name": images.classes[int(images.labels[i])]}
        for i in indices
    ]
    address = sprite_url(config, split, data_dir, indices) if indices else ""
    return Grid(address, cell_of(images), GRID_COLUMNS, items)


def _rows_of_classes(labels: np.ndarray[Any, Any], classes: int) -> list[int] | None:
    """Places of the first few images of each class, row by row; None where that makes no full grid."""
    if classes != GRID_COLUMNS:
        return None
    columns = [np.flatnonzero(labels == label)[: GRID // GRID_COLUMNS] for label in range(classes)]
    rows = min(len(column) for column in columns)
    return [int(column[row]) for row in range(rows) for column in columns] or None


def sprite_url(config: TrainConfig, split: Split, data_dir: Path, indices: Sequence[int]) -> str:
    """The address of the sprite of these images; it changes when the data set does, so it can be kept for ever."""
    shape = f"&shape={config.csv_shape}" if config.csv_shape else ""
    version = sources.version(config.dataset, data_dir)
    numbers = ",".join(map(str, indices))
    return f"/datasets/{config.dataset}/{split}/sprite.png?v={version}{shape}&indices={numbers}"


def check(images: sources.ImageSet, indices: Sequence[int]) -> None:
    """Raises `NoSuchImage` where one of `indices` is none of them."""
    for index in indices:
        if not 0 <= index < len(images.labels):
            raise NoSuchImage(f"There is no image {index}; they count from 0 to {len(images.labels) - 1:,}.")


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Pixels of shape [H, W, C], C 1 or 3."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()
