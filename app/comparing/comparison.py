"""Several runs side by side: what they reached, where their settings differ, what that says.

Curves are read by `curves`, drawn by the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.comparing import settings_diff, statistics
from app.comparing.outcomes import OUTCOMES, Outcome
from app.comparing.settings_diff import Grouping, Setting
from app.models import Run, Source
from app.runs_table import columns as registry
from app.schemas import RunOut
from trainer.config import OPTIONS

COLORS, DASHES = 10, 5
"""Of the page's palette: fifty runs look different, and more are told apart by pointing at them."""
NOT_A_CAUSE = {"seed", "device", "num_workers", "loading", "cuda_graphs"}
"""Settings that are left out when it is asked which of them matter."""


NAMES = {"id", "name", "config_key"}
"""Columns that tell runs apart and say nothing of them."""
PlotKind = Literal["percent", "loss", "number", "duration", "instant", "text"]


class ComparedRun(RunOut):
    color: int = Field(default=0, description="Place in the page's palette of ten.")
    dash: int = Field(default=0, description="Place in the page's five patterns of lines.")


class Comparison(BaseModel):
    runs: list[ComparedRun]
    diff: list[Setting] = Field(description="The settings in which the runs differ.")
    same: list[Setting] = Field(description="The settings that all of them share.")


class Column(BaseModel):
    """One value of each run, in their order: for scatter plots and parallel coordinates."""

    key: str
    label: str
    kind: PlotKind
    setting: bool
    better: int = Field(default=0, description="1 where higher is better, -1 where lower is.")
    values: list[float | str | None]


class ImportanceOut(BaseModel):
    words: str = Field(description="How far to believe it, or why there is none.")
    runs: int
    explained: float | None = Field(
        default=None, description="Share of the variance among unseen runs that is explained."
    )
    settings: list[dict[str, Any]] = Field(default=[], description="By setting its share of that, the largest first.")


@dataclass(frozen=True, slots=True)
class Groups:
    """Runs in groups, what each reached, and how two of them differ."""

    grouping: Grouping
    rows: list[statistics.Summary]
    a: int
    b: int
    verdict: statistics.Verdict | None

    @property
    def pairs(self) -> int:
        return len(self.rows) * (len(self.rows) - 1) // 2


def of(session: Session, run_ids: Sequence[int], *, now: datetime) -> Comparison:
    """The runs in the order asked for; numbers that are no run are left out."""
    wanted = [run_id for run_id in run_ids if 0 < run_id < 2**63]
    found = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(wanted)))}
    rows = [found[run_id] for run_id in wanted if run_id in found]
    settings = settings_diff.of([_config(run) for run in rows]) if rows else []
    return Comparison(
        runs=[_compared(run, place, now) for place, run in enumerate(rows)],
        diff=settings_diff.differing(settings),
        same=[setting for setting in settings if len(set(setting.values)) == 1],
    )


def _config(run: Run) -> dict[str, Any]:
    return run.config if run.source == Source.FITROOM else {**run.config, settings_diff.UNKNOWN: None}


def columns(compared: Comparison) -> list[Column]:
    """Every column of the table of runs that is not the same for all of these, metrics and costs first."""
    ordered = sorted(registry.COLUMNS.values(), key=lambda column: column.key not in OUTCOMES)
    found = [_column(column, compared.runs) for column in ordered if column.key not in NAMES]
    return [column for column in found if len({value for value in column.values if value is not None}) > 1]


def groups(compared: Comparison, grouping: str, outcome: Outcome, *, a: int = -1, b: int = -1) -> Groups:
    """By `grouping`, a name of `groupings`; `a` and `b` are the two groups that are held against each other.

    -1 leaves the choice: the best as B and the next as A, of those with several runs where there are two of them.
    """
    known = groupings(compared)
    chosen = known.get(grouping, known[settings_diff.SEEDS])
    values = [_values(compared, chosen, group, outcome) for group in range(len(chosen.groups))]
    rows = [statistics.summary(label, of_group, outcome) for label, of_group in zip(chosen.groups, values, strict=True)]
    best = _ranked(rows, outcome)
    b = b if 0 <= b < len(rows) else next((place for place in best if place != a), 0)
    a = a if 0 <= a < len(rows) else next((place for place in best if place != b), b)
    return Groups(chosen, rows, a, b, statistics.difference(values[a], values[b], outcome) if a != b else None)


def _ranked(rows: Sequence[statistics.Summary], outcome: Outcome) -> list[int]:
    """Places of the groups, those of several runs first, and of these the best."""
    sign = -1 if outcome.higher_is_better else 1
    known = [place for place, row in enumerate(rows) if row.mean is not None]
    return sorted(known, key=lambda place: (rows[place].runs < 2, sign * (rows[place].mean or 0.0)))


def groupings(compared: Comparison) -> dict[str, Grouping]:
    in_order = {setting.name: setting for setting in (*compared.diff, *compared.same)}
    found = settings_diff.groupings([in_order[name] for name in OPTIONS if name in in_order])
    seeds = found[settings_diff.SEEDS]
    return found | {seeds.name: replace(seeds, groups=_names(compared, seeds) or seeds.groups)}


def _names(compared: Comparison, grouping: Grouping) -> list[str]:
    """What the runs of each group are called, numbered where groups share a name; nothing where names differ in one."""
    names = [{compared.runs[place].name for place in grouping.members(group)} for group in range(len(grouping.groups))]
    if any(len(of_group) != 1 for of_group in names):
        return []
    plain = [next(iter(of_group)) for of_group in names]
    seen: Counter[str] = Counter()
    numbered = []
    for name in plain:
        seen[name] += 1
        numbered.append(f"{name} ({seen[name]})" if plain.count(name) > 1 else name)
    return numbered


def front(compared: Comparison) -> list[ComparedRun]:
    """The runs that no other beats in best accuracy, time and parameters at once; the most accurate first."""
    known = [run for run in compared.runs if None not in (run.best_val_accuracy, run.duration_s, run.parameters)]
    if not known:
        return []
    values = np.array([[run.best_val_accuracy, -(run.duration_s or 0), -(run.parameters or 0)] for run in known])
    return sorted((known[place] for place in statistics.front(values)), key=lambda run: -(run.best_val_accuracy or 0))


def importance(compared: Comparison, outcome: Outcome) -> ImportanceOut:
    """Which of the settings that differ matter for the outcome."""
    places = [place for place, run in enumerate(compared.runs) if outcome.of(run) is not None]
    chosen = {setting.name: setting for setting in compared.diff if setting.name not in NOT_A_CAUSE}
    target = [outcome.of(compared.runs[place]) or 0.0 for place in places]
    if not chosen:
        return ImportanceOut(words="These runs do not differ in any setting that could matter.", runs=len(places))
    if len(places) < statistics.FEWEST_RUNS:
        return ImportanceOut(
            words=f"{len(places)} runs are too few to tell which setting matters; it takes at least "
            f"{statistics.FEWEST_RUNS}.",
            runs=len(places),
        )
    if np.ptp(target) == 0:
        return ImportanceOut(
            words="All of these runs reached the same, so no setting made a difference.", runs=len(places)
        )
    known = [compared.runs[place] for place in places]
    table = {name: _column(registry.COLUMNS[name], known).values for name in chosen}
    found = statistics.importance(table, target)
    shares = found.shares if found.explained >= statistics.USABLE else {}
    return ImportanceOut(
        words=_believable(found, outcome),
        runs=found.runs,
        explained=found.explained,
        settings=[
            {"name": name, "label": chosen[name].label, "share": share, "spread": spread}
            for name, (share, spread) in shares.items()
        ],
    )


def _believable(found: statistics.Importance, outcome: Outcome) -> str:
    of_what = outcome.label.lower()
    if found.explained < statistics.USABLE:
        return (
            f"From the settings of these {found.runs} runs the {of_what} of a run that was left out cannot be told, so "
            "nothing can be said of what matters. More runs, or fewer settings that change at once, would help."
        )
    return (
        f"From their settings alone, {found.explained:.0%} of how the {of_what} varies can be told for runs that were "
        "left out. Settings that always change together share their importance."
    )


def _compared(run: Run, place: int, now: datetime) -> ComparedRun:
    shown = RunOut.of(run, now=now).model_dump()
    return ComparedRun(**shown, color=place % COLORS, dash=place // COLORS % DASHES)


def _values(compared: Comparison, grouping: Grouping, group: int, outcome: Outcome) -> list[float]:
    values = (outcome.of(compared.runs[place]) for place in grouping.members(group))
    return [value for value in values if value is not None]


def _column(column: registry.Column, runs: Sequence[ComparedRun]) -> Column:
    """Numbers stay numbers, instants become seconds since 1970, of anything else the words."""
    outcome = OUTCOMES.get(column.key)
    better = {"higher": 1, "lower": -1}.get(column.better, 0)
    return Column(
        key=column.key,
        label=outcome.label if outcome else column.label,
        kind=_kind(column),
        setting=column.is_setting,
        better=better if outcome is None else 1 if outcome.higher_is_better else -1,
        values=[_plotted(column, column.value(run)) for run in runs],
    )


def _kind(column: registry.Column) -> PlotKind:
    if not column.numeric:
        return "text"
    kinds: dict[str, PlotKind] = {"percent": "percent", "loss": "loss", "duration": "duration", "when": "instant"}
    return kinds.get(column.shown, "number")


def _plotted(column: registry.Column, value: Any) -> float | str | None:
    if value is None or isinstance(value, datetime):
        return None if value is None else value.timestamp()
    if column.kind == "flag":
        return "On" if value else "Off"
    return float(value) if column.numeric else registry.written(column, value)
