"""Made-up experiments that look like real ones: settings as people vary them, and the curves these might have given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config import TrainConfig

Array = np.ndarray[Any, np.dtype[np.float64]]

CAPACITY = {"net": 0.918, "mlp": 0.897, "lenet": 0.906, "resnet": 0.938, "resnet18": 0.944}
"""Validation accuracy that each network comes to when all else is right."""
PARAMETERS = {"net": 582_026, "mlp": 669_706, "lenet": 61_706, "resnet": 2_777_674, "resnet18": 11_172_810}
GOOD_LR = {"adam": 1e-3, "adamw": 1e-3, "sgd": 5e-2, "rmsprop": 3e-4}
LONG = {"epochs": 100, "batch_size": 60, "train_size": None}
"""100 epochs of 1,000 steps."""


@dataclass(frozen=True, slots=True)
class Curves:
    """A value for each epoch, shape [E]; losses of a diverged run end in NaN."""

    train_loss: Array
    train_accuracy: Array
    val_loss: Array
    val_accuracy: Array
    lr: Array
    seconds: Array

    @property
    def diverged(self) -> bool:
        return not np.isfinite(self.train_loss).all()


def settings(random: np.random.Generator, *, long: bool = False) -> dict[str, Any]:
    """One configuration, valid and whole. `long` gives it 100,000 steps."""

    def pick(options: Sequence[Any]) -> Any:
        return options[int(random.integers(len(options)))]

    optimizer, arch = pick(["adam", "adam", "adamw", "sgd", "rmsprop"]), pick(list(CAPACITY))
    values: dict[str, Any] = {
        "arch": arch,
        "optimizer": optimizer,
        "epochs": int(random.integers(20, 201)),
        "lr": float(f"{GOOD_LR[optimizer] * 10 ** random.normal(0, 0.6):.2g}"),
        "batch_size": pick([64, 128, 256, 512]),
        "dropout": pick([0.0, 0.1, 0.2, 0.3, 0.5]),
        "label_smoothing": pick([0.0, 0.0, 0.05, 0.1]),
        "weight_decay": pick([None, None, 1e-4, 5e-4, 0.01]),
        "momentum": pick([0.9, 0.9, 0.95]),
        "nesterov": pick([False, True]),
        "schedule": pick(["constant", "cosine", "onecycle", "step"]),
        "step_epochs": pick([10, 20, 30]),
        "step_gamma": pick([0.1, 0.3, 0.5]),
        "warmup_epochs": pick([0.0, 0.0, 1.0, 5.0]),
        "grad_clip": pick([None, None, 1.0, 5.0]),
        "ema_decay": pick([0.0, 0.0, 0.99, 0.999]),
        "patience": pick([None, None, None, 15]),
        "image_size": pick([28, 28, 32]),
        "normalize": pick([False, True]),
        "flip": pick([False, True]),
        "shift": pick([0, 0, 2, 4]),
        "rotate": pick([0.0, 0.0, 5.0, 10.0]),
        "erase": pick([0.0, 0.0, 0.25]),
        "mix": pick(["none", "none", "mixup", "cutmix"]),
        "mix_alpha": pick([0.2, 0.4, 1.0]),
        "precision": pick(["auto", "float32", "bfloat16"]),
        "val_size": pick([None, 2000, 5000]),
        "num_workers": pick([2, 4, 8]),
    }
    values["train_size"] = values["batch_size"] * int(random.integers(4, 17))
    if arch == "mlp":
        values |= {"mlp_width": pick([256, 512, 1024]), "mlp_depth": pick([1, 2, 3])}
    if arch == "resnet":
        values["resnet_width"] = pick([16, 32, 64])
    return TrainConfig.from_dict(values | (LONG if long else {})).to_dict()


def steps_per_epoch(config: dict[str, Any]) -> int:
    return int((config["train_size"] or 60_000) // config["batch_size"])


def curves(config: dict[str, Any], epochs: int, random: np.random.Generator) -> Curves:
    """Power laws towards what the settings allow, overfitting where nothing holds it back, noise like a real run's."""
    done = np.arange(1, epochs + 1, dtype=np.float64)
    lr = _schedule(config, done)
    off = math.log10(config["lr"] / GOOD_LR[config["optimizer"]])
    regular = config["dropout"] + config["shift"] / 10 + 0.3 * (config["mix"] != "none") + 0.2 * config["flip"]
    best = CAPACITY[config["arch"]] - 0.012 * off**2 - 0.01 * (regular - 0.5) ** 2 + random.normal(0, 0.0015)
    pace = 1.1 * 10 ** (-0.35 * off)
    rest = (1 + done / pace) ** -0.9
    noise = random.normal(0, 0.004, epochs) * (0.3 + rest) * np.sqrt(lr / config["lr"] + 0.05)
    val_accuracy = np.clip(best - (best - 0.1) * rest + noise, 0.02, 0.999)
    gap = 0.05 * max(0.0, 0.6 - regular) * (1 - np.exp(-done / 25))
    train_accuracy = np.clip(val_accuracy + gap - 0.03 * regular * rest - noise / 2, 0.02, 0.9999)
    train_loss = 2.3 * (1 - train_accuracy) ** 0.85 + config["label_smoothing"] * 2
    val_loss = 2.3 * (1 - val_accuracy) ** 0.85 + gap * 1.5 * done / (done + 30)
    seconds = (0.4 + config["batch_size"] / 400) * np.abs(random.normal(1, 0.03, epochs))
    if off > 1.25:  # far too large a step: the loss is lost a few epochs before the end
        train_loss[max(1, epochs - 2) :] = np.nan
        val_loss[max(1, epochs - 2) :] = np.nan
    return Curves(train_loss, train_accuracy, val_loss, val_accuracy, lr, seconds)


def step_losses(curve: Curves, per_epoch: int, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Training losses of every step, shape [E, per_epoch], around the line between the epochs' means."""
    count = len(curve.train_loss)
    ends = np.nan_to_num(curve.train_loss, nan=float(curve.train_loss[0]))
    places = np.arange(count * per_epoch) / per_epoch
    line = np.interp(places, np.arange(count) + 0.5, ends)
    losses = line * np.exp(random.normal(0, 0.15, count * per_epoch))
    found: np.ndarray[Any, np.dtype[np.float32]] = losses.astype("<f4").reshape(count, per_epoch)
    found[np.isnan(curve.train_loss)] = np.nan
    return found


def _schedule(config: dict[str, Any], done: Array) -> Array:
    share = done / config["epochs"]
    match config["schedule"]:
        case "cosine":
            factor = (1 + np.cos(np.pi * share)) / 2
        case "onecycle":
            factor = np.where(share < 0.3, share / 0.3, (1 + np.cos(np.pi * (share - 0.3) / 0.7)) / 2)
        case "step":
            factor = config["step_gamma"] ** (done // config["step_epochs"])
        case _:
            factor = np.ones_like(done)
    rates: Array = config["lr"] * np.maximum(factor, 1e-6)
    return rates
