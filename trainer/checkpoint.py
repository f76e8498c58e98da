"""The state of a run on disk: written whole or not at all, and enough to go on as if nothing had happened.

`last.pt` is the newest state and `previous.pt` the one before it, for the day on which a disk gives back other bytes
than it was given. Each ends with a line that says the SHA-256 of what stands before it; `torch.load` reads over it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.config import OPTIONS, TrainConfig
from trainer.durable import sync
from trainer.errors import CheckpointError
from trainer.schedule import depends_on_length

if TYPE_CHECKING:
    from trainer.learner import Learner

LAST, PREVIOUS, BEST, WEIGHTS = "last.pt", "previous.pt", "best.pt", "best.safetensors"
PART = ".part"
"""How the name of a file ends that is still being written."""
_FORMATS = (1, 2)
"""Those that can be read; 1 has no checksum."""
_SEAL = b"\nfitroom sha256 "
_SEALED = len(_SEAL) + 64 + 1
_MAY_DIFFER = {"device", "processes", "num_workers", "loading", "cuda_graphs", "patience"}
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


@dataclass(frozen=True, slots=True)
class Within:
    """How far a run is in the epoch after its last whole one, when it is stopped there."""

    steps: int
    """Done in this epoch."""
    losses: list[float]
    """One for each of them."""
    correct: float
    """Hits so far."""
    spent: dict[str, float]
    """Seconds by what they went into."""
    random: dict[str, Any]
    """As `Learner.random_state` tells it."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a run goes on."""

    progress: Progress
    within: Within | None = None
    warning: str | None = None
    """A sentence where the newest checkpoint was damaged."""


def save(
    run_dir: Path,
    config: TrainConfig,
    learner: Learner,
    progress: Progress,
    classes: Sequence[str],
    *,
    within: Within | None = None,
    keep_last: bool = True,
    still_ours: Callable[[], object] = lambda: None,
) -> Path:
    """Save the state as last.pt; when it is the best so far, also as best.pt and its weights as safetensors.

    What was last.pt becomes previous.pt, unless `keep_last` says that it is no good. Raises `OSError` and leaves
    what was there, where the disk is full, say; the same where `still_ours`, asked before anything is written and
    again before it takes its place, raises.
    """
    still_ours()
    run_dir.mkdir(parents=True, exist_ok=True)
    state = {"format": _FORMATS[-1], "config": config.to_dict()} | asdict(progress) | learner.state()
    state |= {"within": asdict(within) if within else None, "data": _data(learner, classes)}
    path, weights = run_dir / LAST, run_dir / WEIGHTS
    parts = [_written(path, sealed(state))]
    try:
        best = within is None and progress.best_epoch == progress.epoch
        if best:
            parts.append(_written(weights, _weights(config, learner, progress, classes)))
        still_ours()
        if best:
            _link(parts[0], run_dir / BEST)
            parts[1].replace(weights)
        if keep_last and path.exists():
            _link(path, run_dir / PREVIOUS)
        parts[0].replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    sync(run_dir)
    return path


def tidy(run_dir: Path) -> None:
    """Remove what a process left half-written that died, or lost the run, while it wrote."""
    for leftover in run_dir.glob(f"*{PART}"):
        leftover.unlink(missing_ok=True)


def _data(learner: Learner, classes: Sequence[str]) -> dict[str, Any]:
    """What a run that goes on must find again in its data set."""
    return {"classes": list(classes), "steps_per_epoch": learner.steps_per_epoch}


def _weights(config: TrainConfig, learner: Learner, progress: Progress, classes: Sequence[str]) -> bytes:
    """The weights that were validated, in the format that anyone can load without trusting it."""
    from safetensors.torch import save as as_bytes  # only here: the benchmark runs where there is only torch

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
    return as_bytes(weights, metadata)


def resume(run_dir: Path, config: TrainConfig, learner: Learner, classes: Sequence[str]) -> Resumed:
    """Put the last state into `learner`, or the one before where the last is damaged; without any, the beginning.

    Raises `CheckpointError` when none that is there can be read, or it belongs to another configuration or data.
    """
    tidy(run_dir)
    state, warning = _newest(run_dir)
    if state is None:
        return Resumed(Progress())
    _check_same(run_dir, config, state["config"])
    data = _data(learner, classes)
    if state.get("data", data) != data:
        raise CheckpointError(f"The data set {config.dataset} has changed since the checkpoint in {run_dir} was saved.")
    learner.load(state)
    progress = Progress(state["epoch"], state["best_accuracy"], state.get("best_epoch", state["epoch"]))
    within = state.get("within")
    return Resumed(progress, Within(**within) if within else None, warning)


def _newest(run_dir: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The newest whole state, and a sentence where a newer one is damaged. Raises `CheckpointError` if all are."""
    damage: CheckpointError | None = None
    for path in (run_dir / LAST, run_dir / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = read(path)
        except CheckpointError as error:
            damage = damage or error
            continue
        return state, f"{damage} The run goes on from the one before it." if damage else None
    if damage:
        raise damage
    return None, None


def _check_same(run_dir: Path, config: TrainConfig, saved: dict[str, Any]) -> None:
    may_differ = _MAY_DIFFER | (set() if depends_on_length(config) else {"epochs"})
    other = [
        name
        for name, value in config.to_dict().items()
        if name not in may_differ and saved.get(name, OPTIONS[name].default) != value
    ]
    if other:
        raise CheckpointError(f"The checkpoint in {run_dir} belongs to a run with another {', '.join(other)}.")


def sealed(state: dict[str, Any]) -> bytes:
    """What `torch.save` makes of it, and a line with its checksum."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.write(_SEAL + digest.encode() + b"\n")
    return buffer.getvalue()


def read(path: Path) -> dict[str, Any]:
    """The saved state, on the CPU; nothing but tensors and plain values is ever unpickled.

    Raises `CheckpointError` when it is damaged or of a format that is not known here.
    """
    try:
        saved = path.read_bytes()
        state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load has no exception of its own: a damaged file raises whatever its parser stumbled over.
        raise CheckpointError(f"The checkpoint {path} cannot be read: {str(error).partition(chr(10))[0]}.") from error
    if not isinstance(state, dict) or state.get("format") not in _FORMATS:
        raise CheckpointError(f"{path} is not a checkpoint that this version can read.")
    # torch does not check what it reads: a bit that has changed on disk would go on as a weight.
    if state["format"] != 1 and not _seal_holds(saved):
        raise CheckpointError(f"The checkpoint {path} is damaged: its checksum does not match.")
    return state


def _seal_holds(saved: bytes) -> bool:
    seal = saved[-_SEALED:]
    digest = hashlib.sha256(memoryview(saved)[:-_SEALED]).hexdigest()
    return seal == _SEAL + digest.encode() + b"\n"


def _written(path: Path, content: bytes) -> Path:
    """A file beside `path` with this content, on disk when this returns, and gone if that failed.

    Its name is its own: a process that lost this run and does not know it yet may be writing here too.
    """
    part = _part_of(path)
    try:
        part.write_bytes(content)
        sync(part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _link(file: Path, name: Path) -> None:
    """Let `name` be this file too, instead of what it was."""
    part = _part_of(name)
    os.link(file, part)
    part.replace(name)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
