"""What a network is made of, before anything is trained: its layers, parameters and floating-point operations.

Networks are built on torch's meta device, which knows shapes and computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.models import Shape, build

_BATCH = 2
"""BatchNorm refuses to train on a single value per channel."""


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    """Its place in the model, as in the names of its weights: "4" or "block.0.1"."""
    kind: str
    """Its class, e.g. "Conv2d"."""
    output: tuple[int, ...]
    """Shape of what it gives for one image."""
    parameters: int
    flops: int
    """Of one image, forward; a multiplication and an addition count as two."""


@dataclass(frozen=True, slots=True)
class Network:
    parameters: int
    flops: int
    """Of one image, forward."""
    training_flops: int
    """Of one image, forward and backward."""
    weight_bytes: int
    layers: tuple[Layer, ...]


def describe(config: TrainConfig, shape: Shape) -> Network:
    """Raises `ConfigError` when the images are too small for the network."""
    model = _on_meta(config, shape)
    layers = _layers(model, shape)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return Network(
        parameters=sum(weight.numel() for weight in weights),
        flops=sum(layer.flops for layer in layers),
        training_flops=training_flops(config, shape),
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        layers=layers,
    )


def check_batch(config: TrainConfig, shape: Shape) -> None:
    """Raises `ConfigError` where BatchNorm would see a single value of a channel, which has no variance."""
    if config.batch_size > 1:
        return
    try:
        _on_meta(config, shape).train()(_images(shape)[:1])
    except ValueError:
        problem = (
            f"Must be 2 or more: of images of {shape.size} pixels this network's BatchNorm sees one value at last."
        )
        raise ConfigError({"batch_size": problem}) from None


def training_flops(config: TrainConfig, shape: Shape) -> int:
    """Floating-point operations of matrix products and convolutions for one image, forward and backward."""
    return _training_flops(config.arch, tuple(sorted(config.arch_options.items())), shape)


@cache
def _training_flops(arch: str, options: tuple[tuple[str, int], ...], shape: Shape) -> int:
    model = _on_meta(TrainConfig(arch=arch, arch_options=dict(options), image_size=max(16, shape.size)), shape).train()
    with FlopCounterMode(display=False) as counter:
        model(_images(shape)).sum().backward()
    return int(counter.get_total_flops()) // _BATCH


def _on_meta(config: TrainConfig, shape: Shape) -> nn.Module:
    with torch.device("meta"):
        return build(config.arch, shape, dropout=config.dropout, options=config.arch_options)


def _images(shape: Shape) -> Tensor:
    return torch.empty(_BATCH, shape.channels, shape.size, shape.size, device="meta")


def _layers(model: nn.Module, shape: Shape) -> tuple[Layer, ...]:
    """The modules that have no parts of their own, in the order in which they are called."""
    found: list[Layer] = []
    before: dict[str, int] = {}
    with FlopCounterMode(display=False) as counter:

        def watch(name: str, module: nn.Module) -> list[Any]:
            def entered(*_: Any) -> None:
                before[name] = counter.get_total_flops()

            def left(_: nn.Module, __: Any, output: Tensor) -> None:
                flops = (counter.get_total_flops() - before[name]) // _BATCH
                parameters = sum(weight.numel() for weight in module.parameters())
                found.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), parameters, flops))

            return [module.register_forward_pre_hook(entered), module.register_forward_hook(left)]

        handles = [
            handle
            for name, module in model.named_modules()
            if not any(module.children())
            for handle in watch(name, module)
        ]
        model.eval()(_images(shape))
        for handle in handles:
            handle.remove()
    return tuple(found)
