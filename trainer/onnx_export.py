"""A run's network as an ONNX file, which other programs can run without torch: written, and checked before it counts.

The file takes images as they are stored, uint8 [N, C, size, size], and gives logits float32 [N, classes]; scaling and
normalising are in it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainer import sources
from trainer.data import to_size
from trainer.durable import sync
from trainer.errors import CheckpointError
from trainer.predict import Network, load

CHECKED = 100
"""Validation images on which the file must say what the network says."""
_TOLERANCE = 1e-3
"""Of logits, absolute and relative: both compute in float32, in another order."""


@dataclass(frozen=True, slots=True)
class Exported:
    images: int
    """On how many images it was checked."""
    difference: float
    """The largest between two logits."""


class _Whole(nn.Module):
    """From stored bytes to logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self._transform = network.model, network.transform

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self._transform.for_validation(images))
        return logits


def export(weights: Path, to: Path, data_dir: Path) -> Exported:
    """Write `to` from a run's safetensors file; it is there only once onnxruntime has agreed with torch.

    Raises `CheckpointError` where the weights cannot be read or the outputs differ, `DataError` without the images.
    """
    network = load(weights)
    images = _images(network, data_dir)
    whole = _Whole(network).eval()
    shapes = {"images": {0: torch.export.Dim("images")}}
    # Two: torch takes a size of one for a constant.
    program = torch.onnx.export(
        whole, (images[:1].repeat(2, 1, 1, 1),), input_names=["images"], output_names=["logits"],
        dynamic_shapes=shapes, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None  # noqa: S101 - it is where a program is asked for
    program.model.metadata_props["classes"] = json.dumps(network.classes)
    program.model.metadata_props["config"] = json.dumps(network.config.to_dict())
    part = to.with_name(f"{to.name}.{os.getpid()}.part")
    try:
        program.save(part)
        difference = _difference(whole, part, images)
        if difference is None:
            raise CheckpointError("The ONNX file does not say what the network says; it was not kept.")
        sync(part)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return Exported(len(images), difference)


def _images(network: Network, data_dir: Path) -> Tensor:
    config = network.config
    found = sources.load(config.dataset, "val", data_dir, csv_shape=config.csv_shape)
    chosen = sources.subset_indices(len(found), config.val_size)[:CHECKED]
    return to_size(found.images[chosen], network.shape.size)


def _difference(whole: nn.Module, file: Path, images: Tensor) -> float | None:
    """The largest between torch's and onnxruntime's logits; None where it is too large."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = whole(images).numpy()
    (said,) = session.run(["logits"], {"images": images.numpy()})
    if not np.allclose(said, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        return None
    return float(np.abs(said - expected).max())
