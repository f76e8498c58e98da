"""Within an epoch the host asks the device for nothing but the losses: on a GPU each question would make it wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.test_settings import EVERYTHING
from trainer import loop
from trainer.config import TrainConfig
from trainer.events import EpochDone, Started, Steps

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique_dim"}
"""Operations whose result, or the shape of it, the host must know before it can go on."""
INDEXING = {"aten::index", "aten::index_put_"}
"""Such operations too, when what they index with is a mask."""
METHODS = {"tolist", "item", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"}
"""What reads numbers in Python; on a CPU some of it does so without an operation."""
MADE_IN_PYTHON = {"tensor", "as_tensor", "from_numpy"}
"""Functions whose result would first have to be copied to the device."""


class Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masked = name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if name in QUESTIONS or masked:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in METHODS | MADE_IN_PYTHON:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        EVERYTHING,
        {"mix": "mixup", "optimizer": "adamw", "class_weights": "1,1,1,1,1,1,1,2,3,4"},
        {"arch": "lenet", "optimizer": "rmsprop", "schedule": "step", "grad_clip": 1.0},
    ],
    ids=["tutorial", "sgd, cutmix", "adamw, mixup", "rmsprop"],
)
def test_an_epoch_asks_the_device_for_its_losses_once(
    data_dir: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "READ_LOSSES_S", float("inf"))
    found: list[str] = []
    asked: list[list[str]] = []
    small = {"loading": "resident", "train_size": 128, "val_size": 100, "batch_size": 16, "epochs": 2}
    with Operations(found), Calls(found):
        for event in loop.train(TrainConfig(**(settings | small)), data_dir=data_dir):
            if isinstance(event, Steps):
                asked.append(list(found))
            if isinstance(event, (Started, EpochDone)):
                found.clear()
    assert asked == [["tolist"], ["tolist"]]


def test_a_question_within_a_step_is_noticed():
    found: list[str] = []
    with Operations(found), Calls(found):
        loss = torch.ones(3)
        loss[loss > torch.tensor(0)].sum().item()
    assert found == ["tensor", "aten::index", "item", "aten::_local_scalar_dense"]
