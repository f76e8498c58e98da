"""What a run's recorded predictions say: image by image, class by class, and how far their confidence goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app import metrics, runs
from app.looking import images
from app.looking.images import GRID, GRID_COLUMNS, Grid, NoSuchImage
from app.metrics import DecodedPredictions
from trainer import scores, sources
from trainer.config import TrainConfig

SHOW = r"^(first|mistakes|[0-9]{1,5}-[0-9]{1,5})$"
"""Which images a grid shows: the first ones, the mistakes, or one cell of the confusion matrix, "true-predicted"."""

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a run has told of its validation images after one epoch, and after the one before."""

    config: TrainConfig
    now: DecodedPredictions
    before: DecodedPredictions | None

    @classmethod
    def of(cls, session: Session, run_id: int, epoch: int | None = None) -> Told:
        """Without `epoch` after the newest. Raises `RunNotFound`, and `NoSuchImage` where nothing was told."""
        config = runs.config_of(runs.get(session, run_id))
        now = metrics.predictions(session, run_id, epoch)
        if now is None:
            raise NoSuchImage("There are no predictions of that epoch yet.")
        return cls(config, now, metrics.predictions(session, run_id, now.epoch - 1))

    def validation(self, data_dir: Path) -> Validation:
        """The images spoken of. Raises `DataError`, and `NoSuchImage` when there are others now than there were."""
        found = images.image_set(self.config.dataset, "val", data_dir, self.config.csv_shape)
        subset = sources.subset_indices(len(found), self.config.val_size)
        if len(subset) != len(self.now.classes):
            raise NoSuchImage("The predictions belong to another version of the data set.")
        return Validation(found, subset, found.labels[subset])


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation images in the order of the predictions: their index in the data set, and their true class."""

    found: sources.ImageSet
    indices: Places
    truth: Places


class ClassOut(BaseModel):
    name: str
    precision: float | None = Field(description="Of those predicted as this class, the share that is; null for 0 / 0.")
    recall: float | None = Field(description="Of those of this class, the share that was predicted so.")
    f1: float | None
    f1_change: float | None = Field(description="Since the epoch before; null after the first.")
    support: int = Field(description="Validation images of this class.")


class ConfusionOut(BaseModel):
    epoch: int
    matrix: list[list[int]] = Field(description="Counts: row the true class, column the predicted one.")
    classes: list[ClassOut]


class BinOut(BaseModel):
    """Predictions whose confidence lies above `low` and not above `high`."""

    low: float
    high: float
    right: int
    wrong: int
    confidence: float | None = Field(description="Mean over the bin; null where it is empty.")


ORDERS = {"listed": "As listed", "worst": "Worst first", "confused": "Confused together"}
"""How the classes of a confusion matrix may stand."""
ORDER = rf"^({'|'.join(ORDERS)})$"


class CalibrationOut(BaseModel):
    epoch: int
    error: float = Field(description="Expected calibration error, from 0 to 1.")
    bins: list[BinOut]


def confusion(told: Told, data_dir: Path) -> ConfusionOut:
    """Raises as `Told.validation` does."""
    validation = told.validation(data_dir)
    names = validation.found.classes
    matrix = scores.confusion(validation.truth, told.now.classes, len(names))
    old: list[scores.ClassScore | None] = [None] * len(names)
    if told.before:
        old = [*scores.by_class(scores.confusion(validation.truth, told.before.classes, len(names)))]
    classes = [
        ClassOut(name=name, f1_change=_change(score, before), **asdict(score))
        for name, score, before in zip(names, scores.by_class(matrix), old, strict=True)
    ]
    return ConfusionOut(epoch=told.now.epoch, matrix=matrix.tolist(), classes=classes)


def ordered(told: ConfusionOut, by: str) -> list[int]:
    """The classes' numbers in one of `ORDERS`."""
    places = list(range(len(told.classes)))
    if by == "worst":
        # A class without an F1 has no images and no predictions: there is nothing to see.
        return sorted(places, key=lambda place: (told.classes[place].f1 is None, told.classes[place].f1 or 0.0, place))
    return scores.alike_together(np.array(told.matrix)) if by == "confused" else places


def calibration(told: Told, data_dir: Path) -> CalibrationOut:
    """How far confidence can be believed. Raises as `Told.validation` does."""
    right = told.validation(data_dir).truth == told.now.classes
    bins, error = scores.calibration(right, told.now.confidences)
    return CalibrationOut(epoch=told.now.epoch, error=error, bins=[BinOut(**asdict(item)) for item in bins])


def grid(told: Told, data_dir: Path, *, show: str) -> Grid:
    """Validation images with what the model said of them, as `SHOW` says; the most confident mistakes first.

    Raises as `Told.validation` does.
    """
    validation = told.validation(data_dir)
    items = [_item(validation, told.now, int(place)) for place in _chosen(validation.truth, told.now, show)]
    indices = [item["index"] for item in items]
    address = images.sprite_url(told.config, "val", data_dir, indices)
    return Grid(address, images.cell_of(validation.found), GRID_COLUMNS, items, told.now.epoch)


def _change(now: scores.ClassScore, before: scores.ClassScore | None) -> float | None:
    return None if before is None or before.f1 is None or now.f1 is None else now.f1 - before.f1


def _chosen(truth: Places, predicted: DecodedPredictions, show: str) -> Iterable[Any]:
    if show == "first":
        return range(min(GRID, len(truth)))
    if show == "mistakes":
        wanted = truth != predicted.classes
    else:
        true, _, said = show.partition("-")
        wanted = (truth == int(true)) & (predicted.classes == int(said))
    places = np.flatnonzero(wanted)
    return places[np.argsort(-predicted.confidences[places], kind="stable")][:GRID]


def _item(validation: Validation, predicted: DecodedPredictions, place: int) -> dict[str, Any]:
    true, guess = int(validation.truth[place]), int(predicted.classes[place])
    return {
        "index": int(validation.indices[place]),
        "true": true,
        "true_name": validation.found.classes[true],
        "predicted": guess,
        "predicted_name": validation.found.classes[guess],
        "confidence": round(float(predicted.confidences[place]), 4),
        "correct": true == guess,
    }
