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

from app.metrics import DecodedPredictions
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
    url: str | None = None


@lru_cache(maxsize=16)
def image_set(dataset: str, split: Split, data_dir: Path) -> sources.ImageSet:
    """Raises `DataMissing`, `DataError`; what raised is tried again the next time."""
    return sources.load(dataset, split, data_dir)


def sprite(images: sources.ImageSet, indices: Sequence[int]) -> bytes:
    """PNG of the images at `indices`, `GRID_COLUMNS` a row. Raises `NoSuchImage`."""
    _check(images, indices)
    chosen = np.asarray(images.images[list(indices)])
    count, height, width, channels = chosen.shape
    rows = -(-count // GRID_COLUMNS)
    sheet = np.zeros((rows * GRID_COLUMNS, height, width, channels), np.uint8)
    sheet[:count] = chosen
    tiled = sheet.reshape(rows, GRID_COLUMNS, height, width, channels).swapaxes(1, 2)
    return _png(tiled.reshape(rows * height, GRID_COLUMNS * width, channels))


def single(images: sources.ImageSet, index: int) -> bytes:
    """PNG of one image. Raises `NoSuchImage`."""
    _check(images, [index])
    return _png(np.asarray(images.images[index]))


def samples(config: TrainConfig, data_dir: Path) -> Grid:
    """The first training images of each class, a column a class; just the first ones where classes are many."""
    images = image_set(config.dataset, "train", data_dir)
    subset = sources.subset_indices(len(images.labels), config.train_size)
    chosen = _rows_of_classes(images.labels[subset], len(images.classes))
    indices = [int(subset[i]) for i in chosen] if chosen is not None else [int(i) for i in subset[:GRID]]
    items = [
        {"index": i, "label": int(images.labels[i]), "class_name": images.classes[int(images.labels[i])]}
        for i in indices
    ]
    return Grid(_sprite_url(config.dataset, "train", indices), images.images.shape[1], GRID_COLUMNS, items)


def predictions(config: TrainConfig, data_dir: Path, predicted: DecodedPredictions, *, show: str, url: str) -> Grid:
    """Validation images with what the model said of them: the first ones, or its most confident mistakes."""
    images = image_set(config.dataset, "val", data_dir)
    subset = sources.subset_indices(len(images.labels), config.val_size)
    truth = images.labels[subset]
    if len(truth) != len(predicted.classes):
        raise NoSuchImage("the predictions belong to another version of the data set")
    places = _mistakes(truth, predicted) if show == "mistakes" else np.arange(min(GRID, len(truth)))
    items = [_prediction(images, subset, truth, predicted, int(place)) for place in places]
    indices = [item["index"] for item in items]
    return Grid(
        _sprite_url(config.dataset, "val", indices), images.images.shape[1], GRID_COLUMNS, items, predicted.epoch, url
    )


def _mistakes(truth: np.ndarray[Any, Any], predicted: DecodedPredictions) -> np.ndarray[Any, Any]:
    wrong = np.flatnonzero(truth != predicted.classes)
    return wrong[np.argsort(-predicted.confidences[wrong], kind="stable")][:GRID]


def _prediction(
    images: sources.ImageSet,
    subset: np.ndarray[Any, Any],
    truth: np.ndarray[Any, Any],
    predicted: DecodedPredictions,
    place: int,
) -> dict[str, Any]:
    true, guess = int(truth[place]), int(predicted.classes[place])
    return {
        "index": int(subset[place]),
        "true": true,
        "true_name": images.classes[true],
        "predicted": guess,
        "predicted_name": images.classes[guess],
        "confidence": round(float(predicted.confidences[place]), 4),
        "correct": true == guess,
    }


def _rows_of_classes(labels: np.ndarray[Any, Any], classes: int) -> list[int] | None:
    """Places of the first few images of each class, row by row; None where that makes no full grid."""
    if classes != GRID_COLUMNS:
        return None
    columns = [np.flatnonzero(labels == label)[: GRID // GRID_COLUMNS] for label in range(classes)]
    rows = min(len(column) for column in columns)
    return [int(column[row]) for row in range(rows) for column in columns] or None


def _sprite_url(dataset: str, split: Split, indices: Sequence[int]) -> str:
    return f"/datasets/{dataset}/{split}/sprite.png?indices={','.join(map(str, indices))}"


def _check(images: sources.ImageSet, indices: Sequence[int]) -> None:
    for index in indices:
        if not 0 <= index < len(images.labels):
            raise NoSuchImage(f"There is no image {index}; they count from 0 to {len(images.labels) - 1:,}.")


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Pixels of shape [H, W, C], C 1 or 3."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()
