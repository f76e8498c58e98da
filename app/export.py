"""A run's epochs as CSV."""

from __future__ import annotations

import csv
from typing import TextIO

from app import metrics, runs
from app.db import Database
from app.schemas import EpochOut


def write_epochs(db: Database, run_id: int, out: TextIO) -> None:
    """Header and a line an epoch; empty where a value was not finite. Raises `RunNotFound`."""
    with db.read() as session:
        runs.get(session, run_id)
        rows = EpochOut.all_of(metrics.epochs(session, run_id))
    writer = csv.DictWriter(out, list(EpochOut.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in rows)
