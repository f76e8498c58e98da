"""What is trained, and its two acts: a step and a validation. The loop around them is `trainer.loop`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer import devices
from trainer.augment import Targets, Transform
from trainer.config import TrainConfig
from trainer.data import EVAL_BATCH, Batches
from trainer.events import Predictions
from trainer.group import Group
from trainer.models import Shape, build
from trainer.optim import Average, Objective, make_optimizer
from trainer.schedule import lr_at


class Learner:
    """A network on its device, with its optimizer, its loss, its transforms and its average."""

    def __init__(self, config: TrainConfig, train_set: Batches, device: torch.device, group: Group) -> None:
        self.config, self.device = config, device
        self.precision = devices.precision(config.precision, device)
        self.steps_per_epoch = train_set.samples // config.batch_size
        self._group = group
        shape = Shape(train_set.channels, config.image_size, len(train_set.classes))
        torch.manual_seed(config.seed)
        model = build(config.arch, shape, dropout=config.dropout, options=config.arch_options)
        self.model: nn.Module = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._called = group.wrap(self.model)
        self.optimizer = make_optimizer(config, self.model.parameters())
        self._average = Average(self.model, copy.deepcopy(self.model), config.ema_decay) if config.ema_decay else None
        self._objective = Objective(config, train_set.labels, shape.classes, device)
        self.shape = shape
        self.statistics = train_set.statistics() if config.normalize else None
        self.transform = Transform(config, device, self.statistics, rank=group.rank)

    @property
    def validated(self) -> nn.Module:
        """The model whose weights count: the average, where there is one."""
        return self._average.model if self._average else self.model

    @property
    def lr(self) -> float:
        """That of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def start_epoch(self, epoch: int) -> None:
        # Dropout of an epoch depends on seed and epoch alone, so a resumed run needs no saved generator.
        torch.manual_seed(self.config.seed + 1_000_003 * epoch + 7_919 * self._group.rank)
        self.transform.start(epoch)
        self._called.train()

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One step on uint8 images; two scalars, still on the device: its share of the mean loss, and hits.

        `step` counts from 0 over the whole run.
        """
        x, targets = self.transform.for_training(images, labels)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(self.config, step, self.steps_per_epoch)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self._logits(self._called, x)
        loss, share = self._objective(logits, targets, batch_size=self.config.batch_size, group=self._group)
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()
        if self._average:
            self._average.update(step)
        return share, _hits(logits.detach(), targets)

    @torch.inference_mode()
    def validate(self, batches: Batches, should_stop: Callable[[], bool]) -> tuple[float, float, Predictions] | None:
        """Mean cross-entropy, accuracy and each image's prediction over the whole validation split; None if stopped.

        The loss is the plain one, without smoothing or class weights, so that runs compare.
        """
        model = self.validated.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        classes = torch.zeros(batches.samples, dtype=torch.int32, device=self.device)
        confidences = torch.zeros(batches.samples, dtype=torch.float32, device=self.device)
        start = self._group.rank * EVAL_BATCH
        for images, labels in batches.in_order():
            if should_stop():
                return None
            logits = self._logits(model, self.transform.for_validation(images))
            confidence, predicted = logits.softmax(1).max(1)
            sums[0] += F.cross_entropy(logits, labels, reduction="sum")
            sums[1] += (predicted == labels).sum()
            classes[start : start + len(labels)] = predicted
            confidences[start : start + len(labels)] = confidence.nan_to_num(0)
            start += self._group.size * EVAL_BATCH
        for tensor in (sums, classes, confidences):
            self._group.sum(tensor)
        loss, hits = sums.tolist()
        return loss / batches.samples, hits / batches.samples, _encoded(classes, confidences, self.shape.classes)

    def _logits(self, model: nn.Module, x: Tensor) -> Tensor:
        """float32 logits [B, classes], computed in the run's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits: Tensor = model(x.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def state(self) -> dict[str, Any]:
        """All that changes in training, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self._average.model.state_dict() if self._average else None,
        }

    def random_state(self) -> dict[str, Any]:
        """Where the generators stand within an epoch; at its start they depend on seed and epoch alone."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda, "transform": self.transform.random_state()}

    def load_random(self, state: dict[str, Any]) -> None:
        """Go on drawing where `random_state` was asked; what another kind of device drew is not known here."""
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda" and state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)
        self.transform.load_random(state["transform"])

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` has told."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.model.load_state_dict(state["average"])


def _hits(logits: Tensor, targets: Targets) -> Tensor:
    """How many are right; of a mixed image each of its two labels counts by its share, as mixup's own code has it."""
    predicted = logits.argmax(1)
    right = (predicted == targets.labels).sum()
    if targets.other is None:
        return right
    return targets.share * right + (1 - targets.share) * (predicted == targets.other).sum()


def _encoded(classes: Tensor, confidences: Tensor, count: int) -> Predictions:
    def encode(numbers: Tensor, kind: str) -> bytes:
        return np.asarray(numbers.cpu().numpy()).astype(kind).tobytes()

    return Predictions(encode(classes, "u1" if count <= 256 else "<u2"), encode(confidences.mul(65535).round(), "<u2"))
