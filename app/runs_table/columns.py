"""The columns that a table of runs can have: what they are called, how SQL finds them, how a person reads them.

    columns.COLUMNS               every column by its key, in the order in which they are offered
    columns.get("lr")             one of them, also by an alias ("accuracy"); None where there is none

A column's `sql` is an expression over the table `listed` of the module `listed`; `value` takes the same thing out of a
`RunOut`. Sorting, filters, groups, the exports and the comparison are all made from these, so a column added here
appears in each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, case

from app.models import SOURCES, Status
from app.runs_table import folds
from app.runs_table.listed import listed
from app.schemas import RunOut
from trainer import sources
from trainer.config import OPTIONS
from trainer.models import REGISTRY
from trainer.options import Option

Kind = Literal["number", "text", "instant", "choice", "flag"]
Shown = Literal["text", "number", "general", "percent", "loss", "duration", "when", "flag"]
"""How a value is written: the names of the filters of `app.pages`."""

RUN, RESULTS = "Run", "Results"


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    label: str
    kind: Kind
    sql: ColumnElement[Any]
    value: Callable[[RunOut], Any]
    """The same value out of what pages and API show of a run; None where there is none."""
    group: str = RUN
    shown: Shown = "text"
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label) pairs, where there are only so many."""
    better: Literal["", "higher", "lower"] = ""
    """Of a result: which end is the good one."""
    is_setting: bool = False

    @property
    def numeric(self) -> bool:
        return self.kind in ("number", "instant")

    @property
    def is_measured(self) -> bool:
        """Whether a mean of it says something."""
        return self.kind == "number" and not self.is_setting and self.key != "id"

    @property
    def folded(self) -> ColumnElement[Any]:
        """Of the run that stands for its seeds: their mean, or its own value."""
        found: ColumnElement[Any] | None = listed.c.get(folds.shown(self.key))
        return self.sql if found is None else found

    @property
    def is_result(self) -> bool:
        """Whether groups show its mean, spread and best, and cells a bar."""
        return bool(self.better)


def get(key: str) -> Column | None:
    """By key or alias, whatever the case."""
    return COLUMNS.get(ALIASES.get(key.lower(), key.lower()))


def written(column: Column, value: Any) -> str:
    """A value of this column in words; numbers are left to the filters of `app.pages`."""
    if column.key == "dataset":
        return sources.label(value)
    # Of "ResNet-9: small, with BatchNorm" a cell has room for the name.
    return dict(column.choices).get(value, str(value)).partition(":")[0]


def _of(name: str) -> Callable[[RunOut], Any]:
    return lambda run: getattr(run, name)


def _run(key: str, label: str, kind: Kind, **more: Any) -> Column:
    return Column(key, label, kind, listed.c[key], _of(key), **more)


def _result(key: str, label: str, shown: Shown, better: str = "", help: str = "") -> Column:
    return Column(key, label, "number", listed.c[key], _of(key), RESULTS, shown, help, better=better)  # type: ignore[arg-type]


def _setting(option: Option) -> Column:
    kind: Kind = {"integer": "number", "number": "number", "choice": "choice", "boolean": "flag"}.get(
        option.kind, "text"
    )  # type: ignore[assignment]
    shown: Shown = {"number": "general", "flag": "flag"}.get(kind, "text")  # type: ignore[assignment]
    if option.kind == "integer" and option.name != "seed":
        shown = "number"
    return Column(
        option.name, _label(option), kind, listed.c[option.name], _from_config(option),
        option.group, shown, option.help, option.choices, is_setting=True,
    )  # fmt: skip


def _from_config(option: Option) -> Callable[[RunOut], Any]:
    return lambda run: run.config.get(option.name) if option.applies_to(run.config) else None


_SHORT = {"arch": "Network", "lr": "LR", "batch_size": "Batch", "dataset": "Data set"}


def _label(option: Option) -> str:
    """Short, as headings are; a setting that only one network has is called after it."""
    for item in REGISTRY.values():
        if option in item.options:
            return f"{item.label.partition(':')[0]} {option.label.lower()}"
    return _SHORT.get(option.name, option.label)


_STATUSES = tuple((str(status), str(status)) for status in Status)

_ALL = (
    Column("id", "Number", "number", listed.c.run_id, _of("id"), shown="general", help="Counts up from the first run."),
    _run("name", "Name", "text"),
    Column(
        "status", "Status", "choice", listed.c.status, lambda run: str(run.status), choices=_STATUSES,
        help="queued, running, finished, cancelled or failed",
    ),
    _run("reason", "Ended because", "text", help="completed, early_stopped, cancelled, diverged, ..."),
    Column(
        "source", "Source", "choice", listed.c.source, lambda run: str(run.source),
        choices=tuple((str(source), label) for source, label in SOURCES.items()),
        help="fitroom, or what the run was imported from.",
    ),
    _run("created_at", "Created", "instant", shown="when"),
    _run("started_at", "Started", "instant", shown="when"),
    _run("finished_at", "Ended", "instant", shown="when"),
    _run("duration_s", "Duration", "number", shown="duration", help="From the first start to the end."),
    _run("starred", "Starred", "flag", shown="flag"),
    _run("config_key", "Configuration", "text", help="The same for all seeds of one configuration."),
    _run("device_name", "Device name", "text"),
    _run("parameters", "Parameters", "number", shown="number"),
    _run("train_samples", "Images trained on", "number", shown="number"),
    _run("attempt", "Attempts", "number", shown="number", help="How often a worker has taken it."),
    _result("best_val_accuracy", "Best acc", "percent", "higher", "The best validation accuracy of any epoch."),
    _result("val_accuracy", "Last acc", "percent", "higher", "The validation accuracy after the last epoch."),
    _result("train_accuracy", "Train acc", "percent", "higher", "The training accuracy of the last epoch."),
    _result("val_loss", "Val loss", "loss", "lower", "The validation loss after the last epoch."),
    _result("train_loss", "Train loss", "loss", "lower", "The training loss of the last epoch."),
    Column(
        "overfit", "Gap", "number", listed.c.train_accuracy - listed.c.val_accuracy,
        lambda run: None if run.train_accuracy is None or run.val_accuracy is None
        else run.train_accuracy - run.val_accuracy,
        RESULTS, "percent", "Training accuracy less validation accuracy, after the last epoch.",
    ),
    _result("best_epoch", "Best epoch", "number"),
    _result("epochs_done", "Epochs done", "number"),
    Column(
        "progress", "Progress", "number", listed.c.epochs_done * 1.0 / case((listed.c.epochs > 0, listed.c.epochs)),
        lambda run: run.epochs_done / run.epochs if run.epochs else None, RESULTS, "percent", "Epochs done, of all.",
    ),
    _result("images_per_s", "Images/s", "number", "higher", "Training images a second, in the last epoch."),
    *(_setting(option) for option in OPTIONS.values()),
)  # fmt: skip

COLUMNS: dict[str, Column] = {column.key: column for column in _ALL}
ALIASES = {
    "created": "created_at", "started": "started_at", "ended": "finished_at", "finished": "finished_at",
    "duration": "duration_s", "time": "duration_s", "star": "starred", "config": "config_key",
    "accuracy": "best_val_accuracy", "acc": "best_val_accuracy", "best": "best_val_accuracy",
    "last_accuracy": "val_accuracy", "loss": "val_loss", "network": "arch", "model": "arch", "batch": "batch_size",
    "data": "dataset", "number": "id", "run": "id",
}  # fmt: skip
"""Other words for a column, for those who type."""
EXTRAS = {"curve": "Curve", "tags": "Tags", "notes": "Notes"}
"""What a table can show besides, by which it cannot be sorted."""
DEFAULT = (
    "name", "status", "curve", "arch", "optimizer", "lr", "batch_size", "epochs", "best_val_accuracy", "val_accuracy",
    "val_loss", "duration_s", "started_at",
)  # fmt: skip
"""The columns of a table that nobody has changed."""
