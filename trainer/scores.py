"""How well each class is told apart, from true and predicted labels. numpy only: the web computes it from records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

Labels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """None where a score is 0 / 0: nothing was predicted as the class, or none of it was there."""

    precision: float | None
    """Of those predicted as this class, the share that is."""
    recall: float | None
    """Of those of this class, the share that was predicted so."""
    f1: float | None
    """Harmonic mean of the two."""
    support: int
    """Images of this class."""


def predicted_classes(stored: bytes, samples: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """As `trainer.events.Predictions` holds them for so many samples; their width shows in the length."""
    return np.frombuffer(stored, "u1" if len(stored) == samples else "<u2").astype(np.uint16)


def confusion(true: Labels, predicted: Labels, classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Counts, shape [classes, classes]: row the true class, column the predicted one."""
    pairs = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def by_class(matrix: np.ndarray[Any, np.dtype[np.int64]]) -> list[ClassScore]:
    """A score for each class of a confusion matrix."""
    hits, support, said = matrix.diagonal().tolist(), matrix.sum(1).tolist(), matrix.sum(0).tolist()
    return [
        ClassScore(_share(hit, guessed), _share(hit, there), _share(2 * hit, guessed + there), there)
        for hit, there, guessed in zip(hits, support, said, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions whose confidence lies in (low, high]; the first bin holds 0 too."""

    low: float
    high: float
    right: int
    wrong: int
    confidence: float | None
    """Mean over the bin; None where it is empty."""


def calibration(right: Labels, confidences: Labels, *, bins: int = 10) -> tuple[list[Bin], float]:
    """Bins of equal width, and the expected calibration error over them.

    `right` is bool [N], `confidences` are in [0, 1], [N]. The error is the mean distance of a bin's accuracy from its
    mean confidence, weighted by its size (Guo et al., 2017, https://arxiv.org/abs/1706.04599).
    """
    places = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    hits = np.bincount(places, weights=right, minlength=bins)
    sums = np.bincount(places, weights=confidences, minlength=bins)
    found = [
        Bin(place / bins, (place + 1) / bins, int(hit), int(count - hit), float(total / count) if count else None)
        for place, (count, hit, total) in enumerate(zip(counts, hits, sums, strict=True))
    ]
    return found, float(np.abs(hits - sums).sum() / max(1, len(places)))


@dataclass(frozen=True, slots=True)
class History:
    """How each of N samples fared over E epochs; arrays of shape [N]."""

    epochs: int
    times_wrong: Labels
    forgotten: Labels
    """How often it was right and wrong in the next epoch (Toneva et al., 2019, https://arxiv.org/abs/1812.05159)."""
    changes: Labels
    """How often the predicted class was another than in the epoch before."""
    learned: Labels
    """The first epoch, from 1, after which it was right to the end; 0 where it is wrong at the end."""
    wrong_now: Labels


def history(true: Labels, predicted: Labels) -> History:
    """`true` [N], `predicted` [E, N] in the order of the epochs."""
    right = predicted == true
    epochs = len(right)
    # Counted from the end: how many epochs in a row it has been right.
    streak = np.where(right.all(0), epochs, np.argmin(right[::-1], axis=0))
    return History(
        epochs=epochs,
        times_wrong=(~right).sum(0),
        forgotten=(right[:-1] & ~right[1:]).sum(0),
        changes=(predicted[:-1] != predicted[1:]).sum(0),
        learned=np.where(streak > 0, epochs - streak + 1, 0),
        wrong_now=~right[-1],
    )


def label_issues(true: Labels, predicted: Labels, confidences: Labels, classes: int) -> Labels:
    """Places of samples whose label is probably wrong, the surest first.

    After confident learning (Northcutt et al., 2021, https://arxiv.org/abs/1911.00068): a sample is suspected when the
    model says another class with at least the confidence that it has, on average, in samples of that class. Only the
    probability of the predicted class is recorded, so that average is taken over those predicted right.
    """
    right = true == predicted
    sums = np.bincount(true[right], weights=confidences[right], minlength=classes)
    counts = np.bincount(true[right], minlength=classes)
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    suspected = np.flatnonzero(~right & (confidences >= usual[predicted]))
    return suspected[np.argsort(-confidences[suspected], kind="stable")]


def wilson(hits: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval in which the true share lies with that confidence (Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value that two models are right equally often, from the samples that just one of them gets right.

    The exact test: under chance each such sample is a toss of a coin (McNemar, 1947). 1 where there is none.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    if total == 0:
        return 1.0
    whole = math.lgamma(total + 1)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def alike_together(matrix: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    """An order of the classes in which those that are taken for each other stand side by side.

    It starts with the pair that is confused most, as a share of their images, and goes on at whichever end has the
    class confused most with one that has no place yet. `matrix`: [C, C], row the true class.
    """
    count = len(matrix)
    if count < 2:
        return list(range(count))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    alike = shares + shares.T
    np.fill_diagonal(alike, -1.0)
    chain = [int(place) for place in np.unravel_index(alike.argmax(), alike.shape)]
    left = [place for place in range(count) if place not in chain]
    while left:
        ends = {end: max(left, key=lambda place: (alike[end, place], -place)) for end in (chain[0], chain[-1])}
        end = max(ends, key=lambda end: alike[end, ends[end]])
        place = ends[end]
        chain.insert(0 if end == chain[0] else len(chain), place)
        left.remove(place)
    return chain
