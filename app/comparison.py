"""Several runs side by side: their curves, and where their settings differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import charts, metrics
from app.models import Run
from app.schemas import RunOut
from trainer import sources
from trainer.config import OPTIONS

COLORS = 10


class ComparedRun(RunOut):
    color: int = 0
    """Place in the page's palette of ten."""


class Difference(BaseModel):
    name: str
    label: str
    values: list[str]


class Comparison(BaseModel):
    runs: list[ComparedRun]
    figures: dict[str, dict[str, Any]]
    diff: list[Difference]
    same: list[Difference]


def of(session: Session, run_ids: Sequence[int], *, now: datetime) -> Comparison:
    """The runs in the order asked for; numbers that are no run are left out."""
    wanted = [run_id for run_id in dict.fromkeys(run_ids) if 0 < run_id < 2**63]
    found = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(wanted)))}
    rows = [found[run_id] for run_id in wanted if run_id in found]
    epochs = metrics.epochs_of(session, [run.id for run in rows])
    names = {run.id: run.name for run in rows}
    settings = [_setting(name, rows) for name in OPTIONS]
    return Comparison(
        runs=[
            ComparedRun(**RunOut.of(run, now=now).model_dump(), color=place % COLORS) for place, run in enumerate(rows)
        ],
        figures={
            measure: charts.compare(epochs, names, measure)
            for measure in ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
        },
        diff=[setting for setting in settings if len(set(setting.values)) > 1],
        same=[setting for setting in settings if len(set(setting.values)) == 1],
    )


def shown(name: str, value: Any) -> str:
    """A setting's value as a person reads it."""
    option = OPTIONS.get(name)
    if value is None:
        return option.empty if option and option.empty else "–"
    if name == "dataset":
        return sources.label(value)
    if isinstance(value, bool):
        return "On" if value else "Off"
    if option and option.choices:
        return dict(option.choices).get(value, str(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _setting(name: str, rows: Sequence[Run]) -> Difference:
    option = OPTIONS[name]
    values = [
        shown(name, run.config.get(name, option.default)) if option.applies_to(run.config) else "–" for run in rows
    ]
    return Difference(name=name, label=option.label, values=values)
