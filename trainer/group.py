"""The processes that train one run together, as the training loop sees them: usually one, alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn


class Group(Protocol):
    """Every process calls the same methods in the same order; `rank` counts from 0 to `size` - 1."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is to be called in training: its gradients become the mean over the processes.

        What takes statistics of a batch is replaced within `model` itself, by the same of the whole batch.
        """

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up over the processes, in place."""

    def decide(self, step: int, *, stop: Callable[[], bool], read: Callable[[], bool]) -> tuple[bool, bool]:
        """Whether all stop before this step, and whether all read their losses after it."""


class Alone:
    """One process: nothing to add up, nothing to agree on."""

    rank, size = 0, 1

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def decide(self, step: int, *, stop: Callable[[], bool], read: Callable[[], bool]) -> tuple[bool, bool]:
        return stop(), read()
