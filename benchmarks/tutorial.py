"""The Fashion-MNIST tutorial as its author runs it: the reference that Fitroom's trainer is measured against.

Written from the tutorial's description, on its own: no line of Fitroom's trainer is used. torchvision's data set, the
transform to PIL, Resize and ToTensor, a DataLoader for each split, float32, Adam at 0.001, and `loss.item()` at each
step. `train` and `val` are timed alone; reading the files is not.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

IMAGE_SIZE = 28


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Dropout(0.3),
            nn.Conv2d(32, 64, 5),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Dropout(0.3),
        )
        self.fc = nn.Sequential(nn.Linear(64 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x.view(-1, 64 * 4 * 4)
        out: Tensor = self.fc(x)
        return out


@dataclass(frozen=True)
class Epoch:
    train_loss: float
    val_loss: float
    val_accuracy: float
    train_seconds: float
    val_seconds: float
    images: int
    """Training images seen."""


class Script(ABC):
    """What trains and validates by turns, with the time that each took."""

    def epochs(self, count: int) -> Iterator[Epoch]:
        for _ in range(count):
            begun = time.perf_counter()
            train_loss, images = self.train()
            trained = time.perf_counter()
            val_loss, accuracy = self.val()
            yield Epoch(train_loss, val_loss, accuracy, trained - begun, time.perf_counter() - trained, images)

    @abstractmethod
    def train(self) -> tuple[float, int]:
        """Mean loss, and how many images were seen."""

    @abstractmethod
    def val(self) -> tuple[float, float]:
        """Mean loss and accuracy."""


class Tutorial(Script):
    """The script's objects; `epochs()` is its two loops."""

    def __init__(
        self,
        data_dir: Path,
        device: torch.device,
        *,
        batch_size: int = 256,
        num_workers: int = 4,
        seed: int = 0,
        train_size: int | None = None,
        val_size: int | None = None,
    ) -> None:
        torch.manual_seed(seed)
        transform = transforms.Compose([transforms.Resize(IMAGE_SIZE), transforms.ToTensor()])
        self.device = device
        self.train_loader = DataLoader(
            _first(FashionMNIST(str(data_dir), train=True, transform=transform), train_size),
            batch_size=batch_size,
            shuffle=True,
            num_workers=num_workers,
            drop_last=True,
        )
        self.test_loader = DataLoader(
            _first(FashionMNIST(str(data_dir), train=False, transform=transform), val_size),
            batch_size=batch_size,
            shuffle=False,
            num_workers=num_workers,
        )
        self.model = Net().to(device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)

    def train(self) -> tuple[float, int]:
        self.model.train()
        train_loss, images = 0.0, 0
        for data, label in self.train_loader:
            data, label = data.to(self.device), label.to(self.device)
            self.optimizer.zero_grad()
            output = self.model(data)
            loss = self.criterion(output, label)
            loss.backward()
            self.optimizer.step()
            train_loss += loss.item() * data.size(0)
            images += data.size(0)
        return train_loss / images, images

    def val(self) -> tuple[float, float]:
        self.model.eval()
        val_loss = 0.0
        true_labels, predicted_labels = [], []
        with torch.no_grad():
            for data, label in self.test_loader:
                data, label = data.to(self.device), label.to(self.device)
                output = self.model(data)
                predicted_labels.append(torch.argmax(output, 1).cpu().numpy())
                true_labels.append(label.cpu().numpy())
                val_loss += self.criterion(output, label).item() * data.size(0)
        truth, predicted = np.concatenate(true_labels), np.concatenate(predicted_labels)
        return val_loss / len(truth), float(np.mean(truth == predicted))


def _first(dataset: FashionMNIST, size: int | None) -> FashionMNIST | Subset[tuple[Tensor, int]]:
    return dataset if size is None else Subset(dataset, range(size))
