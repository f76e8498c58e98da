"""Two runs on the same validation images: who is right where, and whether the difference is more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.looking import images
from app.looking.evaluation import Told
from app.looking.images import GRID_COLUMNS, Grid, NoSuchImage
from trainer import scores

KINDS = ("first", "second", "neither")
"""Only the first run is right, only the second, none of them."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    epoch: int
    accuracy: float
    low: float
    high: float
    """Between these two the true accuracy lies with 95 % confidence."""


@dataclass(frozen=True, slots=True)
class Pair:
    sides: tuple[Side, Side]
    counts: dict[str, int]
    """By `KINDS`, and "both"."""
    p_value: float
    words: str
    grid: Grid


def of(first: Told, second: Told, data_dir: Path, *, kind: str) -> Pair:
    """After the newest epoch of each. Raises `NoSuchImage` when they were not validated on the same images."""
    a, b = first.validation(data_dir), second.validation(data_dir)
    same = (first.config.dataset, first.config.csv_shape) == (second.config.dataset, second.config.csv_shape)
    if not same or not np.array_equal(a.indices, b.indices):
        raise NoSuchImage("These two runs were validated on different images.")
    rights = first.now.classes == a.truth, second.now.classes == a.truth
    masks = {
        "both": rights[0] & rights[1],
        "first": rights[0] & ~rights[1],
        "second": ~rights[0] & rights[1],
        "neither": ~rights[0] & ~rights[1],
    }
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    p_value = scores.mcnemar(counts["first"], counts["second"])
    # What at least one of them was surest of says most.
    sure = np.maximum(first.now.confidences, second.now.confidences)
    places = np.flatnonzero(masks[kind])
    chosen = places[np.argsort(-sure[places], kind="stable")][: images.GRID]
    items = [
        _item(a.found.classes, int(a.indices[place]), int(a.truth[place]), first, second, place) for place in chosen
    ]
    indices = [item["index"] for item in items]
    address = images.sprite_url(first.config, "val", data_dir, indices) if indices else ""
    return Pair(
        (_side(first, rights[0]), _side(second, rights[1])),
        counts,
        p_value,
        _words(p_value, counts),
        Grid(address, images.cell_of(a.found), GRID_COLUMNS, items),
    )


def _side(told: Told, right: np.ndarray[Any, np.dtype[np.bool_]]) -> Side:
    hits, total = int(right.sum()), len(right)
    return Side(told.now.epoch, hits / total, *scores.wilson(hits, total))


def _words(p_value: float, counts: dict[str, int]) -> str:
    if counts["first"] == counts["second"]:
        return "They are right equally often."
    chance = "less than 0.1 %" if p_value < 0.001 else f"{p_value:.1%}".replace("%", " %")
    said = f"chance alone would give such a difference, or a larger one, in {chance} of cases"
    if p_value < 0.05:
        return f"The difference is larger than chance would give: {said}."
    return f"The difference may well be chance: {said}."


def _item(classes: tuple[str, ...], index: int, true: int, first: Told, second: Told, place: Any) -> dict[str, Any]:
    return {
        "index": index,
        "true_name": classes[true],
        "said": [
            {
                "name": classes[int(told.now.classes[place])],
                "confidence": float(told.now.confidences[place]),
                "correct": int(told.now.classes[place]) == true,
            }
            for told in (first, second)
        ],
    }
