"""`TrainConfig`: every hyper-parameter of a run, its limits and its words. Standard library only.

The form, the JSON API and the command line are all made from `OPTIONS`, so a field added here appears in each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from trainer.errors import ConfigError

Kind = Literal["integer", "number", "choice", "device"]


@dataclass(frozen=True, slots=True)
class Option:
    """How one field of `TrainConfig` is asked for, explained and limited."""

    name: str
    label: str
    help: str
    group: str
    kind: Kind
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """An exclusive lower limit."""
    below: float | None = None
    """An exclusive upper limit."""
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label) pairs of a `choice`."""
    optional: bool = False
    """Whether it may be left empty (None)."""
    empty: str = ""
    """What empty means, e.g. "all"."""


def _option(default: Any, *, label: str, help: str, group: str, kind: Kind, **limits: Any) -> Any:
    metadata = {"label": label, "help": help, "group": group, "kind": kind, **limits}
    return field(default=default, metadata=metadata)


DATA, MODEL, OPTIMISATION, EXECUTION = "Data", "Model", "Optimisation", "Execution"
_DEVICE = re.compile(r"auto|cpu|cuda:\d{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run's hyper-parameters; the defaults are the Fashion-MNIST tutorial's.

    Raises `ConfigError` (errors by field) when it is made with values that cannot be trained with.
    """

    dataset: str = _option(
        "fashion-mnist",
        label="Data set",
        help="The images to learn from.",
        group=DATA,
        kind="choice",
        choices=(("fashion-mnist", "Fashion-MNIST"),),
    )
    train_size: int | None = _option(
        None,
        label="Training images",
        help="A fixed random subset of this size; empty takes all.",
        group=DATA,
        kind="integer",
        minimum=1,
        maximum=100_000_000,
        optional=True,
        empty="all",
    )
    val_size: int | None = _option(
        None,
        label="Validation images",
        help="A fixed random subset of this size; empty takes all.",
        group=DATA,
        kind="integer",
        minimum=1,
        maximum=100_000_000,
        optional=True,
        empty="all",
    )
    image_size: int = _option(
        28,
        label="Image size",
        help="Pixels a side; images of another size are resized.",
        group=DATA,
        kind="integer",
        minimum=16,
        maximum=224,
    )
    arch: str = _option(
        "net",
        label="Architecture",
        help="The network to train.",
        group=MODEL,
        kind="choice",
        choices=(("net", "Net: the tutorial's CNN"),),
    )
    dropout: float = _option(
        0.3,
        label="Dropout",
        help="Share of activations set to zero in training; 0 turns it off.",
        group=MODEL,
        kind="number",
        minimum=0.0,
        below=1.0,
    )
    epochs: int = _option(
        20,
        label="Epochs",
        help="Passes over the training images.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=10_000,
    )
    batch_size: int = _option(
        256,
        label="Batch size",
        help="Images per step.",
        group=OPTIMISATION,
        kind="integer",
        minimum=1,
        maximum=65_536,
    )
    optimizer: str = _option(
        "adam",
        label="Optimizer",
        help="How the gradients become a step.",
        group=OPTIMISATION,
        kind="choice",
        choices=(
            ("adam", "Adam"),
            ("adamw", "AdamW"),
            ("sgd", "SGD, momentum 0.9"),
            ("rmsprop", "RMSprop"),
        ),
    )
    lr: float = _option(
        1e-3,
        label="Learning rate",
        help="Step size of the optimizer.",
        group=OPTIMISATION,
        kind="number",
        above=0.0,
        maximum=10.0,
    )
    seed: int = _option(
        0,
        label="Seed",
        help="Same seed, same device, same curves.",
        group=EXECUTION,
        kind="integer",
        minimum=0,
        maximum=2**32 - 1,
    )
    device: str = _option(
        "auto",
        label="Device",
        help="Auto takes the first GPU, else the CPU.",
        group=EXECUTION,
        kind="device",
    )
    loading: str = _option(
        "auto",
        label="Loading",
        help="Resident keeps the whole set in the device's memory; DataLoader reads it with worker processes.",
        group=EXECUTION,
        kind="choice",
        choices=(("auto", "Auto"), ("resident", "Resident"), ("dataloader", "DataLoader")),
    )
    num_workers: int = _option(
        4,
        label="Data workers",
        help="Processes that read batches ahead, where the DataLoader is used.",
        group=EXECUTION,
        kind="integer",
        minimum=0,
        maximum=32,
    )

    def __post_init__(self) -> None:
        errors = validate(asdict(self))
        if errors:
            raise ConfigError(errors)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The reverse of `to_dict`; fields that are not there take their default. Raises `ConfigError`."""
        unknown = {name: "is not a setting of a run." for name in values if name not in OPTIONS}
        if unknown:
            raise ConfigError(unknown)
        return cls(**values)


OPTIONS: dict[str, Option] = {
    item.name: Option(name=item.name, default=item.default, **item.metadata) for item in fields(TrainConfig)
}


def validate(values: Mapping[str, Any]) -> dict[str, str]:
    """Sentences by field for what is wrong with a full set of values; empty when all is well."""
    errors = {
        name: message
        for name, option in OPTIONS.items()
        if (message := check(option, values.get(name, option.default))) is not None
    }
    return errors or _check_together(values)


def check(option: Option, value: Any) -> str | None:
    """A sentence on what is wrong with one value, or None."""
    if value is None:
        return None if option.optional else "Must not be empty."
    if option.kind == "choice":
        allowed = [choice for choice, _ in option.choices]
        return None if value in allowed else f"Must be one of {', '.join(allowed)}."
    if option.kind == "device":
        good = isinstance(value, str) and _DEVICE.fullmatch(value)
        return None if good else "Must be auto, cpu or cuda:0, cuda:1, ..."
    whole = option.kind == "integer"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "Must be a whole number." if whole else "Must be a number."
    if isinstance(value, float) and not math.isfinite(value):
        return "Must be a finite number."
    return _check_limits(option, value)


def _check_limits(option: Option, value: float) -> str | None:
    if option.minimum is not None and value < option.minimum:
        return f"Must be at least {option.minimum:,}."
    if option.maximum is not None and value > option.maximum:
        return f"Must be at most {option.maximum:,}."
    if option.above is not None and value <= option.above:
        return f"Must be greater than {option.above:g}."
    if option.below is not None and value >= option.below:
        return f"Must be less than {option.below:g}."
    return None


def _check_together(values: Mapping[str, Any]) -> dict[str, str]:
    train_size, batch_size = values.get("train_size"), values.get("batch_size")
    if train_size is not None and batch_size is not None and batch_size > train_size:
        return {
            "batch_size": f"Is larger than the {train_size:,} training images: "
            "the last incomplete batch is dropped, so nothing would be trained."
        }
    return {}
