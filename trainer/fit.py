"""Whether settings suit a data set: asked before a run is queued, and by the trainer when it starts. Free of torch.

What settings alone tell, an image too small for a network say, is refused by `TrainConfig` itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer import sources
from trainer.errors import DataError, DataMissing

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def misfits(config: TrainConfig, data_dir: Path) -> dict[str, str]:
    """Sentences by field. Of files that have not been read yet nothing is known, so nothing is said."""
    try:
        images = sources.load(config.dataset, "train", data_dir, csv_shape=config.csv_shape, convert=False)
    except DataMissing as error:
        return {"dataset": str(error)} if config.dataset.startswith(sources.SET) else {}
    except DataError as error:
        return {"dataset": str(error)}
    chosen = min(len(images), config.train_size or len(images))
    found = {
        "class_weights": wrong_weights(config.class_weights, len(images.classes)),
        "batch_size": too_few_images(config.batch_size, chosen),
    }
    return {field: problem for field, problem in found.items() if problem}


def wrong_weights(asked: str | None, classes: int) -> str | None:
    """A sentence where the weights are not one for each class, or all 0."""
    if asked is None or asked == "balanced":
        return None
    weights = [float(part) for part in asked.split(",")]
    if len(weights) != classes:
        return f"Has {len(weights)} numbers, but the data set has {classes} classes."
    return None if any(weights) else "Must not all be 0."


def too_few_images(batch_size: int, images: int) -> str | None:
    """A sentence where not one batch is full: an incomplete one is dropped."""
    return f"Is larger than the {images:,} training images there are." if batch_size > images else None
