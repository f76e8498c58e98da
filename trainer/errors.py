"""What can go wrong in a training run, each with a message for a person.

    TrainerError
    ├── ConfigError        a hyper-parameter, or several together, cannot be trained with
    ├── DataError          the data set is missing or is not what it says
    │   ├── DataMissing    it is not on this machine; the message says how to get it
    │   └── IngestError    a file that was brought in cannot be read; the message says where
    ├── ProcessLost        one of several training processes ended unexpectedly
    ├── DeviceError        the asked-for device is not there
    ├── OutOfMemory        the device's memory does not hold the run; the message says what to lower
    ├── Diverged           the loss became NaN or infinite
    └── CheckpointError    a checkpoint cannot be read, or belongs to another configuration

`reason` is a short machine-readable word that is stored with a failed run.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path


def within(path: Path) -> str:
    """A path as messages name it: its end. They are shown to people who need not know where a server keeps its data."""
    return "/".join(path.parts[-3:])


class TrainerError(Exception):
    """Base of everything that `trainer` raises on purpose; `str(error)` is a sentence for the user."""

    reason = "error"


class ConfigError(TrainerError):
    """One or more fields of a `TrainConfig` are wrong; `errors` maps field name to sentence."""

    reason = "config"

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.errors.items()))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[dict[str, str]]]:
        """For the way from one process to another."""
        return type(self), (self.errors,)


class DataError(TrainerError):
    reason = "data"


class DataMissing(DataError):
    reason = "data_missing"


class IngestError(DataError):
    """A file that someone brought cannot become a data set; `str(error)` names file, line and column, or entry.

    Lines and columns count from 1. `field` is the choice that does not fit, where one is to blame.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        column_name: str | None = None,
        entry: str | None = None,
        field: str | None = None,
    ) -> None:
        self.problem, self.file, self.line, self.column = problem, file, line, column
        self.column_name, self.entry, self.field = column_name, entry, field
        named = f" ({legible(column_name)})" if column_name else ""
        where = [
            legible(file) if file else "",
            f"line {line}" if line else "",
            f"column {column}{named}" if column else "",
            f"entry {legible(entry)}" if entry else "",
        ]
        place = ", ".join(part for part in where if part)
        super().__init__(f"{place}: {problem}" if place else problem)

    def to_dict(self) -> dict[str, str | int | None]:
        """As it goes from one process to another; `message` is the whole sentence."""
        names = ("problem", "file", "line", "column", "column_name", "entry", "field")
        return {"message": str(self), **{name: getattr(self, name) for name in names}}


def legible(name: str, longest: int = 80) -> str:
    """A name that a stranger chose, for a sentence: one line, no control or direction characters, not too long."""
    plain = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in name)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


class ProcessLost(TrainerError):
    reason = "process_lost"


class DeviceError(TrainerError):
    reason = "device"


class OutOfMemory(TrainerError):
    reason = "out_of_memory"


class Diverged(TrainerError):
    reason = "diverged"


class CheckpointError(TrainerError):
    reason = "checkpoint"


_BY_REASON: dict[str, type[TrainerError]] = {
    kind.reason: kind
    for kind in (DataError, DataMissing, ProcessLost, DeviceError, OutOfMemory, Diverged, CheckpointError)
}


def to_json(error: TrainerError) -> str:
    """For a file that another process reads."""
    errors = error.errors if isinstance(error, ConfigError) else None
    return json.dumps({"reason": error.reason, "message": str(error), "errors": errors})


def from_json(text: str) -> TrainerError:
    """What `to_json` was given: its reason, its sentence, and its fields where it has some."""
    told = json.loads(text)
    if told["errors"] is not None:
        return ConfigError(told["errors"])
    return _BY_REASON.get(told["reason"], TrainerError)(told["message"])
