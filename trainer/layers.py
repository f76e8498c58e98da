"""The parts that networks are built of beyond torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        if x.is_cuda:
            return F.dropout(x, self.dropped / 65536)  # one kernel there, instead of one for each of these lines
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


def conv_bn(channels: int, out: int, *, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU; with `pool` at half the size. Pooling stands before what it makes cheaper.

    BatchNorm after pooling is another function than before it, where its scale is negative; it trains as well.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, out, 3, padding=1, bias=False)]
    layers += [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*layers, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + two `conv_bn` of it (He et al., 2015, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(conv_bn(channels, channels), conv_bn(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out
