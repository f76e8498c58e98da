"""Tables for the terminal: what a network is made of, and how well it tells each class apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer import describe, scores, sources
from trainer.config import TrainConfig
from trainer.events import Predictions
from trainer.models import Shape


def layers(config: TrainConfig, data_dir: Path) -> str:
    """Raises as `sources.load` does, and `ConfigError` where the images are too small for the network."""
    images = sources.load(config.dataset, "train", data_dir, csv_shape=config.csv_shape)
    shape = Shape(images.images.shape[3], config.image_size, len(images.classes))
    network = describe.describe(config, shape)
    rows = [
        (layer.name, layer.kind, " x ".join(map(str, layer.output)), f"{layer.parameters:,}", f"{layer.flops:,}")
        for layer in network.layers
    ]
    rows.append(("", "in all", "", f"{network.parameters:,}", f"{network.flops:,}"))
    return _table(("layer", "kind", "output", "parameters", "FLOPs"), rows, left=3)


def classes(config: TrainConfig, data_dir: Path, predictions: Predictions) -> str:
    """Precision, recall and F1 of each class of the validation images."""
    images = sources.load(config.dataset, "val", data_dir, csv_shape=config.csv_shape)
    true = images.labels[sources.subset_indices(len(images), config.val_size)]
    predicted = scores.predicted_classes(predictions.classes, len(true))
    found = scores.by_class(scores.confusion(true, predicted, len(images.classes)))
    rows = [
        (name, *("–" if share is None else f"{share:.1%}" for share in (one.precision, one.recall, one.f1)),
         f"{one.support:,}")
        for name, one in zip(images.classes, found, strict=True)
    ]  # fmt: skip
    return _table(("class", "precision", "recall", "F1", "images"), rows, left=1)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """The first columns to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join(lines)
