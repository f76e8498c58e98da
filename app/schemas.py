"""What the pages, the API and the streams show of a run: one shape for all three."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.data_sets.intake import Reading
from app.data_sets.uploads import Upload
from app.models import Epoch, Run, Source, Status
from trainer.presets import Preset


class RunOut(BaseModel):
    id: int
    name: str
    status: Status
    config: dict[str, Any] = Field(description="Every hyper-parameter, as submitted.")
    tags: list[str]
    notes: str
    source: Source = Field(description="Where its history was made: fitroom, or what it was imported from.")
    source_info: dict[str, Any] | None = Field(description="Of an imported run: where it lay, its other settings.")
    starred: bool
    archived: bool
    config_key: str | None = Field(description="The same for all seeds of one configuration.")
    attempt: int = Field(description="How often a worker has taken it.")
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None = Field(description="From the first start to the end, or to now.")
    reason: str | None = Field(description="One word on how it ended, e.g. completed, diverged, data_missing.")
    message: str | None = Field(description="A sentence on how it ended.")
    device: str | None
    device_name: str | None
    parameters: int | None
    classes: list[str]
    train_samples: int | None
    val_samples: int | None
    steps_per_epoch: int | None
    epochs: int
    epochs_done: int
    eta_s: float | None = Field(description="Seconds left, from the pace of the last epoch.")
    best_epoch: int | None
    best_val_accuracy: float | None
    val_accuracy: float | None
    val_loss: float | None
    train_accuracy: float | None
    train_loss: float | None
    images_per_s: float | None
    precision: str | None
    flops_per_image: int | None = Field(description="Of one training image, forward and backward.")
    matmul_flops_per_s: float | None = Field(description="What a large matrix product reached on the device.")

    @property
    def over(self) -> bool:
        return self.status.over

    @property
    def imported(self) -> bool:
        return self.source is not Source.FITROOM

    @classmethod
    def of(cls, run: Run, *, now: datetime) -> RunOut:
        facts = run.facts or {}
        same = {name: getattr(run, name) for name in _SAME}
        known = {name: facts.get(name) for name in _FACTS}
        return cls.model_validate(
            same
            | known
            | {
                "status": run.status,
                "epochs": run.config["epochs"],
                "tags": [tag.name for tag in run.tags],
                "classes": facts.get("classes", []),
                "duration_s": _seconds(run.started_at, run.finished_at or now),
                "eta_s": _seconds_left(run, now),
            }
        )


# Named alike in the row and here.
_SAME = (
    *(
        "id",
        "name",
        "config",
        "notes",
        "source",
        "source_info",
        "starred",
        "archived",
        "config_key",
        "attempt",
        "cancel_requested",
    ),
    *("created_at", "started_at", "finished_at"),
    *("reason", "message", "epochs_done", "best_epoch", "best_val_accuracy", "val_accuracy", "val_loss"),
    *("train_accuracy", "train_loss", "images_per_s"),
)
_FACTS = (
    *("device", "device_name", "parameters", "train_samples", "val_samples", "steps_per_epoch"),
    *("precision", "flops_per_image", "matmul_flops_per_s"),
)


class EpochOut(BaseModel):
    """One epoch's row; a value is null where it was not finite, and then `diverged` is true."""

    model_config = ConfigDict(from_attributes=True)

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    lr: float | None = Field(description="Null, as what follows, where an imported run does not say.")
    seconds: float | None
    images_per_s: float | None
    data_s: float | None = Field(description="Of its seconds: waiting for batches.")
    compute_s: float | None = Field(description="Transforms, forward, backward and optimizer.")
    validation_s: float | None
    recording_s: float | None = Field(description="Writing down what the training told.")
    finished_at: datetime
    diverged: bool

    @classmethod
    def all_of(cls, rows: Iterable[Epoch]) -> list[EpochOut]:
        return [cls.model_validate(row) for row in rows]


class StepsOut(BaseModel):
    """Consecutive steps' training losses: `losses[i]` belongs to step `first_step + i`; null where not finite."""

    model_config = ConfigDict(from_attributes=True)

    epoch: int
    first_step: int
    attempt: int
    losses: list[float | None]


class MetricsOut(BaseModel):
    cursor: int = Field(description="Hand it to the event stream as `after` to get what comes next.")
    epochs: list[EpochOut]
    steps: list[StepsOut]


class RunsOut(BaseModel):
    total: int
    runs: list[RunOut]


class ManyIn(BaseModel):
    """One thing to do to many runs."""

    model_config = ConfigDict(json_schema_extra={"example": {"action": "archive", "runs": [3, 5]}})

    action: str = Field(description="cancel, again, tag, untag, star, unstar, archive, unarchive or delete.")
    runs: list[Annotated[int, Field(gt=0, lt=2**63)]] = Field([], description="Their numbers.")
    address: str | None = Field(
        None,
        max_length=8000,
        description="Instead of them: all runs of the table at this address, as `filter=lr+<+0.1`.",
    )
    tag: str = Field("", description="Of tag and untag.")


class ViewIn(BaseModel):
    address: str = Field(max_length=8000, examples=["filter=lr+<+0.01&sort=-best_val_accuracy"])


class ViewOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    address: str = Field(description="What stands behind the `?` of the table's address.")
    saved_by: str
    saved_at: datetime


class PresetOut(BaseModel):
    name: str
    label: str
    help: str
    changes: dict[str, Any] = Field(description="What differs from the defaults.")

    @classmethod
    def of(cls, preset: Preset) -> PresetOut:
        return cls(name=preset.name, label=preset.label, help=preset.help, changes=dict(preset.changes))


class UploadedFileOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    filename: str
    size: int
    offset: int = Field(description="Bytes received; go on there.")
    url: str = Field(description="Where to send it.")


class ReadingOut(BaseModel):
    """What was found in uploaded files so far."""

    model_config = ConfigDict(from_attributes=True)

    stage: str = Field(description="waiting, looking, converting, checking; at last ready or failed.")
    done: int = Field(description="Of `total` bytes.")
    total: int
    choices: dict[str, Any] = Field(description="What was said about how to read it; all else is guessed.")
    guess: dict[str, Any] | None = Field(description="How it is understood: choices, shape, parts, classes, unsure.")
    converted: dict[str, Any] | None = Field(description="All of it: shape, classes, images of each class, SHA-256.")
    findings: dict[str, Any] | None = Field(description="Warnings, each with places of images that show it.")
    error: dict[str, Any] | None = Field(description="What is wrong: message, file, line, column, entry, field.")

    @classmethod
    def of(cls, reading: Reading) -> ReadingOut:
        guess = {name: value for name, value in (reading.guess or {}).items() if name != "sample"}
        return cls.model_validate(reading).model_copy(update={"guess": guess or None})


class UploadOut(BaseModel):
    """Files on their way to a data set."""

    id: str
    name: str
    who: str
    created_at: datetime
    touched_at: datetime
    complete: bool = Field(description="Whether all files are here as a whole.")
    files: list[UploadedFileOut]
    reading: ReadingOut | None = Field(description="Null before all files are here, and in lists.")

    @classmethod
    def of(cls, upload: Upload, reading: Reading | None = None) -> UploadOut:
        files = [
            UploadedFileOut(
                filename=item.filename,
                size=item.size,
                offset=item.offset,
                url=f"/api/v1/uploads/{upload.id}/files/{number}/content",
            )
            for number, item in enumerate(upload.files)
        ]
        same = ("id", "name", "who", "created_at", "touched_at", "complete")
        told = ReadingOut.of(reading) if reading else None
        return cls(files=files, reading=told, **{name: getattr(upload, name) for name in same})


class Problem(BaseModel):
    """RFC 9457 problem details; `errors` says by field what is wrong with a submission."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: dict[str, str] | None = None


def _seconds(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else max(0.0, (end - start).total_seconds())


def _seconds_left(run: Run, now: datetime) -> float | None:
    if run.status != Status.RUNNING or run.epoch_seconds is None or run.epoch_finished_at is None:
        return None
    whole: float = (run.config["epochs"] - run.epochs_done) * run.epoch_seconds
    return max(0.0, whole - (now - run.epoch_finished_at).total_seconds())
