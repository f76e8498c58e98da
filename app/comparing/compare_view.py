"""How a comparison is looked at, as its address says it: what means nothing there falls back to its default."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from app.comparing import measures, outcomes, settings_diff
from app.comparing.outcomes import OUTCOMES, Outcome

X_AXES = {"epoch": "Epoch", "step": "Step", "time": "Training time", "wall": "Wall clock"}
X_COLUMNS = {"time": ["seconds"], "wall": ["finished_at"]}
"""What an axis needs beside the epochs, of `curves.COLUMNS`."""
CHARTS = {
    "val_accuracy": "Validation accuracy",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss",
    "lr": "Learning rate",
    "steps": "Training loss of every step",
}
SHOWN = {"four": "Losses and accuracies", **CHARTS}
MOST_SMOOTHING = 0.99


@dataclass(frozen=True, slots=True)
class View:
    """Of the curves: `x`, `show`, `smooth`, `log`, `clip` (no outliers). `group`: what their bands and groups are by.

    `metric`: what the groups, the parallel coordinates and the importance look at. `a`, `b`: the two groups that are
    held against each other, -1 for the page's own choice. `axes`: of the parallel coordinates. `settings`: "all" for
    those in common too. `sx`, `sy`, `sc`: axes and colour of the scatter plot; `slx`, `sly`: its axes logarithmic.
    """

    x: str = "epoch"
    show: str = "four"
    smooth: float = 0.0
    log: bool = False
    clip: bool = False
    group: str = ""
    metric: str = outcomes.DEFAULT
    a: int = -1
    b: int = -1
    axes: str = ""
    settings: str = ""
    sx: str = ""
    sy: str = ""
    sc: str = ""
    slx: bool = False
    sly: bool = False

    @classmethod
    def of(cls, values: Mapping[str, str]) -> View:
        known: dict[str, Container[str]] = {"x": X_AXES, "show": SHOWN, "metric": OUTCOMES, "settings": ("", "all")}
        read: dict[str, Any] = {}
        for field in fields(cls):
            value = _typed(field.name, values.get(field.name, ""), field.default)
            allowed = known.get(field.name)
            measure = field.name == "show" and value.startswith(measures.PREFIX)
            read[field.name] = value if allowed is None or measure or value in allowed else field.default
        return cls(**read)

    def showing(self, names: Container[str]) -> View:
        """A measure that none of the runs has falls back to the default too."""
        return self if self.measure is None or self.measure in names else replace(self, show="four")

    @property
    def measure(self) -> str | None:
        """The name of the measure of imported runs that is shown; None where another chart is."""
        return self.show.removeprefix(measures.PREFIX) if self.show.startswith(measures.PREFIX) else None

    def said(self, **changed: Any) -> dict[str, str]:
        """What of it is not the default, as an address says it."""
        defaults = {field.name: field.default for field in fields(self)}
        values = asdict(self) | changed
        return {name: _text(value) for name, value in values.items() if value != defaults[name]}

    def query(self, **changed: Any) -> str:
        return urlencode(self.said(**changed))

    @property
    def first_columns(self) -> str:
        """What the first chart needs, as its module asks for it: the page has it sent before the module is there."""
        if self.show == "steps" or self.measure is not None:
            return ""
        return ",".join([next(iter(CHARTS)) if self.show == "four" else self.show, *X_COLUMNS.get(self.x, [])])

    @property
    def outcome(self) -> Outcome:
        return OUTCOMES[self.metric]

    @property
    def grouping(self) -> str:
        """What the table of groups is by: the seeds where the curves are not grouped."""
        return self.group or settings_diff.SEEDS


def _typed(name: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return text == "1"
        if isinstance(default, float):
            number = float(text)
            return min(max(number, 0.0), MOST_SMOOTHING) if math.isfinite(number) else default
        if isinstance(default, int):
            return max(int(text), default)
    except ValueError:
        return default
    return text[:1000] or default


def _text(value: Any) -> str:
    return "1" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
