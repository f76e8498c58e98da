"""A data set to look through: how its classes are balanced, and its images page by page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from app.looking import images
from app.looking.images import Grid
from trainer import sources
from trainer.config import TrainConfig
from trainer.sources import ImageSet, Split

PAGE = 64
SPLITS: dict[Split, str] = {"train": "Training", "val": "Validation"}


@dataclass(frozen=True, slots=True)
class Query:
    """Which images: of a split, of one class or all, in the order of the files or shuffled with a seed."""

    dataset: str
    split: Split = "train"
    label: int | None = None
    seed: int | None = None
    page: int = 1

    def url(self, **changed: Any) -> str:
        values = {"split": self.split, "label": self.label, "seed": self.seed, "page": self.page} | changed
        defaults = {"split": "train", "label": None, "seed": None, "page": 1}
        shown = {name: value for name, value in values.items() if value != defaults[name]}
        return f"/datasets/{self.dataset}" + (f"?{urlencode(shown)}" if shown else "")


@dataclass(frozen=True, slots=True)
class Page:
    grid: Grid
    total: int
    """Images of this split and class."""
    pages: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How many images of a class each split has, and their share of the largest class."""

    label: int
    name: str
    counts: dict[Split, int]
    shares: dict[Split, float]


def page(found: ImageSet, query: Query, data_dir: Path) -> Page:
    """`PAGE` images. Raises `NoSuchImage` for a page or class that there is not."""
    if query.label is not None and not 0 <= query.label < len(found.classes):
        raise images.NoSuchImage(f"There is no class {query.label}.")
    places = np.arange(len(found)) if query.label is None else np.flatnonzero(found.labels == query.label)
    if query.seed is not None:
        places = np.random.default_rng(query.seed).permutation(places)
    pages = max(1, -(-len(places) // PAGE))
    if not 1 <= query.page <= pages:
        raise images.NoSuchImage(f"There is no page {query.page}; the last is {pages}.")
    chosen = [int(place) for place in places[(query.page - 1) * PAGE : query.page * PAGE]]
    grid = images.labelled(found, TrainConfig(dataset=query.dataset), query.split, data_dir, chosen)
    return Page(grid, len(places), pages)


def balance(sets: dict[Split, ImageSet]) -> list[Balance]:
    """Class by class, both splits."""
    classes = next(iter(sets.values())).classes
    counts = {split: np.bincount(found.labels, minlength=len(classes)).tolist() for split, found in sets.items()}
    most = {split: max(1, *numbers) for split, numbers in counts.items()}
    return [
        Balance(
            label,
            name,
            {split: counts[split][label] for split in sets},
            {split: counts[split][label] / most[split] for split in sets},
        )
        for label, name in enumerate(classes)
    ]


def means(dataset: str, split: Split, data_dir: Path) -> bytes:
    """PNG of the mean image of each class, as `images.sprite` lays images out."""
    return _means(dataset, split, data_dir, sources.version(dataset, data_dir))


@lru_cache(maxsize=8)
def _means(dataset: str, split: Split, data_dir: Path, version: str) -> bytes:
    found = images.image_set(dataset, split, data_dir)
    shape = found.images.shape[1:]
    pictures = np.zeros((len(found.classes), *shape), np.uint8)
    for label in range(len(found.classes)):
        places = np.flatnonzero(found.labels == label)
        if len(places):
            sums = np.zeros(shape, np.int64)
            # In parts: all images of a class at once might not fit into memory.
            for part in np.array_split(places, -(-len(places) // 4096)):
                sums += found.images[part].sum(0, dtype=np.int64)
            pictures[label] = np.round(sums / len(places))
    everything = ImageSet(pictures, np.arange(len(found.classes)), found.classes)
    return images.sprite(everything, range(len(found.classes)))
