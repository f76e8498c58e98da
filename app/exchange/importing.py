"""Past runs of other tools become rows beside Fitroom's own: first a plan to look at, then all of it at once.

    found = read(kind, path)                      raises ImportProblem
    plan = planned(session, found)                what would be made of them; writes nothing
    done = carry_out(session, plan, who=..., now=...)

An imported run has ended, whatever it was doing: no worker takes it, and it cannot be run again. A run that is here
already is recognised by its key. Where its source tells more than before, it is brought up to date: what it has
recorded and how it stands, not what people have written on it here. Otherwise it is left as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Select, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from app.exchange import from_csv, from_mlflow, from_tensorboard, mapping
from app.exchange.mapping import Mapped
from app.exchange.past import LARGEST, LONGEST_NAME, Floats, PastRun, finite, instant
from app.forms import NAME_LENGTH, NOTES_LENGTH, TAG_LENGTH, TAGS
from app.guarding import audit
from app.models import Base, Change, Epoch, Run, SeriesRow, Source, Tag
from app.runs_table import sparks
from app.runs_table.folding import config_key

READERS: dict[str, Callable[[Path, str], list[PastRun]]] = {
    Source.TENSORBOARD: from_tensorboard.read,
    Source.MLFLOW: from_mlflow.read,
    Source.CSV: from_csv.read,
}
MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_KEYS_AT_A_TIME = 500
_BYTES_OF_A_STEP = 8
_LONGEST_SETTING = 8000


@dataclass(slots=True)
class Planned:
    """One past run, and what would become of it."""

    past: PastRun
    mapped: Mapped
    here_as: int | None = None
    """The number of the run that it is already."""
    grown: bool = False
    """Whether it is here, and its source tells more now."""

    @property
    def points(self) -> int:
        """Values of its epochs and of the curves beside them."""
        return len(self.mapped.numbers) + sum(map(len, self.mapped.kept.values()))

    @property
    def name(self) -> str:
        return _clean(self.past.name, NAME_LENGTH) or self.past.source

    @property
    def epochs(self) -> int:
        return len(self.mapped.numbers) or int(self.mapped.results.get("epochs_done", 0))

    @property
    def best(self) -> float | None:
        found = _accuracies(self.mapped)
        best = float(np.nanmax(found)) if len(found) and not np.isnan(found).all() else None
        return best if best is not None else self.mapped.results.get("best_val_accuracy", self.last("val_accuracy"))

    def last(self, column: str) -> float | None:
        values = self.mapped.columns.get(column)
        return self.mapped.results.get(column) if values is None or not len(values) else finite(float(values[-1]))


def read(kind: str, path: Path, name: str = "") -> list[PastRun]:
    """Oldest first; `name` is what people call the file or folder. Raises `ImportProblem`."""
    found = READERS[kind](path, name or path.name)
    return sorted(found, key=lambda run: (run.created_at or datetime.max.replace(tzinfo=UTC), run.name))


def planned(session: Session, found: Sequence[PastRun]) -> list[Planned]:
    """What would be made of these; of runs that are there twice the first counts."""
    by_key = {run.key: run for run in reversed(found)}
    plan = [Planned(run, mapping.of(run)) for run in reversed(by_key.values())]
    look_again(session, plan)
    return plan


def look_again(session: Session, plan: Sequence[Planned]) -> None:
    """Find out which of them are here already, and which of these have grown."""
    by_key = {item.past.key: item for item in plan}
    keys = list(by_key)
    for start in range(0, len(keys), _KEYS_AT_A_TIME):
        some = keys[start : start + _KEYS_AT_A_TIME]
        for row in session.execute(_known(some)):
            item = by_key[row.source_key]
            item.here_as = row.id
            ended = row.status != item.past.status and item.points == row.epochs + row.points
            item.grown = item.points > row.epochs + row.points or ended


def _known(keys: Sequence[str]) -> Select[Any]:
    """The runs that are here under these keys, and how much is known of each."""
    epochs = select(func.count()).where(Epoch.run_id == Run.id).scalar_subquery()
    points = select(func.sum(func.length(SeriesRow.steps))).where(SeriesRow.run_id == Run.id).scalar_subquery()
    kept = func.coalesce(points, 0) / _BYTES_OF_A_STEP
    return select(Run.id, Run.source_key, Run.status, epochs.label("epochs"), kept.label("points")).where(
        Run.source_key.in_(keys)
    )


@dataclass(frozen=True, slots=True)
class Done:
    """The numbers of the runs."""

    made: list[int]
    updated: list[int]


def carry_out(session: Session, plan: Sequence[Planned], *, who: str, now: datetime) -> Done:
    """Write those that are new, and bring those that have grown up to date.

    All of them or, where the session ends badly, none. In bulk, because workers wait for the database as long as this
    takes.
    """
    new = list(enumerate([item for item in plan if item.here_as is None], start=_next_id(session)))
    grown = [(item.here_as, item) for item in plan if item.here_as is not None and item.grown]
    _renew(session, grown, now)
    _insert(session, Run, [_run(run_id, item, now) for run_id, item in new])
    _insert(session, Tag, [{"run_id": run_id, "name": tag} for run_id, item in new for tag in _tags(item.past)])
    told = [*new, *grown]
    _insert(session, Epoch, [row for run_id, item in told for row in _epochs(run_id, item, now)])
    _insert(session, SeriesRow, [row for run_id, item in told for row in _series(run_id, item)])
    _insert(session, Change, [row for run_id, item in told for row in _changes(run_id, item, now)])
    for action, found in (("imported", new), ("brought up to date", grown)):
        _note(session, who, action, found, now)
    return Done([run_id for run_id, _ in new], [run_id for run_id, _ in grown])


def _insert(session: Session, model: type[Base], rows: list[dict[str, Any]]) -> None:
    if rows:
        # The table's own insert is one statement for all rows; the model's would part them by what is None.
        session.execute(insert(Base.metadata.tables[model.__tablename__]), rows)


def _renew(session: Session, grown: Sequence[tuple[int, Planned]], now: datetime) -> None:
    """What the source says of a run takes the place of what it said; name, tags, notes and star are people's."""
    for run_id, item in grown:
        for model in (Epoch, SeriesRow):
            session.execute(delete(model).where(model.run_id == run_id))
        fresh = _run(run_id, item, now)
        session.execute(update(Run).where(Run.id == run_id).values({name: fresh[name] for name in _OF_THE_SOURCE}))


_OF_THE_SOURCE = (
    "config", "config_key", "source_info", "status", "message", "finished_at", "spark", *MEASURES, "images_per_s",
    "epochs_done", "best_epoch", "best_val_accuracy",
)  # fmt: skip


def _note(session: Session, who: str, action: str, found: Sequence[tuple[int, Planned]], now: datetime) -> None:
    if found:
        run_id, first = found[0]
        detail = f"{len(found)} runs" if len(found) > 1 else first.name
        audit.note(session, who, action, now=now, run_id=run_id if len(found) == 1 else None, detail=detail)


def _next_id(session: Session) -> int:
    """The number that SQLite would give; nobody else can take it before this transaction ends."""
    used = session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'runs'"))
    return int(used or 0) + 1


def _run(run_id: int, item: Planned, now: datetime) -> dict[str, Any]:
    past, mapped = item.past, item.mapped
    created = past.created_at or now
    return {
        "id": run_id,
        "name": item.name,
        "notes": _clean(past.notes, NOTES_LENGTH, lines=True),
        "config": mapped.config,
        "config_key": _config_key(past, mapped),
        "source": past.source,
        "source_key": past.key,
        "source_info": _info(past, mapped, now),
        "status": past.status,
        "reason": "imported",
        "message": _message(past),
        "created_at": created,
        "started_at": created,
        "finished_at": max(past.finished_at or created, created),
        "spark": _spark(mapped),
        **_summary(item),
    }


def _message(past: PastRun) -> str:
    return f"Imported from {_place(past)}."


def _line(item: Planned) -> str:
    return f"Brought up to date from {_place(item.past)}." if item.grown else _message(item.past)


def _place(past: PastRun) -> str:
    return _clean(past.name if past.where == "." else past.where, 500)


def _config_key(past: PastRun, mapped: Mapped) -> str:
    """Seeds of other tools fold together too, but never with Fitroom's own: what they do not say is unknown."""
    return config_key({**mapped.config, **mapped.other_settings, "source": str(past.source)})


def _info(past: PastRun, mapped: Mapped, now: datetime) -> dict[str, Any]:
    return {
        "where": past.where,
        "imported_at": now.isoformat(),
        "settings": {_clean(name, 250): _plain(value) for name, value in mapped.other_settings.items()},
        "measures": mapped.names,
        "tags": [tag for tag in past.tags if tag not in _tags(past)],
        "remarks": mapped.remarks,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    return _clean(value, _LONGEST_SETTING, lines=True) if isinstance(value, str) else value


def _summary(item: Planned) -> dict[str, Any]:
    """The newest and the best epoch in the run's own row, as `app.metrics` keeps them."""
    mapped = item.mapped
    found = _accuracies(mapped)
    best = int(np.nanargmax(found)) if len(found) and not np.isnan(found).all() else None
    told = mapped.results.get("best_epoch")
    return {
        **{name: item.last(name) for name in (*MEASURES, "images_per_s")},
        "epochs_done": int(mapped.numbers[-1]) if len(mapped.numbers) else item.epochs,
        "best_epoch": int(mapped.numbers[best]) if best is not None else int(told) if told else None,
        "best_val_accuracy": item.best,
    }


def _accuracies(mapped: Mapped) -> Floats:
    values = mapped.columns.get("val_accuracy", np.empty(0))
    return np.where(np.abs(values) < LARGEST, values, np.nan)


def _spark(mapped: Mapped) -> bytes | None:
    values = [finite(value) for value in _accuracies(mapped).tolist()]
    return sparks.pack(sparks.thinned(values)) if any(value is not None for value in values) else None


def _epochs(run_id: int, item: Planned, now: datetime) -> Iterator[dict[str, Any]]:
    mapped, created = item.mapped, item.past.created_at or now
    columns = {
        name: _values(mapped.columns.get(name), len(mapped.numbers)) for name in (*MEASURES, "lr", "images_per_s")
    }
    times = _values(mapped.times, len(mapped.numbers))
    before: float | None = None
    for place, number in enumerate(mapped.numbers.tolist()):
        at = times[place]
        yield {
            "run_id": run_id,
            "epoch": number,
            "attempt": 1,
            **{name: values[place] for name, values in columns.items()},
            "seconds": None if at is None or before is None else at - before,
            "finished_at": instant(at) or created,
            "diverged": number in mapped.diverged,
        }
        before = at


def _values(found: Floats | None, count: int) -> list[float | None]:
    return [None] * count if found is None else [finite(value) for value in found.tolist()]


def _series(run_id: int, item: Planned) -> Iterator[dict[str, Any]]:
    for name, series in item.mapped.kept.items():
        yield {
            "run_id": run_id,
            "name": _clean(name, LONGEST_NAME),
            "steps": series.steps.astype("<i8").tobytes(),
            "values": series.values.astype("<f8").tobytes(),
            "times": None if series.times is None else series.times.astype("<f8").tobytes(),
        }


def _changes(run_id: int, item: Planned, now: datetime) -> Iterator[dict[str, Any]]:
    """What the run's own log tells, and what open tables hear."""
    line = {"level": "info", "message": _line(item)}
    yield {"run_id": run_id, "kind": "log", "data": line, "at": now}
    yield {"run_id": run_id, "kind": "status", "data": None, "at": now}


def _tags(past: PastRun) -> list[str]:
    """Those that fit; the others are kept with where it came from."""
    cleaned = dict.fromkeys(_clean(tag, 10_000) for tag in past.tags)
    return [tag for tag in cleaned if tag and len(tag) <= TAG_LENGTH and "," not in tag][:TAGS]


def _clean(text: str, longest: int, *, lines: bool = False) -> str:
    """Without what cannot be shown or stored, and not longer than fits."""
    kept = (char for char in text if unicodedata.category(char) not in ("Cc", "Cs") or (lines and char in "\n\t"))
    return "".join(kept).strip()[:longest]
