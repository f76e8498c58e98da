"""From stored uint8 pixels to what the network sees: whole batches at a time, on the run's device.

Order: shift and flip (on bytes), to float in [0, 1], rotate, normalise, erase, mix. Validation images are only
made float and normalised.

What is drawn depends on the run's seed and the epoch alone, so a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.config import TrainConfig
from trainer.data import Statistics, mixed

_ERASE_AREA, _ERASE_ASPECT = (0.02, 0.33), (0.3, 3.3)
"""Of the image, and height over width: the values of Zhong et al., 2017 (https://arxiv.org/abs/1708.04896)."""
_SHARE_BITS = 24
"""A share of so many binary places, and what is left of 1, are exact in float32, in a tensor as in Python."""
_STREAM = 0x617567
"""Keeps these draws apart from the order of the epoch, which is made from the same seed."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch should be told: `labels`, and with mixing `share` of them and the rest of `other`."""

    labels: Tensor
    """int64 [B]"""
    other: Tensor | None = None
    share: Tensor | None = None
    """One float32 on the device."""


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1], as ToTensor does."""
    return images.to(torch.float32).mul_(1 / 255)


class Transform:
    """The transforms of one run; it normalises where `statistics` are given."""

    def __init__(
        self, config: TrainConfig, device: torch.device, statistics: Statistics | None = None, *, rank: int = 0
    ) -> None:
        self._config, self._rank = config, rank
        self.generator = torch.Generator(device)
        self._numpy = np.random.default_rng(0)
        self._share = torch.ones((), device=device)
        self._rectangle = torch.zeros(4, dtype=torch.int64, device=device)
        self._mean: Tensor | None = None
        self._scale: Tensor | None = None
        if statistics is not None:
            self._mean = torch.tensor(statistics.mean, device=device).view(1, -1, 1, 1)
            self._scale = 1 / torch.tensor(statistics.std, device=device).view(1, -1, 1, 1)

    def start(self, epoch: int) -> None:
        """Before an epoch's first batch."""
        seed = mixed(self._config.seed, epoch, _STREAM, self._rank)
        self.generator.manual_seed(seed)
        self._numpy = np.random.default_rng(seed)

    def draw(self) -> None:
        """Before each batch of an epoch: what is drawn on the host, put where the step finds it on the device.

        A number given to `fill_` goes along with the kernel, so nobody waits for a copy.
        """
        if self._config.mix == "none":
            return
        share = draw_share(self._config.mix_alpha, self._numpy)
        if self._config.mix == "cutmix":
            rectangle, share = draw_rectangle(self._config.image_size, share, self._numpy)
            for place, edge in enumerate(rectangle):
                self._rectangle[place].fill_(edge)
        self._share.fill_(share)

    def random_state(self) -> dict[str, Any]:
        """Where its draws stand within an epoch."""
        device = self.generator.device.type
        return {"device": device, "torch": self.generator.get_state(), "numpy": self._numpy.bit_generator.state}

    def load_random(self, state: dict[str, Any]) -> None:
        """Go on where `random_state` was asked. A generator of another kind of device begins its epoch anew."""
        if state["device"] == self.generator.device.type:
            self.generator.set_state(state["torch"])
        self._numpy.bit_generator.state = state["numpy"]

    def for_validation(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 of the same shape."""
        return self._normalised(to_float(images))

    def for_training(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Targets]:
        """uint8 [B, C, H, W] and int64 [B] -> float32 images of the same shape, and what to tell of them."""
        config = self._config
        if config.shift:
            images = shift(images, config.shift, self.generator)
        if config.flip:
            images = flip(images, self.generator)
        x = to_float(images)
        if config.rotate:
            x = rotate(x, config.rotate, self.generator)
        x = self._normalised(x)
        if config.erase:
            x = erase(x, config.erase, self.generator)
        if config.mix == "none":
            return x, Targets(labels)
        return self._mix(x, labels)

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self._mean is None or self._scale is None else x.sub_(self._mean).mul_(self._scale)

    def _mix(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Targets]:
        """Each image with another of the batch; one share for the whole batch, as in both papers' own code."""
        partner = torch.randperm(len(labels), generator=self.generator, device=labels.device)
        other = x[partner]
        x = mixup(x, other, self._share) if self._config.mix == "mixup" else cutmix(x, other, self._rectangle)
        return x, Targets(labels, labels[partner], self._share)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2; [B, C, H, W]."""
    chosen = _uniform(len(images), generator, images.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `pixels` down or up and right or left, black coming in; [B, C, H, W]."""
    b, _, h, w = images.shape
    moves = torch.randint(0, 2 * pixels + 1, (2, b, 1), generator=generator, device=images.device)
    padded = F.pad(images, (pixels,) * 4)
    rows = moves[0] + torch.arange(h, device=images.device)
    columns = moves[1] + torch.arange(w, device=images.device)
    chosen = torch.arange(b, device=images.device)
    # Indices on both sides of the slice put the channels last.
    return padded[chosen[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def rotate(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn each image about its middle by up to `degrees` each way, bilinear, 0 coming in; float [B, C, H, W]."""
    angle = (_uniform(len(x), generator, x.device) * 2 - 1) * math.radians(degrees)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def erase(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Set a rectangle of each chosen image to 0 (the mean, where images are normalised); float [B, C, H, W]."""
    b, _, h, w = x.shape
    draws = _uniform(5 * b, generator, x.device).view(5, b)
    area = h * w * (_ERASE_AREA[0] + draws[0] * (_ERASE_AREA[1] - _ERASE_AREA[0]))
    low, high = (math.log(aspect) for aspect in _ERASE_ASPECT)
    aspect = torch.exp(low + draws[1] * (high - low))
    height, width = (area * aspect).sqrt().round().clamp(1, h), (area / aspect).sqrt().round().clamp(1, w)
    top, left = (draws[2] * (h - height + 1)).floor(), (draws[3] * (w - width + 1)).floor()
    inside_rows = _inside(h, top, height).view(b, 1, h, 1)
    inside_columns = _inside(w, left, width).view(b, 1, 1, w)
    chosen = (draws[4] < probability).view(b, 1, 1, 1)
    return x.masked_fill(inside_rows & inside_columns & chosen, 0)


def draw_share(alpha: float, random: np.random.Generator) -> float:
    """How much of a batch stays as it is when it is mixed: from the Beta distribution with `alpha` twice."""
    return _rounded(float(random.beta(alpha, alpha)))


def mixup(x: Tensor, other: Tensor, share: Tensor | float) -> Tensor:
    """`share` of `x` and the rest of `other` (Zhang et al., 2017, https://arxiv.org/abs/1710.09412)."""
    return torch.lerp(other, x, share)


def draw_rectangle(size: int, share: float, random: np.random.Generator) -> tuple[tuple[int, int, int, int], float]:
    """Top, height, left and width of about 1 - `share` of a square's area, and what is truly left of it."""
    length = round(math.sqrt(1 - share) * size)
    begins = [int(random.integers(size)) - length // 2 for _ in range(2)]
    top, left = (max(0, begin) for begin in begins)
    height, width = (min(size, begin + length) - max(0, begin) for begin in begins)
    return (top, height, left, width), _rounded(1 - height * width / size**2)


def cutmix(x: Tensor, other: Tensor, rectangle: Tensor) -> Tensor:
    """`x` with a rectangle (int64 [4]: top, height, left, width) of `other`.

    Yun et al., 2019 (https://arxiv.org/abs/1905.04899).
    """
    h, w = x.shape[2:]
    top, height, left, width = rectangle.view(4, 1)
    inside = _inside(h, top, height).view(h, 1) & _inside(w, left, width)
    return torch.where(inside, other, x)


def _rounded(share: float) -> float:
    steps = float(2**_SHARE_BITS)
    return round(share * steps) / steps


def _inside(size: int, start: Tensor, length: Tensor) -> Tensor:
    """Which of `size` places lie in [start, start + length), for each of B; bool [B, size]."""
    places = torch.arange(size, device=start.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])


def _uniform(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, device=device)
