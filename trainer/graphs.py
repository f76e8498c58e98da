"""A training step that is recorded once and from then on replayed as a whole: on a GPU as a CUDA graph.

The GPU does the work of a small network's step faster than Python can ask for it kernel by kernel; a graph asks for all
of them at once. What may be in it: the same kernels on the same memory every time, and no question to the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from trainer.devices import out_of_memory
from trainer.errors import ConfigError

WARM_UP = 3
"""Steps before the recording: in them libraries choose their kernels and the optimizer makes its state."""


class Recorder(Protocol):
    """How steps are recorded on one kind of device."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Take a step as it is."""

    def record(self, step: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """What replays the step; recording it has no effect.

        Each replay draws anew from torch's own generator and from `generator`.
        """


class Replay:
    """The steps of one training, all of them of the same operations, on inputs of the same shapes.

    The first `WARM_UP` are taken as they are. They are steps like all others, so nothing of them is to be undone.
    """

    def __init__(self, recorder: Recorder, generator: torch.Generator) -> None:
        self._recorder, self._generator = recorder, generator
        self._left = WARM_UP
        self._inputs: tuple[Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None

    def take(self, step: Callable[..., None], *inputs: Tensor) -> None:
        """`step(*inputs)`, or what has been recorded of it; the step is not kept, it would keep a whole run alive."""
        if self._left:
            self._recorder.warm_up(lambda: step(*inputs))
            self._left -= 1
            return
        if self._replay is None:
            self._inputs = tuple(given.clone() for given in inputs)
            self._replay = self._recorder.record(lambda: step(*self._inputs), self._generator)
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self._replay()


class CudaGraphs:
    """Steps on one GPU, recorded as CUDA graphs.

    torch makes both generators part of the graph: a replay starts where they stand, and moves them on by what the
    step drew. Seeding them and setting their states between steps works as ever.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # The same for warm-up and recording: what autograd and libraries keep for later is tied to a stream.
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, step: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # The optimizer is made for recording, and would say that it is not recorded.
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            step()
        current.wait_stream(self._stream)

    def record(self, step: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """Raises `ConfigError` where the step cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Errors of this thread alone: another may be pinning memory for a DataLoader.
            with torch.cuda.device(self._device):
                _register(generator, graph)
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    step()
        except RuntimeError as error:
            # Ending a capture that has failed raises in its turn: the first error is the one that says why.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if out_of_memory(cause):
                raise cause from None
            said = str(cause).partition("\n")[0]
            raise ConfigError({"cuda_graphs": f"This run cannot be recorded as a CUDA graph ({said})."}) from error
        return graph.replay


def _register(generator: torch.Generator, graph: torch.cuda.CUDAGraph) -> None:
    """Make the generator part of the graph. In newer torch it is by itself, and asking for it warns."""
    if register := getattr(graph, "register_generator_state", None):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*register_generator_state")
            register(generator)
