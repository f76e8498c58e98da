"""The networks, by name. Each takes images [N, C, H, W] in [0, 1] and gives logits [N, classes]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network has to fit: images of `channels` x `size` x `size`, told apart into `classes`."""

    channels: int
    size: int
    classes: int


Builder = Callable[[TrainConfig, Shape], nn.Module]
REGISTRY: dict[str, Builder] = {}


def architecture(name: str) -> Callable[[Builder], Builder]:
    """Register a function that builds a network under the name that `TrainConfig.arch` chooses it by."""

    def register(builder: Builder) -> Builder:
        REGISTRY[name] = builder
        return builder

    return register


def build(config: TrainConfig, shape: Shape) -> nn.Module:
    return REGISTRY[config.arch](config, shape)


@architecture("net")
def net(config: TrainConfig, shape: Shape) -> nn.Module:
    """The tutorial's CNN; its 1024 features at 28 pixels follow the image size here.

    ReLU stands after the pooling instead of before it: the two commute (both keep the order of values), and it
    works on a quarter of them.
    """
    side = ((shape.size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(shape.channels, 32, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        Dropout(config.dropout),
        nn.Conv2d(32, 64, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        Dropout(config.dropout),
        nn.Flatten(),
        nn.Linear(64 * side * side, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, shape.classes),
    )


class Dropout(nn.Module):
    """Dropout whose mask is drawn as 16-bit integers, four from each 64-bit number of torch's generator.

    On a CPU drawing the mask is a fifth of the tutorial's step; this draws a quarter as much. `p` is rounded to
    1/65536, and the kept values are scaled by what is really kept, so the expectation is exact.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(p * 65536)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return x
        count = x.numel()
        numbers = torch.empty(-(-count // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = numbers.view(torch.int16)[:count] >= self.dropped - 32768
        # The mask takes x's own strides: channels_last must not be undone by a view.
        mask = torch.empty_like(x).copy_(kept.view_as(x)) if x.is_contiguous() else _like(kept, x)
        return x * mask.mul_(65536 / (65536 - self.dropped))

    def extra_repr(self) -> str:
        return f"p={self.dropped / 65536:g}"


def _like(kept: Tensor, x: Tensor) -> Tensor:
    """`kept`, shape [x.numel()], as a mask of x's type and memory order; x is channels_last."""
    n, c, h, w = x.shape
    return kept.view(n, h, w, c).permute(0, 3, 1, 2).to(x.dtype)
