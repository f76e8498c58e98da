"""The tutorial's loop with all images on the device: what is written by whoever does not want to wait for a DataLoader.

Written on its own, as `benchmarks.tutorial` is: no line of Fitroom's trainer is used. The same network, loss and
optimizer; a batch is an index into one tensor, and the loss is read once an epoch instead of at each step.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

from benchmarks.tutorial import Net, Script


class Resident(Script):
    """`compiled`: the network by `torch.compile` in the mode that records CUDA graphs."""

    def __init__(
        self,
        data_dir: Path,
        device: torch.device,
        *,
        batch_size: int = 256,
        seed: int = 0,
        compiled: bool = False,
        train_size: int | None = None,
        val_size: int | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.batch_size = batch_size
        self.train_images, self.train_labels = _on(device, data_dir, True, train_size)
        self.val_images, self.val_labels = _on(device, data_dir, False, val_size)
        self.model = Net().to(device)
        self.called = cast("nn.Module", torch.compile(self.model, mode="reduce-overhead")) if compiled else self.model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)

    def train(self) -> tuple[float, int]:
        self.called.train()
        order = torch.randperm(len(self.train_labels), device=self.train_labels.device)
        train_loss, images = torch.zeros((), device=order.device), 0
        for places in order.split(self.batch_size):
            if len(places) < self.batch_size:
                break
            self.optimizer.zero_grad()
            loss = self.criterion(self.called(self.train_images[places]), self.train_labels[places])
            loss.backward()
            self.optimizer.step()
            train_loss += loss.detach() * len(places)
            images += len(places)
        return train_loss.item() / images, images

    def val(self) -> tuple[float, float]:
        self.called.eval()
        val_loss, right = (torch.zeros((), device=self.val_labels.device) for _ in range(2))
        batches = zip(self.val_images.split(self.batch_size), self.val_labels.split(self.batch_size), strict=True)
        with torch.no_grad():
            for data, label in batches:
                output = self.called(data)
                val_loss += self.criterion(output, label) * len(label)
                right += (output.argmax(1) == label).sum()
        count = len(self.val_labels)
        return val_loss.item() / count, right.item() / count


def _on(device: torch.device, data_dir: Path, train: bool, size: int | None) -> tuple[Tensor, Tensor]:
    """Images float32 [N, 1, 28, 28] in [0, 1], as ToTensor gives them, and labels."""
    found = FashionMNIST(str(data_dir), train=train)
    images, labels = found.data[:size].to(device), found.targets[:size].to(device)
    return images.unsqueeze(1).float() / 255, labels
