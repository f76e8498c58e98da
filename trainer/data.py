"""A data set as batches: resident on the device, or read ahead by worker processes. Both give the same samples.

The order of an epoch is drawn from the run's seed and the epoch's number alone, so a resumed run goes on with
exactly the order that it would have had.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import resize

from trainer import sources
from trainer.config import TrainConfig
from trainer.errors import ConfigError, DataError
from trainer.fit import too_few_images
from trainer.memory import free_memory

Batch = tuple[Tensor, Tensor]
"""Images uint8 [B, C, H, W] and labels int64 [B], both on the run's device."""

Inputs = tuple[Tensor, ...]
"""What a batch is made of within a step, on the run's device; of the same shapes for every batch of a training."""

Places = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Indices into a stored split."""

EVAL_BATCH, _EVAL_BYTES = 1000, 32 << 20
"""Images without gradients at a time; fewer where they are large, since they become numbers of four bytes each."""
_CHUNK = 2048
_WORDS = {"train": "training", "val": "validation"}
_SHARE_OF_FREE_MEMORY = 0.25
_LOOK_FOR_OWNER_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Which share of the batches a process takes: images `rank`, `rank + size`, ... of each training batch."""

    rank: int = 0
    size: int = 1


WHOLE = Part()


class Batches(ABC):
    """One split of a data set, in batches."""

    def __init__(self, config: TrainConfig, images: sources.ImageSet, chosen: Places) -> None:
        self.classes, self.samples, self.channels = images.classes, len(chosen), images.images.shape[3]
        self.labels = images.labels[chosen]
        self.eval_batch = max(1, min(EVAL_BATCH, _EVAL_BYTES // (self.channels * config.image_size**2)))
        self._stored, self._chosen, self._seed = images.images, chosen, config.seed

    def train_epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        """Each sample at most once, in this epoch's order, without the first `skip` batches.

        The last incomplete batch is dropped.
        """
        return (self.batch(*inputs) for inputs in self.train_inputs(epoch, skip=skip))

    @abstractmethod
    def train_inputs(self, epoch: int, *, skip: int = 0) -> Iterator[Inputs]:
        """What `batch` makes the batches of `train_epoch` of."""

    @abstractmethod
    def batch(self, *inputs: Tensor) -> Batch:
        """A batch from its inputs; part of a training step, so it must not wait for the device."""

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """Every sample once, in the order of the split, `eval_batch` at a time; a process takes every size-th batch."""

    def statistics(self) -> Statistics:
        """Of its stored pixels."""
        return statistics(self._stored, self._chosen)

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what it holds beyond memory."""


def permutation(samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, int64 [samples]."""
    generator = torch.Generator().manual_seed(mixed(seed, epoch))
    return torch.randperm(samples, generator=generator)


def mixed(*numbers: int) -> int:
    """One number of 63 bits from several, spread so that neighbouring seeds and epochs share nothing."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Per-channel mean and standard deviation of the training images, on the scale of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], places: Places) -> Statistics:
    """Per-channel mean and standard deviation of `pixels[places]`, exact in integers; 1 where all are equal.

    `pixels`: uint8 [N, H, W, C].
    """
    channels, count = pixels.shape[3], 0
    sums, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for start in range(0, len(places), _CHUNK):
        part = pixels[places[start : start + _CHUNK]].reshape(-1, channels).astype(np.int64)
        sums += part.sum(0)
        squares += (part**2).sum(0)
        count += len(part)
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return Statistics(tuple((mean / 255).tolist()), tuple(np.where(std > 0, std / 255, 1.0).tolist()))


def open_split(
    config: TrainConfig, split: sources.Split, data_dir: Path, device: torch.device, part: Part = WHOLE
) -> Batches:
    """Raises `DataMissing`, `DataError`, and `ConfigError` when the training images do not fill one batch."""
    images = sources.load(config.dataset, split, data_dir, csv_shape=config.csv_shape)
    chosen = sources.subset_indices(len(images), config.train_size if split == "train" else config.val_size)
    if len(chosen) == 0:
        raise DataError(f"There are no {_WORDS[split]} images.")
    if split == "train" and (problem := too_few_images(config.batch_size, len(chosen))):
        raise ConfigError({"batch_size": problem})
    if loading(config, images, len(chosen), device) == "resident":
        return Resident(config, images, chosen, device, part)
    return Loaded(config, split, data_dir, images, chosen, device, part)


def loading(config: TrainConfig, images: sources.ImageSet, samples: int, device: torch.device) -> str:
    """ "resident" or "dataloader"; auto keeps the set on the device when it takes at most a quarter of free memory."""
    if config.loading != "auto":
        return config.loading
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    size = samples * images.images.shape[3] * config.image_size**2
    return "resident" if size <= free * _SHARE_OF_FREE_MEMORY else "dataloader"


class Resident(Batches):
    """The whole split as one uint8 tensor on the device; a batch is an index into it."""

    def __init__(
        self, config: TrainConfig, images: sources.ImageSet, chosen: Places, device: torch.device, part: Part
    ) -> None:
        super().__init__(config, images, chosen)
        self._batch_size, self._part, self._device = config.batch_size, part, device
        self._images = torch.cat(
            [
                to_size(images.images[chosen[start : start + _CHUNK]], config.image_size).to(device)
                for start in range(0, len(chosen), _CHUNK)
            ]
        )
        self._targets = torch.from_numpy(self.labels).to(device)

    def train_inputs(self, epoch: int, *, skip: int = 0) -> Iterator[Inputs]:
        """The places of each batch in the split."""
        order = permutation(self.samples, seed=self._seed, epoch=epoch)
        if self._device.type == "cuda":
            # From pinned memory the copy goes on by itself, and the host goes on too.
            order = order.pin_memory().to(self._device, non_blocking=True)
        for places in order[skip * self._batch_size :].split(self._batch_size):
            if len(places) == self._batch_size:
                yield (places[self._part.rank :: self._part.size],)

    def batch(self, *inputs: Tensor) -> Batch:
        (places,) = inputs
        return self._images[places], self._targets[places]

    def in_order(self) -> Iterator[Batch]:
        batches = zip(self._images.split(self.eval_batch), self._targets.split(self.eval_batch), strict=True)
        return islice(batches, self._part.rank, None, self._part.size)


class Loaded(Batches):
    """The split read by torch's DataLoader with worker processes, for what does not fit."""

    def __init__(
        self,
        config: TrainConfig,
        split: sources.Split,
        data_dir: Path,
        images: sources.ImageSet,
        chosen: Places,
        device: torch.device,
        part: Part,
    ) -> None:
        super().__init__(config, images, chosen)
        self._batch_size, self._device = config.batch_size, device
        self._order = _Order(config.batch_size, part)
        with warnings.catch_warnings():
            # More workers than processors are the user's to choose; torch would say so on every run.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            self._loader = DataLoader(
                _Files(config, split, data_dir, chosen),
                batch_sampler=self._order,
                num_workers=config.num_workers,
                persistent_workers=config.num_workers > 0,
                pin_memory=device.type == "cuda",
                # It draws a seed for its workers at each epoch; from torch's own generator that would shift dropout's.
                generator=torch.Generator(),
                multiprocessing_context=_fresh_processes() if config.num_workers else None,
                worker_init_fn=partial(_end_with, os.getpid()),
            )

    def train_inputs(self, epoch: int, *, skip: int = 0) -> Iterator[Inputs]:
        order = permutation(self.samples, seed=self._seed, epoch=epoch)
        self._order.shuffled(order[skip * self._batch_size :])
        return self._batches()

    def batch(self, *inputs: Tensor) -> Batch:
        images, labels = inputs
        return images, labels

    def in_order(self) -> Iterator[Batch]:
        self._order.straight(self.samples, self.eval_batch)
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        try:
            for images, labels in self._loader:
                yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
        except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
            # torch has no exception of its own for this: it speaks of pids, or a queue between the processes breaks.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            told = str(error).strip().splitlines() or [type(error).__name__]
            if told[0].startswith("Caught "):  # what went wrong within one of them, with its traceback
                raise DataError(f"A data worker could not read an image ({told[-1]}).") from error
            said = told[0]
            raise DataError(
                f"A data worker ended unexpectedly ({said}). "
                "It may have run out of memory: fewer data workers, or resident loading, need less."
            ) from error

    def close(self) -> None:
        """End the worker processes now; left to the garbage collector they would outlive the run."""
        iterator = self._loader._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


def _fresh_processes() -> BaseContext:
    """Not forks of the worker: it has threads, and their locks would be copied. Forks of a server that has none.

    It loads torch once, where each process would take seconds for it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "torch.utils.data", "torchvision.transforms.v2.functional"])
    return context


def _end_with(owner: int, _worker: int) -> None:
    """In a loading process: end when `owner` has, however it ended.

    torch only watches the parent, which is the fork server; and that one stays as long as its children do.
    """
    from psutil import NoSuchProcess, Process

    def watch() -> None:
        try:
            process = Process(owner)
            while process.is_running():
                time.sleep(_LOOK_FOR_OWNER_S)
        except NoSuchProcess:
            pass  # it was quicker than this
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Order:
    """A batch sampler whose batches are set from outside before each pass."""

    def __init__(self, batch_size: int, part: Part) -> None:
        self._batch_size, self._part = batch_size, part
        self._batches: list[Tensor] = []

    def shuffled(self, order: Tensor) -> None:
        """This process's part of each whole batch of `order`."""
        whole = [places for places in order.split(self._batch_size) if len(places) == self._batch_size]
        self._batches = [places[self._part.rank :: self._part.size] for places in whole]

    def straight(self, samples: int, batch_size: int) -> None:
        """Every size-th batch of all samples as they lie."""
        self._batches = list(torch.arange(samples).split(batch_size))[self._part.rank :: self._part.size]

    def __iter__(self) -> Iterator[list[int]]:
        return (places.tolist() for places in self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class _Files(Dataset[tuple[Tensor, int]]):
    """Samples read from the files one by one. It opens them where it is used: a memory map must not be pickled."""

    def __init__(
        self,
        config: TrainConfig,
        split: sources.Split,
        data_dir: Path,
        chosen: Places,
    ) -> None:
        self._where = (config.dataset, split, data_dir)
        self._csv_shape = config.csv_shape
        self._chosen, self._size = chosen, config.image_size
        self._images: sources.ImageSet | None = None

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        if self._images is None:
            self._images = sources.load(*self._where, csv_shape=self._csv_shape)
        index = self._chosen[place]
        return to_size(self._images.images[index : index + 1], self._size)[0], int(self._images.labels[index])


def to_size(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], size: int) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, C, size, size]: bilinear with antialiasing, as PIL resizes in the tutorial."""
    # A copy: what comes from a memory map is read-only, and torch has no read-only tensors.
    images = torch.from_numpy(np.array(pixels.transpose(0, 3, 1, 2), order="C"))
    return images if images.shape[2:] == (size, size) else resize(images, [size, size], antialias=True)
