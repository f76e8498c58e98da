"""What a network would be made of, for the form: asked from a process that has torch, and remembered."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field

from app.forms import FormError
from app.looking import images
from app.sidecar import Sidecar
from app.state import State
from trainer.config import OPTIONS, TrainConfig
from trainer.errors import DataError

RELEVANT = {
    *("dataset", "csv_shape", "image_size", "arch", "dropout"),
    *(option.name for option in OPTIONS.values() if option.applies and option.applies[0] == "arch"),
}
"""The settings that a network depends on."""


class LayerOut(BaseModel):
    name: str = Field(description="Its place in the model, as in the names of its weights.")
    kind: str
    output: list[int] = Field(description="Shape of what it gives for one image.")
    parameters: int
    flops: int


class NetworkOut(BaseModel):
    parameters: int
    flops: int = Field(description="Of one image, forward; a multiplication and an addition count as two.")
    training_flops: int = Field(description="Of one image, forward and backward.")
    weight_bytes: int
    layers: list[LayerOut]


def describe(shared: State, config: TrainConfig) -> NetworkOut:
    """Raises `FormError` where the network does not fit the images, `SidecarError` where nobody answers."""
    try:
        found = images.image_set(config.dataset, "train", shared.settings.data_dir, config.csv_shape)
    except DataError as error:
        raise FormError({"dataset": str(error)}) from error
    shape = {"channels": found.images.shape[3], "size": config.image_size, "classes": len(found.classes)}
    asked = {name: value for name, value in config.to_dict().items() if name in RELEVANT}
    answer = _answer(shared.torch, json.dumps({"network": asked, "shape": shape}, sort_keys=True))
    return NetworkOut.model_validate(answer["network"])


@lru_cache(maxsize=256)
def _answer(torch: Sidecar, question: str) -> dict[str, Any]:
    return torch.ask(json.loads(question))
