"""What a run can be judged by: its metrics and costs, each with how it is written and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from app import pages
from app.schemas import RunOut

Kind = Literal["percent", "loss", "number", "duration"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`key` is an attribute of `RunOut`."""

    key: str
    label: str
    kind: Kind
    higher_is_better: bool

    def of(self, run: RunOut) -> float | None:
        value = getattr(run, self.key)
        return None if value is None else float(value)

    def shown(self, value: float | None) -> str:
        return _SHOWN[self.kind](value)

    def difference(self, value: float) -> str:
        """How much two values differ, without a sign and a unit: accuracies in points (hundredths)."""
        size = abs(value)
        if self.kind == "percent":
            return f"{size * 100:.2f}"
        return f"{size:.4f}" if self.kind == "loss" else self.shown(size)

    @property
    def unit(self) -> str:
        return " points" if self.kind == "percent" else ""


_SHOWN: Mapping[str, Callable[[float | None], str]] = {
    "percent": pages.percent,
    "loss": pages.loss,
    "number": pages.number,
    "duration": pages.duration,
}
OUTCOMES = {
    outcome.key: outcome
    for outcome in (
        Outcome("best_val_accuracy", "Best validation accuracy", "percent", True),
        Outcome("val_accuracy", "Last validation accuracy", "percent", True),
        Outcome("val_loss", "Last validation loss", "loss", False),
        Outcome("train_accuracy", "Last training accuracy", "percent", True),
        Outcome("train_loss", "Last training loss", "loss", False),
        Outcome("duration_s", "Duration", "duration", False),
        Outcome("images_per_s", "Training speed, images/s", "number", True),
        Outcome("parameters", "Parameters", "number", False),
    )
}
DEFAULT = "best_val_accuracy"
