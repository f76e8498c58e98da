"""What other tools call things, as Fitroom calls them: measures, settings, and which step is which epoch.

A measure that is recognised (`val_acc`, `train/loss`, `epoch_accuracy` below `validation/`, `lr-Adam`) becomes a column
of the epochs. Every other one, and one that is denser than the epochs, is kept beside them as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.exchange.past import Floats, Integers, PastRun, Series, finite
from app.forms import typed
from trainer.config import OPTIONS

MOST_EPOCHS = 10_000

_MEASURES = {"loss": "loss", "acc": "accuracy", "accuracy": "accuracy"}
_SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "eval", "evaluation", "dev", "test"), "val"
)
_PREFERRED = ("val", "valid", "validation", "eval", "evaluation", "dev", "test")
_SAY_NOTHING = {"epoch", "mean", "avg", "average", "metric", "metrics", "sparse", "categorical"}
_OF_LR = {"lr", "learning", "rate", "train", "epoch", "optimizer", "opt", "adam", "adamw", "sgd", "rmsprop", "pg0"}
_OF_SPEED = {"images", "samples", "examples", "train", "training", "throughput", "img"}
_SECONDS = ({"per", "second"}, {"per", "sec"}, {"per", "s"}, {"sec"}, {"s"})

_SETTINGS = {
    "learningrate": "lr", "initiallr": "lr", "initlr": "lr", "baselr": "lr", "bs": "batch_size", "batch": "batch_size",
    "trainbatchsize": "batch_size", "numepochs": "epochs", "nepochs": "epochs", "maxepochs": "epochs",
    "totalepochs": "epochs", "opt": "optimizer", "wd": "weight_decay", "l2": "weight_decay", "randomseed": "seed",
    "randomstate": "seed", "model": "arch", "network": "arch", "architecture": "arch", "droprate": "dropout",
    "dropoutrate": "dropout", "earlystoppingpatience": "patience", "lrschedule": "schedule", "scheduler": "schedule",
    "smoothing": "label_smoothing", "maxgradnorm": "grad_clip", "gradclip": "grad_clip",
}  # fmt: skip


@dataclass(slots=True)
class Mapped:
    """A past run in Fitroom's terms."""

    columns: dict[str, Floats]
    """Of each epoch that `numbers` counts; NaN where a value is missing or was not finite."""
    numbers: Integers
    times: Floats | None
    names: dict[str, str]
    """Column and the measure that it comes from."""
    kept: dict[str, Series]
    """Measures that stay what they are."""
    config: dict[str, Any]
    other_settings: dict[str, Any]
    results: dict[str, float] = field(default_factory=dict)
    """Single numbers by column."""
    diverged: set[int] = field(default_factory=set)
    """Epochs in which a value was there, but not finite."""
    remarks: list[str] = field(default_factory=list)


def of(run: PastRun) -> Mapped:
    """Take a past run apart; nothing of it is lost."""
    config, other = _settings(run.settings)
    chosen = _chosen(run.series)
    axis = _axis(run.series, chosen)
    if axis is None:
        mapped = Mapped({}, np.empty(0, np.int64), None, {}, dict(run.series), config, other)
    else:
        mapped = _on(axis, run.series, chosen, config, other)
    _take_results(run, mapped)
    last = int(mapped.numbers[-1]) if len(mapped.numbers) else 0
    mapped.config["epochs"] = max(mapped.config.get("epochs", 0), last)
    return mapped


def column_of(name: str) -> str | None:
    """The column of the epochs that a measure of this name belongs to."""
    words = _words(name)
    rest = words - _SAY_NOTHING
    measures = {_MEASURES[word] for word in rest if word in _MEASURES}
    splits = {_SPLITS[word] for word in rest if word in _SPLITS}
    if len(measures) == 1 and len(splits) <= 1 and not rest - set(_MEASURES) - set(_SPLITS):
        return f"{(splits or {'train'}).pop()}_{measures.pop()}"
    if words <= _OF_LR and ("lr" in words or {"learning", "rate"} <= words):
        return "lr"
    if any(unit <= words and words - unit and words - unit <= _OF_SPEED for unit in _SECONDS):
        return "images_per_s"
    return None


def _words(name: str) -> set[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return set(filter(None, re.split(r"[^a-z0-9]+", parted.lower())))


def _chosen(series: Mapping[str, Series]) -> dict[str, str]:
    """Of each column the measure that tells it best: named as Fitroom does, then validation before test."""
    found: dict[str, list[str]] = {}
    for name in series:
        column = column_of(name)
        if column:
            found.setdefault(column, []).append(name)
    return {column: min(names, key=lambda name: _rank(name, column)) for column, names in found.items()}


def _rank(name: str, column: str) -> tuple[bool, int, int, str]:
    words = _words(name)
    place = next((place for place, word in enumerate(_PREFERRED) if word in words), 0)
    return name != column, place, len(words), name


def _axis(series: Mapping[str, Series], chosen: Mapping[str, str]) -> Series | None:
    """The measure whose steps are the epochs: one of validation; without any, one that is told once an epoch."""
    for column in ("val_accuracy", "val_loss", "train_accuracy", "train_loss"):
        if column in chosen:
            found = series[chosen[column]]
            by_epoch = column.startswith("val") or "epoch" in _words(chosen[column]) or _counts(found.steps)
            if by_epoch and len(found) <= MOST_EPOCHS:
                return found
    return None


def _counts(steps: Integers) -> bool:
    """Whether these are 0, 1, 2, ... or 1, 2, 3, ..."""
    return bool(len(steps)) and bool(steps[0] in (0, 1)) and bool((np.diff(steps) == 1).all())


def _on(
    axis: Series, series: Mapping[str, Series], chosen: Mapping[str, str], config: dict[str, Any], other: dict[str, Any]
) -> Mapped:
    mapped = Mapped({}, _numbers(axis.steps, config), axis.times, {}, {}, config, other)
    for column, name in chosen.items():
        values, missing = _at(axis.steps, series[name], mean=column.startswith("train"))
        mapped.columns[column] = _as_fraction(column, name, values, mapped)
        mapped.names[column] = name
        mapped.diverged |= set(mapped.numbers[np.isnan(values) & ~missing].tolist())
    exact = {name for name in chosen.values() if set(series[name].steps.tolist()) <= set(axis.steps.tolist())}
    mapped.kept = {name: found for name, found in series.items() if name not in exact}
    return mapped


def _numbers(steps: Integers, config: Mapping[str, Any]) -> Integers:
    """Epochs count from 1: steps that are numbers of epochs stay what they are, others are counted in their order."""
    first, last = int(steps[0]), int(steps[-1])
    whole = config.get("epochs", 0)
    if first == 0 and (_counts(steps) or last < whole):
        return steps + 1
    if first >= 1 and (_counts(steps) or (last <= whole and last <= MOST_EPOCHS)):
        return steps
    return np.arange(1, len(steps) + 1)


def _at(axis: Integers, series: Series, *, mean: bool) -> tuple[Floats, np.ndarray[Any, np.dtype[np.bool_]]]:
    """A measure at the steps of the axis, and where it says nothing.

    Of one that is denser, what came since the step before: its mean, or its last value.
    """
    ends = np.searchsorted(series.steps, axis, side="right")
    starts = np.concatenate([[0], ends[:-1]])
    values = np.full(len(axis), np.nan)
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if end > start:
            values[place] = series.values[start:end].mean() if mean else series.values[end - 1]
    return values, ends == starts


def _as_fraction(column: str, name: str, values: Floats, mapped: Mapped) -> Floats:
    """Accuracies are fractions here; others write them in per cent."""
    most = np.nanmax(values, initial=0.0) if column.endswith("accuracy") else 0.0
    if not 1.5 < most <= 100:
        return values
    mapped.remarks.append(f"{name} is in per cent and is kept as a fraction.")
    return values / 100


def _take_results(run: PastRun, mapped: Mapped) -> None:
    for name, value in run.results.items():
        column = name if name in _TOTALS else column_of(name)
        if column is None:
            mapped.other_settings[name] = value
        elif not _can_be(column, value):
            mapped.remarks.append(f"{name} is left out where it is {value:g}.")
        elif column.endswith("accuracy") and 1.5 < value <= 100:
            mapped.remarks.append(f"{name} is in per cent and is kept as a fraction.")
            mapped.results[column] = value / 100
        else:
            mapped.results.setdefault(column, value)


_COUNTS = ("best_epoch", "epochs_done")
_TOTALS = ("best_val_accuracy", *_COUNTS)


def _can_be(column: str, value: float) -> bool:
    return finite(value) is not None and (column not in _COUNTS or 0 <= value < 2**31)


def _settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that Fitroom has, under its names, and the others as they are."""
    config: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for name, value in values.items():
        found = next(((key, known) for key, known in _known(name, value) if key not in config), None)
        if found is None:
            other[name] = value
        else:
            config[found[0]] = found[1]
    return config, other


def _known(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The setting of Fitroom that this is, with its value, if it is one that could be set here."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower().rpartition("/")[2].rpartition(".")[2])
    key = _PLAIN.get(plain, _SETTINGS.get(plain))
    if key is None or value is None:
        return
    option = OPTIONS[key]
    text = str(value).strip()
    if option.kind in ("choice", "boolean"):
        text = text.lower()
    if option.kind == "integer" and re.fullmatch(r"-?\d+\.0*", text):
        text = text.partition(".")[0]
    try:
        known = typed(option, text)
    except ValueError:
        return
    if option.check(known) is None:
        yield key, known


_PLAIN = {name.replace("_", ""): name for name in OPTIONS}
