"""Near-duplicates between a data set's training and validation images, looked for once and kept."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from app.looking import browse, images
from app.looking.images import Grid
from app.state import State
from trainer import sources
from trainer.config import TrainConfig

SHOWN = 60


@dataclass(frozen=True, slots=True)
class Twins:
    equal: int
    near: int
    below: float
    """The difference in grey levels below which two images count as near."""
    other_label: int
    """Of the pairs shown, those whose two images bear different labels."""
    val: Grid
    train: Grid
    """Cell by cell the nearest training image."""


def find(shared: State, dataset: str) -> Twins:
    """The pairs most alike. Raises `DataError`, `FormError`, `SidecarError`."""
    data_dir = shared.settings.data_dir
    found = {split: images.image_set(dataset, split, data_dir) for split in browse.SPLITS}
    told = _told(shared, dataset)
    pairs = told["pairs"][:SHOWN]
    items = [_item(found["val"], found["train"], pair) for pair in pairs]
    config = TrainConfig(dataset=dataset)

    def grid(split: sources.Split, name: str) -> Grid:
        address = images.sprite_url(config, split, data_dir, [pair[name] for pair in pairs]) if pairs else ""
        return Grid(address, images.cell_of(found[split]), images.GRID_COLUMNS, items)

    differing = sum(item["val_class"] != item["train_class"] for item in items)
    return Twins(told["equal"], told["near"], told["below"], differing, grid("val", "val"), grid("train", "train"))


def _told(shared: State, dataset: str) -> dict[str, Any]:
    """What the helper found, kept in the cache for as long as the data set's files stay as they are."""
    version = sources.version(dataset, shared.settings.data_dir)
    name = hashlib.sha256(f"{dataset} {version}".encode()).hexdigest()[:16]
    file = shared.settings.cache_dir / f"duplicates-{name}.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    question = {"duplicates": dataset, "data_dir": str(shared.settings.data_dir), "most": SHOWN}
    answer = shared.exporter.ask(question)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(answer))
    part.replace(file)
    return answer


def _item(val: sources.ImageSet, train: sources.ImageSet, pair: dict[str, Any]) -> dict[str, Any]:
    return pair | {
        "val_class": val.classes[int(val.labels[pair["val"]])],
        "train_class": train.classes[int(train.labels[pair["train"]])],
    }
