"""BatchNorm over the whole batch where several processes share it, so that they train what one would.

torch has `SyncBatchNorm` for this; it computes on GPUs only, and makes the host wait for them at every layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm(_BatchNorm):
    """Takes mean and variance over all processes' images; every process must call it as often, in the same order.

    Values [N, C, ...], normalized per channel C. Where there is but one value of a channel, it becomes the bias.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        values = input.float()
        own = input.numel() // input.size(1)
        sums = _Sum.apply(torch.cat([_per_channel(values), values.new_full((1,), own)]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # From the differences, not from the squares: of these, two large numbers would be left to differ by a little.
        apart = values - _along(mean, values)
        variance = _Sum.apply(_per_channel(apart * apart)) / count
        self._keep(mean.detach(), variance.detach() * (count / (count - 1).clamp_min(1)))
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (apart * _along(scale, values)).to(input.dtype)
        return (apart * _along(scale * self.weight, values) + _along(self.bias, values)).to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Of any number of dimensions: it was checked for the layer that this one stands for."""

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Into the running statistics, where there are some."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        new = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, new)
        self.running_var.lerp_(variance, new)


def share_statistics(model: nn.Module, device: torch.device) -> None:
    """Put a `SharedBatchNorm` of the same weights in the place of each BatchNorm within the model, on `device`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                shared = SharedBatchNorm(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                shared.load_state_dict(child.state_dict())
                setattr(module, name, shared.to(device))


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each one's loss depends on it, so a gradient of it is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _per_channel(values: Tensor) -> Tensor:
    return values.sum([0, *range(2, values.dim())])


def _along(channels: Tensor, values: Tensor) -> Tensor:
    """[C] as it lies along values [N, C, ...]."""
    return channels.view(1, -1, *[1] * (values.dim() - 2))
