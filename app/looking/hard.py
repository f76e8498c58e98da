"""The validation images that a run finds hard: always wrong, forgotten, flip-flopping, maybe mislabelled."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.exchange.sheets import defused
from app.looking import images
from app.looking.evaluation import Told, Validation
from app.looking.images import GRID_COLUMNS, Grid
from trainer import scores

Places = np.ndarray[Any, np.dtype[np.int64]]
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    label: str
    help: str


KINDS = (
    Kind("always", "Always wrong", "Wrong after every epoch, those that the model is surest of first."),
    Kind("forgotten", "Forgotten", "Once right, now wrong; those that were lost most often first."),
    Kind("flipping", "Flip-flopping", "The prediction keeps changing; the most changes first."),
    Kind("labels", "Maybe mislabelled", "The model says another class, as surely as it usually is of that class."),
)


@dataclass(frozen=True, slots=True)
class Hard:
    """The samples of one kind, each with the reason in words."""

    kind: Kind
    total: int
    grid: Grid


@dataclass(frozen=True, slots=True)
class _Case:
    told: Told
    validation: Validation
    history: scores.History


def find(told: Told, by_epoch: np.ndarray[Any, np.dtype[np.uint16]], data_dir: Path, *, kind: str) -> Hard:
    """The first `SHOWN` of a kind. Raises as `Told.validation` does."""
    case = _case(told, by_epoch, data_dir)
    chosen, (places, reason) = _kind(kind), _FIND[kind](case)
    items = [_item(case, int(place), reason(int(place))) for place in places[:SHOWN]]
    indices = [item["index"] for item in items]
    address = images.sprite_url(told.config, "val", data_dir, indices) if indices else ""
    cell = images.cell_of(case.validation.found)
    return Hard(chosen, len(places), Grid(address, cell, GRID_COLUMNS, items, told.now.epoch))


def as_csv(told: Told, by_epoch: np.ndarray[Any, np.dtype[np.uint16]], data_dir: Path) -> str:
    """Every validation image with what is known of it, a line each."""
    case = _case(told, by_epoch, data_dir)
    suspected = set(_FIND["labels"](case)[0].tolist())
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "index",
            "true",
            "predicted",
            "confidence",
            "times_wrong",
            "forgotten",
            "changes",
            "learned",
            "maybe_mislabelled",
        ]
    )
    history = case.history
    for place in range(len(case.validation.truth)):
        item = _item(case, place, "")
        numbers = (history.times_wrong, history.forgotten, history.changes, history.learned)
        writer.writerow(
            [item["index"], defused(item["true_name"]), defused(item["predicted_name"]), item["confidence"]]
            + [int(array[place]) for array in numbers]
            + [int(place in suspected)]
        )
    return out.getvalue()


def _case(told: Told, by_epoch: np.ndarray[Any, np.dtype[np.uint16]], data_dir: Path) -> _Case:
    validation = told.validation(data_dir)
    return _Case(told, validation, scores.history(validation.truth, by_epoch))


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


Found = tuple[Places, Callable[[int], str]]


def _always(case: _Case) -> Found:
    history = case.history
    places = np.flatnonzero(history.times_wrong == history.epochs)
    return _by(places, case.told.now.confidences), lambda _: f"wrong {history.epochs} of {history.epochs} times"


def _forgotten(case: _Case) -> Found:
    history = case.history
    places = np.flatnonzero(history.wrong_now & (history.forgotten > 0))
    return _by(places, history.forgotten), lambda place: _times("forgotten", int(history.forgotten[place]))


def _flipping(case: _Case) -> Found:
    history = case.history
    places = np.flatnonzero(history.changes >= max(2, history.epochs // 4))
    return _by(places, history.changes), lambda place: _times("changed", int(history.changes[place]))


def _labels(case: _Case) -> Found:
    now = case.told.now
    places = scores.label_issues(
        case.validation.truth, now.classes.astype(np.int64), now.confidences, len(case.validation.found.classes)
    )
    return places, lambda place: f"labelled {case.validation.found.classes[int(case.validation.truth[place])]}"


_FIND: dict[str, Callable[[_Case], Found]] = {
    "always": _always,
    "forgotten": _forgotten,
    "flipping": _flipping,
    "labels": _labels,
}


def _by(places: Places, most: np.ndarray[Any, Any]) -> Places:
    ordered: Places = places[np.argsort(-most[places].astype(np.float64), kind="stable")]
    return ordered


def _times(word: str, count: int) -> str:
    return f"{word} once" if count == 1 else f"{word} {count} times"


def _item(case: _Case, place: int, reason: str) -> dict[str, Any]:
    found, now = case.validation.found, case.told.now
    true, said = int(case.validation.truth[place]), int(now.classes[place])
    return {
        "index": int(case.validation.indices[place]),
        "true_name": found.classes[true],
        "predicted_name": found.classes[said],
        "confidence": round(float(now.confidences[place]), 4),
        "correct": true == said,
        "reason": reason,
    }
