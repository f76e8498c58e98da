"""The state of a run on disk: written whole or not at all, and enough to go on as if nothing had happened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainer.config import TrainConfig
from trainer.errors import CheckpointError

LAST, BEST = "last.pt", "best.pt"
_FORMAT = 1
_MAY_DIFFER = {"epochs", "device", "num_workers", "loading"}
"""Settings that a resumed run may have otherwise: they change how long or where it runs, not what it computes."""


@dataclass(frozen=True, slots=True)
class Resumed:
    epoch: int
    best_accuracy: float


def save(
    run_dir: Path,
    config: TrainConfig,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    epoch: int,
    best_accuracy: float,
    best: bool,
) -> Path:
    """Save the state after `epoch` as last.pt, and the same file as best.pt when it is the best so far."""
    run_dir.mkdir(parents=True, exist_ok=True)
    state = {
        "format": _FORMAT,
        "config": config.to_dict(),
        "epoch": epoch,
        "best_accuracy": best_accuracy,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    path, part = run_dir / LAST, run_dir / f"{LAST}.part"
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if best:
        link = run_dir / f"{BEST}.part"
        link.unlink(missing_ok=True)
        os.link(part, link)
        link.replace(run_dir / BEST)
    part.replace(path)
    _sync_folder(run_dir)
    return path


def resume(run_dir: Path, config: TrainConfig, model: nn.Module, optimizer: Optimizer) -> Resumed | None:
    """Put the last state into `model` and `optimizer`; None where there is none.

    Raises `CheckpointError` when the file cannot be read or belongs to another configuration.
    """
    path = run_dir / LAST
    if not path.exists():
        return None
    state = read(path)
    other = [
        name
        for name, value in config.to_dict().items()
        if name not in _MAY_DIFFER and state["config"].get(name, value) != value
    ]
    if other:
        raise CheckpointError(f"{path} belongs to a run with another {', '.join(other)}.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Resumed(state["epoch"], state["best_accuracy"])


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


def _sync_folder(folder: Path) -> None:
    """A rename is only on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
