"""The state of a run on disk: written whole or not at all, and enough to go on as if nothing had happened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.config import OPTIONS, TrainConfig
from trainer.errors import CheckpointError
from trainer.schedule import depends_on_length

if TYPE_CHECKING:
    from trainer.learner import Learner

LAST, BEST, WEIGHTS = "last.pt", "best.pt", "best.safetensors"
_FORMAT = 1
_MAY_DIFFER = {"device", "processes", "num_workers", "loading", "patience"}
"""Settings that a resumed run may have otherwise: they change how long or where it runs, not what it computes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0

    @property
    def without_better(self) -> int:
        """Epochs since the best."""
        return self.epoch - self.best_epoch

    def after(self, epoch: int, accuracy: float) -> Progress:
        if accuracy > self.best_accuracy:
            return Progress(epoch, accuracy, epoch)
        return Progress(epoch, self.best_accuracy, self.best_epoch)


def save(run_dir: Path, config: TrainConfig, learner: Learner, progress: Progress, classes: Sequence[str]) -> Path:
    """Save the state as last.pt; when it is the best so far, also as best.pt and its weights as safetensors."""
    run_dir.mkdir(parents=True, exist_ok=True)
    state = {"format": _FORMAT, "config": config.to_dict()} | asdict(progress) | learner.state()
    path, part = run_dir / LAST, run_dir / f"{LAST}.part"
    _write(part, lambda: torch.save(state, part))
    if progress.best_epoch == progress.epoch:
        link = run_dir / f"{BEST}.part"
        link.unlink(missing_ok=True)
        os.link(part, link)
        link.replace(run_dir / BEST)
        _save_weights(run_dir, config, learner, progress, classes)
    part.replace(path)
    sync(run_dir)
    return path


def _save_weights(
    run_dir: Path, config: TrainConfig, learner: Learner, progress: Progress, classes: Sequence[str]
) -> None:
    """The weights that were validated, in the format that anyone can load without trusting it."""
    from safetensors.torch import save_file  # only here: the benchmark runs where there is nothing beside torch

    part = run_dir / f"{WEIGHTS}.part"
    metadata = {
        "format": "pt",
        "config": json.dumps(config.to_dict()),
        "classes": json.dumps(list(classes)),
        "shape": json.dumps(asdict(learner.shape)),
        "statistics": json.dumps(asdict(learner.statistics) if learner.statistics else None),
        "epoch": str(progress.epoch),
        "val_accuracy": f"{progress.best_accuracy:.6f}",
    }
    weights = {name: tensor.cpu().contiguous() for name, tensor in learner.validated.state_dict().items()}
    _write(part, lambda: save_file(weights, part, metadata))
    part.replace(run_dir / WEIGHTS)


def resume(run_dir: Path, config: TrainConfig, learner: Learner) -> Progress | None:
    """Put the last state into `learner`; None where there is none.

    Raises `CheckpointError` when the file cannot be read or belongs to another configuration.
    """
    path = run_dir / LAST
    if not path.exists():
        return None
    state = read(path)
    may_differ = _MAY_DIFFER | (set() if depends_on_length(config) else {"epochs"})
    other = [
        name
        for name, value in config.to_dict().items()
        if name not in may_differ and state["config"].get(name, OPTIONS[name].default) != value
    ]
    if other:
        raise CheckpointError(f"{path} belongs to a run with another {', '.join(other)}.")
    learner.load(state)
    return Progress(state["epoch"], state["best_accuracy"], state.get("best_epoch", state["epoch"]))


def read(path: Path) -> dict[str, Any]:
    """The saved state, on the CPU; nothing but tensors and plain values is ever unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load has no exception of its own: a damaged file raises whatever its parser stumbled over.
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint that this version can read.")
    return state


def _write(path: Path, write: Callable[[], None]) -> None:
    """Write a file and wait until it is on disk."""
    write()
    sync(path)


def sync(path: Path) -> None:
    """A file's bytes are on disk only then, and a rename only when its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
