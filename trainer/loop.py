"""`train`: a `TrainConfig` becomes a stream of events.

    for event in train(TrainConfig(epochs=2), data_dir=Path("var/data")):
        print(event)

Nothing here waits for the device within an epoch but the reading of losses, once a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer import checkpoint, devices
from trainer.config import TrainConfig
from trainer.data import Batches, Loaded, open_split
from trainer.errors import ConfigError, Diverged, OutOfMemory
from trainer.events import CheckpointSaved, EpochDone, Event, Finished, Predictions, Started, Steps
from trainer.models import Shape, build

READ_LOSSES_S = 1.0
"""Seconds between two readings of the losses; each makes the host wait for the device, and a row be written."""
ShouldStop = Callable[[], bool]


def never() -> bool:
    return False


def train(
    config: TrainConfig, *, data_dir: Path, run_dir: Path | None = None, should_stop: ShouldStop = never
) -> Iterator[Event]:
    """Train as `config` says, telling what happens as it happens; the last event is `Finished`.

    With `run_dir` the state is saved there after each epoch, and a run that finds such a state goes on from it: on
    a CPU bit for bit as if it had never stopped. `should_stop` is asked at every step and should be cheap.

    Raises a `TrainerError` (see trainer.errors) where training cannot start or go on.
    """
    try:
        yield from _train(config, data_dir, run_dir, should_stop)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"The device ran out of memory ({str(error).partition('. ')[0]}). "
            "A smaller batch size or image size needs less."
        ) from error


def _train(config: TrainConfig, data_dir: Path, run_dir: Path | None, should_stop: ShouldStop) -> Iterator[Event]:
    begun = time.perf_counter()
    device = devices.resolve(config.device)
    train_set = open_split(config, "train", data_dir, device)
    val_set = open_split(config, "val", data_dir, device)
    try:
        torch.manual_seed(config.seed)
        model = build(config, Shape(train_set.channels, config.image_size, len(train_set.classes)))
        model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(config, model)
        resumed = checkpoint.resume(run_dir, config, model, optimizer) if run_dir else None
        done, best_accuracy = (resumed.epoch, resumed.best_accuracy) if resumed else (0, -math.inf)
        yield Started(
            device=str(device),
            device_name=devices.name_of(device),
            threads=torch.get_num_threads(),
            parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            classes=train_set.classes,
            train_samples=train_set.samples,
            val_samples=val_set.samples,
            steps_per_epoch=train_set.samples // config.batch_size,
            epochs_before=done,
            loading="dataloader" if isinstance(train_set, Loaded) else "resident",
            seconds=time.perf_counter() - begun,
        )
        for epoch in range(done + 1, config.epochs + 1):
            # Dropout of an epoch depends on seed and epoch alone, so a resumed run needs no saved generator.
            torch.manual_seed(config.seed + 1_000_003 * epoch)
            started = time.perf_counter()
            trained = yield from _train_epoch(config, epoch, model, optimizer, train_set, should_stop)
            trained_at = time.perf_counter()
            validated = None if trained is None else _validate(model, val_set, should_stop)
            if trained is None or validated is None:
                yield Finished("stopped", epoch - 1, time.perf_counter() - begun)
                return
            train_loss, train_accuracy = trained
            val_loss, val_accuracy, predictions = validated
            yield EpochDone(
                epoch=epoch,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                lr=optimizer.param_groups[0]["lr"],
                seconds=time.perf_counter() - started,
                train_seconds=trained_at - started,
                images_per_s=train_set.samples // config.batch_size * config.batch_size / (trained_at - started),
                finished_at=time.time(),
                predictions=predictions,
            )
            best = val_accuracy > best_accuracy
            best_accuracy = max(val_accuracy, best_accuracy)
            if run_dir:
                yield _save(run_dir, config, model, optimizer, epoch, best_accuracy, best)
        yield Finished("completed", config.epochs, time.perf_counter() - begun)
    finally:
        train_set.close()
        val_set.close()


def _train_epoch(
    config: TrainConfig,
    epoch: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    should_stop: ShouldStop,
) -> Generator[Steps, None, tuple[float, float] | None]:
    """One pass over the training images. Returns mean loss and accuracy over the images seen, None if stopped."""
    model.train()
    first = (epoch - 1) * (batches.samples // config.batch_size)
    pending: list[Tensor] = []
    loss_sum, correct, seen = 0.0, None, 0
    read_at = time.perf_counter()
    for images, labels in batches.train_epoch(epoch):
        if should_stop():
            return None
        optimizer.zero_grad(set_to_none=True)
        logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        pending.append(loss.detach())
        hits = (logits.detach().argmax(1) == labels).sum()
        correct = hits if correct is None else correct + hits
        seen += len(labels)
        if time.perf_counter() - read_at >= READ_LOSSES_S:
            block, first, pending = _read(epoch, first, pending)
            loss_sum += math.fsum(block.losses)
            yield block
            _check_finite(block, config)
            read_at = time.perf_counter()
    if pending:
        block, first, pending = _read(epoch, first, pending)
        loss_sum += math.fsum(block.losses)
        yield block
        _check_finite(block, config)
    assert correct is not None  # noqa: S101 - open_split made sure of one whole batch
    # All batches are equally large, so the mean of their means is the mean over the images seen.
    return loss_sum * config.batch_size / seen, int(correct) / seen


def _read(epoch: int, first: int, pending: list[Tensor]) -> tuple[Steps, int, list[Tensor]]:
    """The losses since the last reading, in one transfer: this is where the host waits for the device."""
    block = Steps(epoch, first, tuple(torch.stack(pending).tolist()))
    return block, first + len(pending), []


def _check_finite(block: Steps, config: TrainConfig) -> None:
    for place, loss in enumerate(block.losses):
        if not math.isfinite(loss):
            raise Diverged(
                f"The loss became {'NaN' if math.isnan(loss) else 'infinite'} in epoch {block.epoch}, "
                f"step {block.first_step + place}. A learning rate lower than {config.lr:g} may help."
            )


def _validate(model: nn.Module, batches: Batches, should_stop: ShouldStop) -> tuple[float, float, Predictions] | None:
    """Mean loss, accuracy and each image's prediction over the whole validation split; None if stopped."""
    model.eval()
    loss_sum: Tensor | None = None
    correct: Tensor | None = None
    classes, confidences = [], []
    with torch.inference_mode():
        for images, labels in batches.in_order():
            if should_stop():
                return None
            logits = model(images.contiguous(memory_format=torch.channels_last)).float()
            confidence, predicted = logits.softmax(1).max(1)
            loss, hits = F.cross_entropy(logits, labels, reduction="sum"), (predicted == labels).sum()
            loss_sum = loss if loss_sum is None else loss_sum + loss
            correct = hits if correct is None else correct + hits
            classes.append(predicted)
            confidences.append(confidence)
        assert loss_sum is not None  # noqa: S101 - open_split refuses an empty split
        assert correct is not None  # noqa: S101
        return (
            float(loss_sum) / batches.samples,
            int(correct) / batches.samples,
            Predictions(
                torch.cat(classes).cpu().numpy().astype("<u2").tobytes(),
                torch.cat(confidences).nan_to_num(0).mul(65535).round().cpu().numpy().astype("<u2").tobytes(),
            ),
        )


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of `config`, in torch's fused form where there is one: one kernel instead of dozens a step."""
    weights = model.parameters()
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(weights, lr=config.lr, fused=True)
        case "adamw":
            return torch.optim.AdamW(weights, lr=config.lr, fused=True)
        case "sgd":
            return torch.optim.SGD(weights, lr=config.lr, momentum=0.9, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(weights, lr=config.lr)
        case other:
            raise ConfigError({"optimizer": f"{other} is not known."})


def _save(
    run_dir: Path,
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    best_accuracy: float,
    best: bool,
) -> CheckpointSaved:
    begun = time.perf_counter()
    path = checkpoint.save(run_dir, config, model, optimizer, epoch=epoch, best_accuracy=best_accuracy, best=best)
    return CheckpointSaved(epoch, str(path), path.stat().st_size, time.perf_counter() - begun, best)
