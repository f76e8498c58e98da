"""A generated store, as a year of experiments would leave one: for seeing what thousands of runs do to a page.

    python -m tools.store --home /tmp/big --runs 10000

The same `--seed` gives the same settings and curves. Rows are written in bulk into a migrated database, in the shape
that `app.runs` and `app.recording` give them; there are no predictions, checkpoints or lines of logs for every epoch.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from app.config import Settings
from app.models import Change, Run, Status, Tag
from app.runs_table import sparks
from app.schema import opened
from tools import experiments
from tools.experiments import Curves

SEEDS = (1, 1, 3, 5)
"""How many seeds a configuration is tried with."""
WAITING, RUNNING = 4, 4
LONG_ONES = 0.002
"""Share of the configurations that have 100,000 steps."""
TAGS = ("baseline", "lr-sweep", "augmentation", "regularisation", "schedule", "paper", "keep", "redo")
FAILURES = (
    ("out_of_memory", "The device ran out of memory. Try a smaller batch size."),
    ("worker_lost", "Its worker was lost 3 times, so it is not tried again."),
)
EPOCH_COLUMNS = (
    "run_id, epoch, attempt, train_loss, train_accuracy, val_loss, val_accuracy, lr, seconds, train_seconds, "
    "images_per_s, data_s, compute_s, validation_s, recording_s, finished_at, diverged"
)
BLOCK_COLUMNS = "run_id, first_step, epoch, attempt, losses"
BATCH = 250
"""Runs that are written at a time, so that memory stays flat."""


@dataclass
class Rows:
    """What one batch of runs adds to each table."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    tags: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[tuple[Any, ...]] = field(default_factory=list)
    blocks: list[tuple[Any, ...]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.store", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="an empty or new FITROOM_HOME")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    begun = time.monotonic()
    try:
        counts = generate(parsed.home, parsed.runs, seed=parsed.seed)
    except FileExistsError as error:
        parser.error(str(error))
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    size = Settings(home=parsed.home).database.stat().st_size / 1e6
    print(f"{told}: {size:,.0f} MB in {time.monotonic() - begun:.1f} s")


def generate(home: Path, count: int, *, seed: int = 0, now: datetime | None = None) -> dict[str, int]:
    """Fill a new store with `count` runs, the newest of today. Returns how many rows of each kind it wrote.

    Raises `FileExistsError` where the home has a database already: a half-filled store would measure nothing.
    """
    database = Settings(home=home).database
    if database.exists():
        raise FileExistsError(f"{database} is there already; name another --home.")
    counts = {"runs": 0, "epochs": 0, "step blocks": 0}
    for rows in _batches(count, np.random.default_rng(seed), now or datetime.now(UTC)):
        _write(database, rows)
        counts["runs"] += len(rows.runs)
        counts["epochs"] += len(rows.epochs)
        counts["step blocks"] += len(rows.blocks)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ANALYZE")
        connection.commit()
    return counts


def _batches(count: int, random: np.random.Generator, now: datetime) -> Iterator[Rows]:
    rows, run_id = Rows(), 0
    between = timedelta(days=365) / max(1, count)
    while run_id < count:
        long = run_id == 0 or random.random() < LONG_ONES
        config = experiments.settings(random, long=long)
        name = f"{config['arch']}-{config['optimizer']}-{config['lr']:g}"
        tags = [str(tag) for tag in random.choice(TAGS, random.integers(0, 4), replace=False)]
        for number in range(min(int(random.choice(SEEDS)), count - run_id)):
            run_id += 1
            status = _status(run_id, count, random)
            _add(rows, run_id, name, config | {"seed": number}, status, now - between * (count - run_id), tags, random)
            if len(rows.runs) == BATCH:
                yield rows
                rows = Rows()
    if rows.runs:
        yield rows


def _status(run_id: int, count: int, random: np.random.Generator) -> Status:
    """The last few wait, those before them run; of the others nearly all have finished."""
    from_end = count - run_id
    if count > 2 * (WAITING + RUNNING) and from_end < WAITING + RUNNING:
        return Status.QUEUED if from_end < WAITING else Status.RUNNING
    return Status(str(random.choice(["finished", "failed", "cancelled"], p=[0.9, 0.04, 0.06])))


def _add(
    rows: Rows,
    run_id: int,
    name: str,
    config: dict[str, Any],
    status: Status,
    created: datetime,
    tags: list[str],
    random: np.random.Generator,
) -> None:
    epochs = _epochs_done(config, status, random)
    run = _run(run_id, name, config, status, created)
    if epochs:
        curve = experiments.curves(config, epochs, random)
        seconds = created.timestamp() + 5 + np.cumsum(curve.seconds)
        if curve.diverged and status is Status.FINISHED:
            run |= {"status": Status.FAILED, "reason": "diverged", "message": "The training loss is not finite."}
        run |= _summary(config, curve, seconds)
        rows.epochs.extend(_epoch_rows(run_id, config, curve, seconds))
        rows.blocks.extend(_blocks(run_id, config, curve, random))
    if Status(run["status"]).over:
        run["finished_at"] = run.get("epoch_finished_at") or created + timedelta(seconds=30)
    rows.runs.append(run)
    rows.tags.extend({"run_id": run_id, "name": tag} for tag in tags)
    line = {"level": "info", "message": run["message"] or "Queued."}
    last = run["finished_at"] or created
    rows.changes.append({"run_id": run_id, "kind": "log", "ref": None, "data": line, "at": last})
    rows.changes.append({"run_id": run_id, "kind": "status", "ref": None, "data": None, "at": last})


def _epochs_done(config: dict[str, Any], status: Status, random: np.random.Generator) -> int:
    whole: int = config["epochs"]
    match status:
        case Status.QUEUED:
            return 0
        case Status.FINISHED:
            return whole if config["patience"] is None else int(random.integers(min(20, whole), whole + 1))
        case _:
            return int(random.integers(0, whole))


def _run(run_id: int, name: str, config: dict[str, Any], status: Status, created: datetime) -> dict[str, Any]:
    ends = {
        Status.FINISHED: ("completed", "Finished."),
        Status.CANCELLED: ("cancelled", "Cancelled by a person."),
        Status.FAILED: FAILURES[run_id % len(FAILURES)],
    }
    reason, message = ends.get(status, (None, None))
    begun = status is not Status.QUEUED
    per_epoch = experiments.steps_per_epoch(config)
    facts = {
        "device": "cpu",
        "device_name": "generated",
        "threads": 2,
        "parameters": experiments.PARAMETERS[config["arch"]],
        "classes": [f"class {number}" for number in range(10)],
        "train_samples": config["train_size"] or 60_000,
        "val_samples": config["val_size"] or 10_000,
        "steps_per_epoch": per_epoch,
        "precision": "float32",
        "loading": "resident",
    }
    return {
        "id": run_id,
        "name": name,
        "notes": "",
        "config": config,
        "status": status,
        "reason": reason,
        "message": message,
        "cancel_requested": status is Status.CANCELLED,
        "attempt": int(begun),
        "times_lost": 0,
        "worker": "generated" if status is Status.RUNNING else None,
        # Far ahead, so that no server takes a run that nobody trains for an abandoned one.
        "heartbeat_at": created + timedelta(days=3650) if status is Status.RUNNING else None,
        "created_at": created,
        "started_at": created + timedelta(seconds=5) if begun else None,
        "finished_at": None,
        "facts": facts if begun else None,
        **dict.fromkeys(_SUMMARY),
        "epochs_done": 0,
    }


_MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_SUMMARY = (
    *_MEASURES,
    "best_epoch",
    "best_val_accuracy",
    "images_per_s",
    "epoch_seconds",
    "epoch_finished_at",
    "spark",
)


def _summary(config: dict[str, Any], curve: Curves, finished: experiments.Array) -> dict[str, Any]:
    """The newest and the best epoch, as `app.recording` carries them into the run's own row."""
    best = int(np.argmax(curve.val_accuracy))
    samples = experiments.steps_per_epoch(config) * config["batch_size"]
    return {
        **{name: _finite(float(getattr(curve, name)[-1])) for name in _MEASURES},
        "epochs_done": len(finished),
        "best_epoch": best + 1,
        "best_val_accuracy": float(curve.val_accuracy[best]),
        "spark": sparks.pack(sparks.thinned(curve.val_accuracy.tolist())),
        "images_per_s": samples / float(curve.seconds[-1]),
        "epoch_seconds": float(curve.seconds[-1]),
        "epoch_finished_at": datetime.fromtimestamp(float(finished[-1]), UTC),
    }


def _epoch_rows(
    run_id: int, config: dict[str, Any], curve: Curves, finished: experiments.Array
) -> Iterator[tuple[Any, ...]]:
    count = len(finished)
    at = np.char.replace(np.datetime_as_string((finished * 1e6).astype("datetime64[us]")), "T", " ").tolist()
    samples = experiments.steps_per_epoch(config) * config["batch_size"]
    measures = [[_finite(value) for value in getattr(curve, name).tolist()] for name in _MEASURES]
    train, diverged = curve.seconds * 0.9, np.isnan(curve.train_loss).astype(int).tolist()
    times = [part.tolist() for part in (curve.seconds, train, samples / train)]
    shares = [(curve.seconds * share).tolist() for share in (0.05, 0.84, 0.1, 0.01)]
    one = [1] * count
    return zip(
        [run_id] * count, range(1, count + 1), one, *measures, curve.lr.tolist(), *times, *shares, at, diverged,
        strict=True,
    )  # fmt: skip


def _blocks(
    run_id: int, config: dict[str, Any], curve: Curves, random: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    per_epoch = experiments.steps_per_epoch(config)
    losses = experiments.step_losses(curve, per_epoch, random)
    for number, of_epoch in enumerate(losses, start=1):
        yield run_id, (number - 1) * per_epoch, number, 1, of_epoch.tobytes()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _write(database: Path, rows: Rows) -> None:
    """Few rows by SQLAlchemy, which knows their types; the many by plain `executemany`."""
    with opened(database) as db, db.write() as session:
        session.execute(insert(Run), rows.runs)
        if rows.tags:
            session.execute(insert(Tag), rows.tags)
        session.execute(insert(Change), rows.changes)
        connection = session.connection().connection
        marks = ", ".join("?" * len(EPOCH_COLUMNS.split(",")))
        cursor = connection.cursor()
        cursor.executemany(f"INSERT INTO epochs ({EPOCH_COLUMNS}) VALUES ({marks})", rows.epochs)  # noqa: S608
        cursor.executemany(f"INSERT INTO step_blocks ({BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?)", rows.blocks)  # noqa: S608
        cursor.close()


if __name__ == "__main__":
    main()
