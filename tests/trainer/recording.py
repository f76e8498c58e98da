"""A recorder of training steps for the CPU: it keeps a step's operations, and does them again on the same memory.

What it has in common with a CUDA graph is all that a step must observe: a number that Python knew while recording is
the same in every replay, and what a step reads or leaves behind must stay where it is. Random operations draw anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OnCpu:
    """A `trainer.graphs.Recorder`; recording takes the step, so that the first replay has nothing left to do."""

    def __init__(self) -> None:
        self.warmed, self.recorded, self.replayed = 0, 0, 0

    def warm_up(self, step: Callable[[], None]) -> None:
        self.warmed += 1
        step()

    def record(self, step: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        self.recorded += 1
        with _Operations() as operations:
            step()

        def replay() -> None:
            self.replayed += 1
            if self.replayed > 1:
                operations.repeat()

        return replay


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, result in self._calls:
            for kept, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                # A view, or what was changed in place, is where it was.
                if isinstance(kept, Tensor) and kept.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    kept.copy_(new)
