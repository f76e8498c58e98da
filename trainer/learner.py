"""What is trained, and its two acts: a step and a validation. The loop around them is `trainer.loop`.

A step never asks the device for a number: what it finds out stays there until the loop reads it, and what changes from
step to step is put there beforehand. So the host runs ahead of a GPU, and a step can be recorded (`trainer.graphs`).
"""

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
from trainer.data import Batches, Inputs
from trainer.events import Predictions
from trainer.graphs import Recorder, Replay
from trainer.group import Group
from trainer.models import Shape, build
from trainer.optim import Average, Objective, load_optimizer, make_optimizer, set_lr
from trainer.schedule import lr_at


class Learner:
    """A network on its device, with its optimizer, its loss, its transforms and its average."""

    def __init__(
        self,
        config: TrainConfig,
        train_set: Batches,
        device: torch.device,
        group: Group,
        recorder: Recorder | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.precision = devices.precision(config.precision, device)
        self.steps_per_epoch = train_set.samples // config.batch_size
        self._group, self._train_set = group, train_set
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
        self.losses = torch.zeros(self.steps_per_epoch, device=device)
        """Of each step of this epoch: this process's share of the batch's mean loss."""
        self.correct = torch.zeros((), dtype=torch.float64, device=device)
        """Hits of this epoch so far."""
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._replay = Replay(recorder, self.transform.generator) if recorder else None

    @property
    def validated(self) -> nn.Module:
        """The model whose weights count: the average, where there is one."""
        return self._average.model if self._average else self.model

    def start_epoch(self, epoch: int, *, steps: int = 0, correct: float = 0.0) -> None:
        """Before its first step, or the first after so many `steps` with so many hits."""
        # Dropout of an epoch depends on seed and epoch alone, so a resumed run needs no saved generator.
        torch.manual_seed(self.config.seed + 1_000_003 * epoch + 7_919 * self._group.rank)
        self.transform.start(epoch)
        self._place.fill_(steps)
        self.correct.fill_(correct)
        self._called.train()

    def step(self, inputs: Inputs, step: int) -> None:
        """One step on what the training set gives for a batch; `losses` and `correct` tell what came of it.

        `step` counts from 0 over the whole run.
        """
        set_lr(self.optimizer, lr_at(self.config, step, self.steps_per_epoch))
        self.transform.draw()
        if self._average:
            self._average.begin(step)
        if self._replay:
            self._replay.take(self._take, *inputs)
        else:
            self._take(*inputs)

    def _take(self, *inputs: Tensor) -> None:
        """What the device does in a step: always the same operations on the same memory."""
        x, targets = self.transform.for_training(*self._train_set.batch(*inputs))
        self.optimizer.zero_grad(set_to_none=True)
        logits = self._logits(self._called, x)
        loss, share = self._objective(logits, targets, batch_size=self.config.batch_size, group=self._group)
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()
        if self._average:
            self._average.update()
        self.losses.index_copy_(0, self._place, share.view(1))
        self.correct += _hits(logits.detach(), targets)
        self._place += 1

    @torch.inference_mode()
    def validate(self, batches: Batches, should_stop: Callable[[], bool]) -> tuple[float, float, Predictions] | None:
        """Mean cross-entropy, accuracy and each image's prediction over the whole validation split; None if stopped.

        The loss is the plain one, without smoothing or class weights, so that runs compare.
        """
        model = self.validated.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        classes = torch.zeros(batches.samples, dtype=torch.int32, device=self.device)
        confidences = torch.zeros(batches.samples, dtype=torch.float32, device=self.device)
        start = self._group.rank * batches.eval_batch
        for images, labels in batches.in_order():
            if should_stop():
                return None
            logits = self._logits(model, self.transform.for_validation(images))
            confidence, predicted = logits.softmax(1).max(1)
            sums[0] += F.cross_entropy(logits, labels, reduction="sum")
            sums[1] += (predicted == labels).sum()
            classes[start : start + len(labels)] = predicted
            confidences[start : start + len(labels)] = confidence.nan_to_num(0)
            start += self._group.size * batches.eval_batch
        for tensor in (sums, classes, confidences):
            self._group.sum(tensor)
        loss, hits = sums.tolist()
        return loss / batches.samples, hits / batches.samples, _encoded(classes, confidences, self.shape.classes)

    def _logits(self, model: nn.Module, x: Tensor) -> Tensor:
        """float32 logits [B, classes], computed in the run's precision."""
        # No cache: each weight is used once, and a recorded step must not find a cast of it from before.
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
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
        load_optimizer(self.optimizer, state["optimizer"])
        if self._average:
            self._average.model.load_state_dict(state["average"])


def _hits(logits: Tensor, targets: Targets) -> Tensor:
    """How many are right; of a mixed image each of its two labels counts by its share, as mixup's own code has it."""
    predicted = logits.argmax(1)
    right = (predicted == targets.labels).sum()
    if targets.other is None or targets.share is None:
        return right
    return targets.share * right + (1 - targets.share) * (predicted == targets.other).sum()


def _encoded(classes: Tensor, confidences: Tensor, count: int) -> Predictions:
    def encode(numbers: Tensor, kind: str) -> bytes:
        return np.asarray(numbers.cpu().numpy()).astype(kind).tobytes()

    return Predictions(encode(classes, "u1" if count <= 256 else "<u2"), encode(confidences.mul(65535).round(), "<u2"))
