"""Runs as TensorBoard's event files: `tensorboard --logdir` shows the curves that Fitroom shows."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.orm import Session

from app import metrics, runs
from app.db import Database
from app.exchange import series
from app.exchange.eventfile import EventWriter
from app.models import Epoch, Run

BY_EPOCH = {
    "loss/train": "train_loss",
    "loss/validation": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "val_accuracy",
    "learning rate": "lr",
    "images per second": "images_per_s",
}
"""A chart's name in TensorBoard and the column that it shows, against the number of the epoch."""
BY_STEP = "loss/train by step"
MOST_RUNS = 500
"""In one zip."""


def write_zip(db: Database, run_ids: Iterable[int], out: BinaryIO) -> None:
    """A folder with an event file for each run. Raises `RunNotFound`."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for run_id in run_ids:
            with db.read() as session:
                run = runs.get(session, run_id)
                with archive.open(f"{_folder(run)}/{_file(run)}", "w") as member:
                    _write(session, run, member)  # type: ignore[arg-type]  # a BinaryIO that only writes


def write_folder(db: Database, run_ids: Iterable[int], folder: Path) -> None:
    """The same below `folder`. A run that is there already is replaced, so that no curve is there twice.

    Raises `RunNotFound`, and OSError where the folder cannot be written.
    """
    for run_id in run_ids:
        with db.read() as session:
            run = runs.get(session, run_id)
            file = folder / _folder(run) / _file(run)
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{os.getpid()}.part")
            with part.open("wb") as out:
                _write(session, run, out)
            part.replace(file)


def _folder(run: Run) -> str:
    """A name that every file system takes; the number makes it the run's own."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:60]
    return f"{run.id:04d}-{slug}" if slug else f"{run.id:04d}"


def _file(run: Run) -> str:
    return f"events.out.tfevents.{run.created_at.timestamp():.0f}.fitroom"


def _write(session: Session, run: Run, out: BinaryIO) -> None:
    begun = (run.started_at or run.created_at).timestamp()
    epochs = metrics.epochs(session, run.id)
    writer = EventWriter(out, wall_time=begun)
    writer.hparams(run.config, begun)
    writer.text("settings", _markdown(run), begun)
    for row in epochs:
        for tag, column in BY_EPOCH.items():
            value = getattr(row, column)
            if value is not None or row.diverged:
                writer.scalar(tag, row.epoch, math.nan if value is None else value, row.finished_at.timestamp())
    _write_steps(session, run, epochs, writer)
    for name, found in series.each(session, run.id):
        times = [begun] * len(found) if found.times is None else found.times.tolist()
        for step, value, at in zip(found.steps.tolist(), found.values.tolist(), times, strict=True):
            writer.scalar(name, step, value, at)


def _write_steps(session: Session, run: Run, epochs: Sequence[Epoch], writer: EventWriter) -> None:
    """Steps have no times of their own: those of an epoch are spread evenly over its training."""
    rows = {row.epoch: row for row in epochs}
    last = run.started_at or run.created_at
    for block in metrics.each_block(session, run.id):
        begun, seconds = _training_time(rows.get(block.epoch), last)
        for place, loss in enumerate(block.losses):
            at = begun + seconds * (place + 1) / len(block.losses)
            writer.scalar(BY_STEP, block.first_step + place, math.nan if loss is None else loss, at)
        last = rows[block.epoch].finished_at if block.epoch in rows else last


def _training_time(row: Epoch | None, last: datetime) -> tuple[float, float]:
    """When an epoch's training began, in Unix seconds, and how long it took; zero where that is not known."""
    if row is None or row.seconds is None:
        return last.timestamp(), 0.0
    return row.finished_at.timestamp() - row.seconds, row.train_seconds or row.seconds


def _markdown(run: Run) -> str:
    lines = [f"| {name} | {value} |" for name, value in run.config.items()]
    tags = ", ".join(tag.name for tag in run.tags)
    about = [part for part in (f"**{run.name}**, run {run.id}", tags, run.notes) if part]
    return "\n\n".join([*about, "\n".join(["| setting | value |", "| --- | --- |", *lines])])
