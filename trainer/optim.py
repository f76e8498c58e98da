"""Optimizers, the loss they lower, and the average of the weights they leave behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.augment import Targets
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.fit import wrong_weights
from trainer.group import Group


def make_optimizer(config: TrainConfig, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of `config`, in torch's fused form where there is one: one kernel instead of dozens a step.

    For CUDA graphs all that it reads and changes is on the device, the learning rate included.
    """
    weights = list(weights)
    made = _optimizer(config, weights)
    if config.cuda_graphs:
        for group in made.param_groups:
            group["lr"] = torch.tensor(config.lr, dtype=torch.float32, device=weights[0].device)
    return made


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """For the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up the `state_dict` of an optimizer of the same configuration.

    Its state only: where that must lie (`fused`, `capturable`), this run may see otherwise than the one that saved it.
    """
    optimizer.load_state_dict({"state": state["state"], "param_groups": optimizer.state_dict()["param_groups"]})


def _optimizer(config: TrainConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    lr, decay, capturable = config.lr, config.weight_decay or 0.0, config.cuda_graphs
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(weights, lr=lr, weight_decay=decay, fused=True, capturable=capturable)
        case "adamw":
            # The empty field means torch's own default, which is not 0 here.
            own = 0.01 if config.weight_decay is None else config.weight_decay
            return torch.optim.AdamW(weights, lr=lr, weight_decay=own, fused=True, capturable=capturable)
        case "sgd":
            nesterov = config.nesterov and config.momentum > 0
            return torch.optim.SGD(
                weights, lr=lr, momentum=config.momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )
        case "rmsprop":
            # Of its two forms only this one leaves the learning rate on the device.
            foreach = True if capturable else None
            return torch.optim.RMSprop(weights, lr=lr, weight_decay=decay, capturable=capturable, foreach=foreach)
        case other:
            raise ConfigError({"optimizer": f"{other} is not known."})


class Objective:
    """Cross-entropy on logits, with label smoothing, class weights and mixed labels: what training lowers.

    As in torch, with class weights the mean over a batch is weighted too.
    """

    def __init__(self, config: TrainConfig, labels: np.ndarray[Any, Any], classes: int, device: torch.device) -> None:
        self._smoothing = config.label_smoothing
        weights = class_weights(config.class_weights, labels, classes)
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)

    def __call__(self, logits: Tensor, targets: Targets, *, batch_size: int, group: Group) -> tuple[Tensor, Tensor]:
        """Two scalars: the loss for `backward`, and this process's share of the batch's mean loss.

        The shares of all processes add up to the mean over the whole batch of `batch_size`; the loss is the share
        times their number, because gradients are averaged over the processes.
        """
        total = self._sum(logits, targets.labels)
        weight = self._weight(targets.labels)
        if targets.other is not None and targets.share is not None:
            total = torch.lerp(self._sum(logits, targets.other), total, targets.share)
            if weight is not None:
                weight = torch.lerp(self._weights[targets.other].sum(), weight, targets.share)  # type: ignore[index]
        if weight is None:
            share = total / batch_size
        else:
            whole = group.sum(weight.detach())
            # Of a batch whose classes all weigh nothing nothing is to be learned; smoothing would speak of the others.
            share = torch.where(whole > 0, total / whole.clamp_min(1e-12), 0.0)
        return share * group.size, share.detach()

    def _sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="sum")

    def _weight(self, labels: Tensor) -> Tensor | None:
        return None if self._weights is None else self._weights[labels].sum()


def class_weights(asked: str | None, labels: np.ndarray[Any, Any], classes: int) -> list[float] | None:
    """One number per class; "balanced" is N / (classes x count), as scikit-learn calls it.

    A class without an image weighs 0. Raises `ConfigError` when there are more or fewer numbers than classes.
    """
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.bincount(labels, minlength=classes)
        return [len(labels) / (classes * count) if count else 0.0 for count in counts.tolist()]
    weights = [float(part) for part in asked.split(",")]
    if problem := wrong_weights(asked, classes):
        raise ConfigError({"class_weights": problem})
    return weights


class Average:
    """An exponential moving average of a model's weights, in a second model of the same shape.

    In the first steps the decay is lower, (1 + n) / (10 + n) as TensorFlow's moving average has it, so that the
    random weights of the start are soon forgotten. Buffers (BatchNorm's statistics) are averages already: copied.
    """

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        self.model = average
        self._decay = decay
        self._pairs = list(zip(average.parameters(), model.parameters(), strict=True))
        self._buffers = list(zip(average.buffers(), model.buffers(), strict=True))
        self._share = torch.ones((), device=self._pairs[0][0].device)

    def begin(self, step: int) -> None:
        """Before step `step`, which counts from 0: how much of the new weights its average takes."""
        self._share.fill_(1 - min(self._decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """After the step."""
        for mean, weight in self._pairs:
            mean.lerp_(weight, self._share)
        for copied, buffer in self._buffers:
            copied.copy_(buffer)
