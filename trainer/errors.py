"""What can go wrong in a training run, each with a message for a person.

    TrainerError
    ├── ConfigError        a hyper-parameter, or several together, cannot be trained with
    ├── DataError          the data set is missing or is not what it says
    │   └── DataMissing    it is not on this machine; the message says how to get it
    ├── ProcessLost        one of several training processes ended unexpectedly
    ├── DeviceError        the asked-for device is not there
    ├── OutOfMemory        the device's memory does not hold the run; the message says what to lower
    ├── Diverged           the loss became NaN or infinite
    └── CheckpointError    a checkpoint cannot be read, or belongs to another configuration

`reason` is a short machine-readable word that is stored with a failed run.
"""

from __future__ import annotations

from collections.abc import Mapping


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
