"""Ready-made settings to start from. Free of torch. What each reached is in benchmarks/results/accuracy.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config import OPTIONS


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    label: str
    help: str
    changes: Mapping[str, Any]
    """What differs from the defaults, by the names of `OPTIONS`."""

    @property
    def values(self) -> dict[str, Any]:
        return {name: option.default for name, option in OPTIONS.items()} | dict(self.changes)


_RECIPE = {"flip": True, "normalize": True, "optimizer": "adamw", "weight_decay": 0.05, "schedule": "onecycle"}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("tutorial", "Tutorial", "Exactly the tutorial: Net, Adam at 0.001, 20 epochs.", {}),
        Preset(
            "fast",
            "Fast",
            "The tutorial's network in a quarter of the epochs, less than a point below its accuracy.",
            {"epochs": 5, "optimizer": "adamw", "schedule": "onecycle", "lr": 0.004, "dropout": 0.1},
        ),
        Preset(
            "accurate",
            "Accurate",
            "The tutorial's network as far as it goes: mirrored and mixed images, one-cycle, averaged weights.",
            {
                **_RECIPE,
                "epochs": 60,
                "batch_size": 128,
                "lr": 0.003,
                "dropout": 0.2,
                "mix": "mixup",
                "ema_decay": 0.999,
            },
        ),
        Preset(
            "accurate-resnet",
            "Accurate ResNet",
            "A ResNet-9 with shifted, mirrored and partly erased images: the best accuracy, and the most work.",
            {
                **_RECIPE,
                "arch": "resnet",
                "epochs": 20,
                "lr": 0.006,
                "dropout": 0.2,
                "shift": 2,
                "erase": 0.25,
                "ema_decay": 0.998,
            },
        ),
    )
}
