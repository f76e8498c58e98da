"""A data set as batches: resident on the device, or read ahead by worker processes. Both give the same samples.

The order of an epoch is drawn from the run's seed and the epoch's number alone, so a resumed run goes on with
exactly the order that it would have had.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import resize

from trainer import sources
from trainer.config import TrainConfig
from trainer.errors import ConfigError, DataError

Batch = tuple[Tensor, Tensor]
"""Images float32 [B, C, H, W] in [0, 1] and labels int64 [B], both on the run's device."""

EVAL_BATCH = 1000
_CHUNK = 2048
_SHARE_OF_FREE_MEMORY = 0.25


class Batches(Protocol):
    classes: tuple[str, ...]
    samples: int
    channels: int

    def train_epoch(self, epoch: int) -> Iterator[Batch]:
        """Each sample at most once, in this epoch's order; the last incomplete batch is dropped."""

    def in_order(self) -> Iterator[Batch]:
        """Every sample once, in the order of the split."""

    def close(self) -> None: ...


def permutation(samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, int64 [samples]."""
    generator = torch.Generator().manual_seed(_mixed(seed, epoch))
    return torch.randperm(samples, generator=generator)


def _mixed(seed: int, epoch: int) -> int:
    """One number of 63 bits from two, spread so that neighbouring seeds and epochs share nothing."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def open_split(config: TrainConfig, split: sources.Split, data_dir: Path, device: torch.device) -> Batches:
    """Raises `DataMissing`, `DataError`, and `ConfigError` when the training images do not fill one batch."""
    images = sources.load(config.dataset, split, data_dir)
    chosen = sources.subset_indices(len(images), config.train_size if split == "train" else config.val_size)
    if len(chosen) == 0:
        raise DataError(f"The {split} images are none.")
    if split == "train" and config.batch_size > len(chosen):
        raise ConfigError({"batch_size": f"Is larger than the {len(chosen):,} training images there are."})
    if loading(config, images, len(chosen), device) == "resident":
        return Resident(config, images, chosen, device)
    return Loaded(config, split, data_dir, images, chosen, device)


def loading(config: TrainConfig, images: sources.ImageSet, samples: int, device: torch.device) -> str:
    """ "resident" or "dataloader"; auto keeps the set on the device when it takes at most a quarter of free memory."""
    if config.loading != "auto":
        return config.loading
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    size = samples * images.images.shape[3] * config.image_size**2
    return "resident" if size <= free * _SHARE_OF_FREE_MEMORY else "dataloader"


class Resident:
    """The whole split as one uint8 tensor on the device; a batch is an index into it."""

    def __init__(
        self,
        config: TrainConfig,
        images: sources.ImageSet,
        chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
        device: torch.device,
    ) -> None:
        self.classes, self.samples, self.channels = images.classes, len(chosen), images.images.shape[3]
        self._batch_size, self._seed, self._device = config.batch_size, config.seed, device
        self._images = torch.cat(
            [
                to_size(images.images[chosen[start : start + _CHUNK]], config.image_size).to(device)
                for start in range(0, len(chosen), _CHUNK)
            ]
        )
        self._labels = torch.from_numpy(images.labels[chosen]).to(device)

    def train_epoch(self, epoch: int) -> Iterator[Batch]:
        order = permutation(self.samples, seed=self._seed, epoch=epoch).to(self._device)
        for places in order.split(self._batch_size):
            if len(places) == self._batch_size:
                yield to_float(self._images[places]), self._labels[places]

    def in_order(self) -> Iterator[Batch]:
        for images, labels in zip(self._images.split(EVAL_BATCH), self._labels.split(EVAL_BATCH), strict=True):
            yield to_float(images), labels

    def close(self) -> None:
        pass


class Loaded:
    """The split read by torch's DataLoader with worker processes, for what does not fit."""

    def __init__(
        self,
        config: TrainConfig,
        split: sources.Split,
        data_dir: Path,
        images: sources.ImageSet,
        chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
        device: torch.device,
    ) -> None:
        self.classes, self.samples, self.channels = images.classes, len(chosen), images.images.shape[3]
        self._seed, self._device = config.seed, device
        self._order = _Order(self.samples, config.batch_size if split == "train" else EVAL_BATCH)
        self._loader = DataLoader(
            _Files(config, split, data_dir, chosen),
            batch_sampler=self._order,
            num_workers=config.num_workers,
            persistent_workers=config.num_workers > 0,
            pin_memory=device.type == "cuda",
            # It draws a seed for its workers at each epoch; from torch's own generator that would shift dropout's.
            generator=torch.Generator(),
            # Fresh processes: the worker has threads, and a fork would copy their locks.
            multiprocessing_context="forkserver" if config.num_workers else None,
        )

    def train_epoch(self, epoch: int) -> Iterator[Batch]:
        self._order.order = permutation(self.samples, seed=self._seed, epoch=epoch)
        self._order.drop_last = True
        return self._batches()

    def in_order(self) -> Iterator[Batch]:
        self._order.order = torch.arange(self.samples)
        self._order.drop_last = False
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        for images, labels in self._loader:
            yield to_float(images.to(self._device, non_blocking=True)), labels.to(self._device, non_blocking=True)

    def close(self) -> None:
        """End the worker processes now; left to the garbage collector they would outlive the run."""
        iterator = self._loader._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


class _Order:
    """A batch sampler whose order is set from outside before each epoch."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self.order = torch.arange(samples)
        self.drop_last = False
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for places in self.order.split(self._batch_size):
            if not self.drop_last or len(places) == self._batch_size:
                yield places.tolist()

    def __len__(self) -> int:
        return len(self.order) // self._batch_size if self.drop_last else -(-len(self.order) // self._batch_size)


class _Files(Dataset[tuple[Tensor, int]]):
    """Samples read from the files one by one. It opens them where it is used: a memory map must not be pickled."""

    def __init__(
        self,
        config: TrainConfig,
        split: sources.Split,
        data_dir: Path,
        chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> None:
        self._where = (config.dataset, split, data_dir)
        self._chosen, self._size = chosen, config.image_size
        self._images: sources.ImageSet | None = None

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        if self._images is None:
            self._images = sources.load(*self._where)
        index = self._chosen[place]
        return to_size(self._images.images[index : index + 1], self._size)[0], int(self._images.labels[index])


def to_size(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], size: int) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, C, size, size]: bilinear with antialiasing, as PIL resizes in the tutorial."""
    # A copy: what comes from a memory map is read-only, and torch has no read-only tensors.
    images = torch.from_numpy(np.array(pixels.transpose(0, 3, 1, 2), order="C"))
    return images if images.shape[2:] == (size, size) else resize(images, [size, size], antialias=True)


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1], as ToTensor does."""
    return images.to(torch.float32).mul_(1 / 255)
