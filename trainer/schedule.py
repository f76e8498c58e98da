"""The learning rate of each step, as a pure function: a resumed run needs no saved schedule. Free of torch."""

from __future__ import annotations

import math

from trainer.config import TrainConfig

_RISE, _START, _END = 0.3, 1 / 25, 1e-4 / 25
"""One-cycle: share of the run in which it rises, and its first and last value over its highest.

As in torch's `OneCycleLR`, after Smith and Topin, "Super-Convergence" (https://arxiv.org/abs/1708.07120).
"""


def lr_at(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of step `step`, which counts from 0 over the whole run."""
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if config.schedule == "onecycle":
        return config.lr * _one_cycle(step, total, warmup)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    if config.schedule == "step":
        return config.lr * config.step_gamma ** (step // steps_per_epoch // config.step_epochs)
    if config.schedule == "cosine":
        return config.lr * _between(1.0, 0.0, (step - warmup) / max(1, total - warmup))
    return config.lr


def depends_on_length(config: TrainConfig) -> bool:
    """Whether a run of more epochs would have had another learning rate from the start."""
    return config.schedule in ("cosine", "onecycle")


def _one_cycle(step: int, total: int, warmup: int) -> float:
    peak = (warmup or _RISE * total) - 1
    if step <= peak:
        return _between(_START, 1.0, step / peak) if peak > 0 else 1.0
    return _between(1.0, _END, (step - peak) / max(1.0, total - 1 - peak))


def _between(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
