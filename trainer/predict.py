"""A finished run's network, asked about one image: what it says, and what it looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trainer.augment import Transform
from trainer.config import TrainConfig
from trainer.data import Statistics, to_size
from trainer.errors import CheckpointError
from trainer.models import Shape, build

CPU = torch.device("cpu")
_MOST_MAPS = 64
_PATCH, _STRIDE = 1 / 4, 1 / 14
"""Of the occluding square, as shares of the image's side."""


@dataclass(frozen=True, slots=True)
class Network:
    """A saved network, ready to be asked."""

    config: TrainConfig
    classes: tuple[str, ...]
    shape: Shape
    model: nn.Module
    transform: Transform


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """What the first layer with weights looks for, and what it found in the image; 128 is zero, 255 the most."""

    name: str
    """Its class, such as "Conv2d"."""
    units: int
    """Of which at most `_MOST_MAPS` are given."""
    filters: np.ndarray[Any, np.dtype[np.uint8]]
    """[F, h, w, C]"""
    activations: np.ndarray[Any, np.dtype[np.uint8]] | None
    """[F, H, W, 1]; None where a unit gives a single number."""


@dataclass(frozen=True, slots=True)
class Answer:
    probabilities: tuple[float, ...]
    """Of each class, adding up to 1."""
    heat: np.ndarray[Any, np.dtype[np.float32]]
    """How much covering a place lowers the probability of the winning class; [size, size], 0 where it does not."""
    first_layer: FirstLayer | None


def load(weights: Path) -> Network:
    """From a run's safetensors file. Raises `CheckpointError`."""
    try:
        return _load(weights, weights.stat().st_mtime_ns)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{weights} cannot be read: {error}") from error


@lru_cache(maxsize=4)
def _load(weights: Path, modified_ns: int) -> Network:
    with safe_open(weights, framework="pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    config = TrainConfig.from_dict(json.loads(about["config"]))
    shape = Shape(**json.loads(about["shape"]))
    statistics = json.loads(about["statistics"])
    model = build(config.arch, shape, dropout=config.dropout, options=config.arch_options)
    model.load_state_dict(state)
    transform = Transform(config, CPU, Statistics(**statistics) if statistics else None)
    return Network(config, tuple(json.loads(about["classes"])), shape, model.eval(), transform)


@torch.inference_mode()
def ask(network: Network, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Answer:
    """`pixels`: uint8 [H, W, C] with the network's channels, of any size: it is resized as the training images were."""
    image = to_size(pixels[np.newaxis], network.shape.size)
    probabilities = _probabilities(network, image)[0]
    winner = int(probabilities.argmax())
    heat = _occlusion(network, image, winner, float(probabilities[winner]))
    return Answer(tuple(probabilities.tolist()), heat, _first_layer(network, image))


def _first_layer(network: Network, image: Tensor) -> FirstLayer | None:
    """None for a network that begins with neither a convolution nor a linear layer."""
    layer = next((part for part in network.model.modules() if isinstance(part, nn.Conv2d | nn.Linear)), None)
    if layer is None:
        return None
    given: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    try:
        _probabilities(network, image)
    finally:
        handle.remove()
    weights, shape = layer.weight, network.shape
    if isinstance(layer, nn.Linear):
        if weights.shape[1] != shape.channels * shape.size**2:
            return None
        filters = weights.view(-1, shape.channels, shape.size, shape.size)
        return FirstLayer("Linear", len(weights), _as_bytes(filters[:_MOST_MAPS]), None)
    maps = given[0][0][:, None]
    return FirstLayer("Conv2d", len(weights), _as_bytes(weights[:_MOST_MAPS]), _as_bytes(maps[:_MOST_MAPS]))


def _as_bytes(maps: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[F, C, h, w] of any sign -> [F, h, w, C], grey where C is neither 1 nor 3; one scale for all of them."""
    if maps.shape[1] not in (1, 3):
        maps = maps.mean(1, keepdim=True)
    scaled = 128 + 127 * maps / maps.abs().max().clamp_min(1e-12)
    return np.asarray(scaled.round().byte().permute(0, 2, 3, 1).contiguous().numpy())


def _occlusion(
    network: Network, image: Tensor, winner: int, probability: float
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Cover one square after another (Zeiler and Fergus, 2013, https://arxiv.org/abs/1311.2901)."""
    size = network.shape.size
    patch, stride = max(1, round(size * _PATCH)), max(1, round(size * _STRIDE))
    starts = range(1 - patch, size, stride)
    covered, places = [], []
    for top in starts:
        for left in starts:
            rows, columns = slice(max(0, top), top + patch), slice(max(0, left), left + patch)
            copy = image[0].clone()
            # With the image's own mean: black would be an object of its own on a white ground.
            copy[:, rows, columns] = image.float().mean().round().byte()
            covered.append(copy)
            places.append((rows, columns))
    after = torch.cat([_probabilities(network, part)[:, winner] for part in torch.stack(covered).split(128)])
    heat, times = torch.zeros(size, size), torch.zeros(size, size)
    for (rows, columns), left_over in zip(places, after, strict=True):
        heat[rows, columns] += (probability - left_over).clamp_min(0)
        times[rows, columns] += 1
    return (heat / times.clamp_min(1)).numpy()


def _probabilities(network: Network, images: Tensor) -> Tensor:
    return network.model(network.transform.for_validation(images)).softmax(1)  # type: ignore[no-any-return]
