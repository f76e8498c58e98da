"""What the network would be fed: training images with the augmentation of some settings, to be looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer import sources
from trainer.augment import Transform
from trainer.config import TrainConfig
from trainer.data import to_size

CPU = torch.device("cpu")


def augmented(config: TrainConfig, data_dir: Path, *, images: int, draws: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The first training images as they are, and below them `draws` times as they would be fed.

    uint8 [1 + draws, images, H, W, C]. Normalisation is left out: it would only change the scale of what is seen.
    Raises `DataMissing`, `DataError`; of CSV files only those that have been read.
    """
    stored = sources.load(config.dataset, "train", data_dir, csv_shape=config.csv_shape, convert=False)
    chosen = sources.subset_indices(len(stored), config.train_size)[:images]
    pixels, labels = to_size(stored.images[chosen], config.image_size), torch.from_numpy(stored.labels[chosen])
    transform = Transform(replace(config, normalize=False), CPU)
    rows = [pixels]
    for epoch in range(1, draws + 1):
        transform.start(epoch)
        transform.draw()
        fed, _ = transform.for_training(pixels, labels)
        rows.append((fed * 255).round().clamp(0, 255).byte())
    return torch.stack(rows).permute(0, 1, 3, 4, 2).numpy()
