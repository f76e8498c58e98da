"""The tables. A run's row is written by `app.runs`, everything that training tells by `app.recording`."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from app.db import UtcDateTime
from app.runs_table.folding import config_key


class Status(enum.StrEnum):
    QUEUED = "queued"
    """Waits for a worker."""
    RUNNING = "running"
    """A worker holds it and trains."""
    CANCELLED = "cancelled"
    """A person ended it; its history is kept."""
    FINISHED = "finished"
    """All epochs are done."""
    FAILED = "failed"
    """It ended without finishing; `reason` and `message` say why."""

    @property
    def over(self) -> bool:
        return self in (Status.CANCELLED, Status.FINISHED, Status.FAILED)


class Source(enum.StrEnum):
    """Where a run's history was made."""

    FITROOM = "fitroom"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    CSV = "csv"


SOURCES = {
    Source.FITROOM: "Fitroom", Source.TENSORBOARD: "TensorBoard", Source.MLFLOW: "MLflow", Source.CSV: "CSV",
}  # fmt: skip
"""As people read them."""


class Role(enum.StrEnum):
    """What a person may do; each may what those before may."""

    VIEWER = "viewer"
    """Look at everything, and try networks on images."""
    TRAINER = "trainer"
    """Start, cancel and delete runs."""
    ADMIN = "admin"
    """See who did what."""

    def includes(self, other: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012


def _one_of(column: str, words: type[enum.StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=f"{column}_is_known")


def _setting(name: str, type_: str) -> Any:
    """A column that reads one hyper-parameter out of `config`, so that SQL can sort by it and nothing is kept twice."""
    return mapped_column(Computed(f"CAST(json_extract(config, '$.{name}') AS {type_})", persisted=False))


def _key_of_config(context: Any) -> str:
    return config_key(context.get_current_parameters()["config"])


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        _one_of("status", Status),
        Index("ix_runs_status_id", "status", "id"),
        Index("ix_runs_dataset_id", "dataset", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    notes: Mapped[str] = mapped_column(Text, default="")
    config: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), default=Status.QUEUED)
    reason: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str | None] = mapped_column(Text)
    cancel_requested: Mapped[bool] = mapped_column(default=False)

    attempt: Mapped[int] = mapped_column(default=0)
    """Counts the claims. Every write of a worker names the attempt it holds, so an old owner cannot write."""
    times_lost: Mapped[int] = mapped_column(default=0)
    """How often a worker was lost while it held this run."""
    worker: Mapped[str | None] = mapped_column(String(120))
    heartbeat_at: Mapped[datetime | None]

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    facts: Mapped[dict[str, Any] | None]
    """The `Started` event of the latest attempt: device, parameters, classes, sample counts."""
    source: Mapped[str] = mapped_column(String(16), default=Source.FITROOM, server_default=Source.FITROOM)
    source_key: Mapped[str | None] = mapped_column(String(80), unique=True, index=True)
    """Of an imported run: the same whenever the same run is imported again."""
    source_info: Mapped[dict[str, Any] | None]
    """Of an imported run: where it lay, and the settings that Fitroom has no name for."""
    starred: Mapped[bool] = mapped_column(default=False, server_default=false())
    archived: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Out of the table's way until asked for."""
    config_key: Mapped[str | None] = mapped_column(String(16), default=_key_of_config)
    """The same for all seeds of one configuration: `app.runs_table.folding`."""

    epochs_done: Mapped[int] = mapped_column(default=0)
    best_epoch: Mapped[int | None]
    best_val_accuracy: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    train_loss: Mapped[float | None]
    images_per_s: Mapped[float | None]
    epoch_seconds: Mapped[float | None]
    epoch_finished_at: Mapped[datetime | None]
    spark: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The curve of validation accuracies in small: `app.runs_table.sparks`."""

    dataset: Mapped[str | None] = _setting("dataset", "TEXT")
    arch: Mapped[str | None] = _setting("arch", "TEXT")
    optimizer: Mapped[str | None] = _setting("optimizer", "TEXT")
    lr: Mapped[float | None] = _setting("lr", "REAL")
    batch_size: Mapped[int | None] = _setting("batch_size", "INTEGER")
    epochs: Mapped[int | None] = _setting("epochs", "INTEGER")

    tags: Mapped[list[Tag]] = relationship(lazy="selectin", order_by="Tag.name", cascade="all, delete-orphan")


class Tag(Base):
    __tablename__ = "tags"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True, index=True)


class Epoch(Base):
    """One row per epoch done; a replay writes the same key again.

    A value that is not finite is NULL, and `diverged` is set.
    """

    __tablename__ = "epochs"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    train_loss: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    lr: Mapped[float | None]
    seconds: Mapped[float | None]
    train_seconds: Mapped[float | None]
    images_per_s: Mapped[float | None]
    data_s: Mapped[float | None]
    compute_s: Mapped[float | None]
    validation_s: Mapped[float | None]
    recording_s: Mapped[float | None]
    """Where its time went, as `trainer.events.Timings` splits it; NULL in rows of older versions.

    Of an imported run NULL too, and so may be what stands above.
    """
    finished_at: Mapped[datetime]
    diverged: Mapped[bool] = mapped_column(default=False)


class StepBlock(Base):
    """Training losses of consecutive steps, float32 little-endian; joined to one row when their epoch is done."""

    __tablename__ = "step_blocks"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    first_step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    attempt: Mapped[int]
    losses: Mapped[bytes] = mapped_column(LargeBinary)


class SeriesRow(Base):
    """A measure of an imported run that Fitroom has no column for, under the name it came with.

    Steps are int64, values float64, times (Unix seconds, where they are known) float64, all little-endian.
    """

    __tablename__ = "series"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(250), primary_key=True)
    steps: Mapped[bytes] = mapped_column(LargeBinary)
    values: Mapped[bytes] = mapped_column(LargeBinary)
    times: Mapped[bytes | None] = mapped_column(LargeBinary)


class EpochPredictions(Base):
    """What the model said of each validation sample after an epoch; encoded as `trainer.events.Predictions` says."""

    __tablename__ = "predictions"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    classes: Mapped[bytes] = mapped_column(LargeBinary)
    confidences: Mapped[bytes] = mapped_column(LargeBinary)


class Checkpoint(Base):
    __tablename__ = "checkpoints"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    bytes: Mapped[int]
    best: Mapped[bool]
    saved_at: Mapped[datetime]


class Change(Base):
    """The journal that live pages follow: its ids only grow and are the cursor of every stream.

    `kind` says what changed and `ref` which part (an epoch, a first step); a log line carries its own `data`.
    There is no foreign key to runs: a deletion is a change too, and is read after the run is gone.
    """

    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_run_id_id", "run_id", "id"),
        Index("ix_changes_run_id_kind_ref", "run_id", "kind", "ref"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    ref: Mapped[int | None]
    data: Mapped[dict[str, Any] | None]
    at: Mapped[datetime]


class WorkerRow(Base):
    """A worker that has announced itself: what it runs on, and when it was last heard of."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    pid: Mapped[int]
    host: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    info: Mapped[dict[str, Any] | None]


class User(Base):
    """A person with a password."""

    __tablename__ = "users"
    __table_args__ = (_one_of("role", Role),)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class SignIn(Base):
    """What a browser's cookie or an API token proves. The secret itself is not here, only its digest."""

    __tablename__ = "sign_ins"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str | None] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"), index=True)
    """None for who came in by the server's token."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """None for an API token, which stays until it is ended."""


LONGEST_ACTION = 16
"""Characters of what the audit trail calls something that was done; the page's filter takes no more."""


class AuditEntry(Base):
    """One line of who did what. There is no foreign key to runs: a deletion is told after the run is gone."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(LONGEST_ACTION))
    run_id: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(Text)


class View(Base):
    """A view of the table of runs under a name: what stands behind the `?` of its address."""

    __tablename__ = "views"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    address: Mapped[str] = mapped_column(Text)
    saved_by: Mapped[str] = mapped_column(String(40))
    saved_at: Mapped[datetime]
