"""What a training run tells while it runs: one frozen dataclass per event, made of plain Python values.

Epochs count from 1, steps from 0 over the whole run. Losses are mean cross-entropy per sample seen, accuracies
fractions in [0, 1], durations seconds, `*_at` Unix seconds (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Started:
    """The data is loaded, the model stands on its device; the first step comes next."""

    device: str
    """"cpu" or "cuda:N": what `auto` was resolved to."""
    device_name: str
    """The hardware's own name, e.g. "NVIDIA H200"."""
    threads: int
    """CPU threads that torch computes with."""
    parameters: int
    """Trainable parameters of the model."""
    classes: tuple[str, ...]
    train_samples: int
    val_samples: int
    steps_per_epoch: int
    epochs_before: int
    """Epochs already in the checkpoint that this run resumed from; 0 for a fresh start."""
    loading: str
    """"resident" or "dataloader": what `auto` was resolved to."""
    precision: str
    """"float32", "tf32" or "bfloat16": what `auto` was resolved to."""
    processes: int
    """Training processes that share each batch."""
    flops_per_image: int
    """Floating-point operations of one training image, forward and backward, of its matrix products."""
    matmul_flops_per_s: float
    """What a large matrix product reached on this device, in this precision, when the run started; of all processes."""
    seconds: float
    """From the call of `train` to this event: reading data, building the model."""
    steps_before: int = 0
    """Steps of the epoch after those that the checkpoint holds too: the run was stopped within it."""
    warning: str | None = None
    """A sentence where the newest checkpoint was damaged and the one before it was taken."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The training losses of consecutive steps, each the mean over its batch, about one block a second."""

    epoch: int
    first_step: int
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the model said of each validation sample, in the order of the validation split.

    `classes` holds one unsigned number per sample, the predicted class: of 8 bits, or where there are more than 256
    classes of 16, little-endian. `confidences` holds one little-endian uint16 per sample, the probability of that
    class times 65535. So 10,000 samples take 30 KB; which width the classes have shows in the lengths.
    """

    classes: bytes
    confidences: bytes


@dataclass(frozen=True, slots=True)
class Timings:
    """Where an epoch's wall time went, in seconds.

    On a GPU the host runs ahead: its waiting shows as computing when losses are read.
    """

    data: float
    """Waiting for batches."""
    compute: float
    """Transforms, forward, backward and optimizer."""
    validation: float
    recording: float
    """Until whoever follows the events had written them."""


@dataclass(frozen=True, slots=True)
class EpochDone:
    epoch: int
    train_loss: float
    """Mean of what training lowers over the samples seen in this epoch, each with the weights of its own step.

    Dropout, augmentation, label smoothing and class weights included; `val_loss` is the plain cross-entropy.
    """
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    """Learning rate of the epoch's last step."""
    seconds: float
    """Training and validation of this epoch together."""
    train_seconds: float
    images_per_s: float
    """Training images per second of `train_seconds`."""
    finished_at: float
    timings: Timings
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The state after `epoch` is on disk, complete and fsynced; resuming from it repeats nothing and skips nothing."""

    epoch: int
    path: str
    bytes: int
    seconds: float
    best: bool
    """Whether this epoch has the best validation accuracy so far (then it was saved as the best model too)."""
    steps: int = 0
    """Steps of the epoch after `epoch` that it holds too; above 0 where the run was stopped within that epoch."""


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """The state could not be written. Training goes on; what was saved before is still there and whole."""

    epoch: int
    message: str
    """A sentence that says why."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run that did not raise."""

    reason: Literal["completed", "early", "stopped"]
    """"early": no better validation accuracy for `patience` epochs. "stopped": `should_stop` said so; the epoch under
    way was not finished, and is gone on with by a resume."""
    epochs: int
    """Whole epochs done, those before a resume included."""
    seconds: float


Event = Started | Steps | EpochDone | CheckpointSaved | CheckpointFailed | Finished
