"""Past runs out of an MLflow tracking store: the folder `mlruns`, or the SQLite database of newer versions.

The files and tables are read as they lie, without MLflow and without changing them. Deleted runs are left out.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from app.exchange.past import LONGEST_NAME, MOST_POINTS, ImportProblem, PastRun, Series, instant, within_limits
from app.models import Source, Status

_STATUSES = {
    "FINISHED": Status.FINISHED, "3": Status.FINISHED, "FAILED": Status.FAILED, "4": Status.FAILED,
    "KILLED": Status.CANCELLED, "5": Status.CANCELLED,
}  # fmt: skip
"""By name, as databases have it, and by number, as files do. What still ran then counts as cancelled."""
_LARGEST_META = 1024 * 1024
_INFINITE = 1.79e308
"""MLflow keeps infinity in a database as the largest number that there is."""

Point = tuple[int, float, float | None]


@dataclass
class _Found:
    """A run as both kinds of store tell it."""

    run_id: str
    name: str
    status: str
    start_ms: float | None
    end_ms: float | None
    experiment: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)


def read(path: Path, name: str) -> list[PastRun]:
    """Raises `ImportProblem`: no such store, a file or table that cannot be read, with its line."""
    if path.is_dir():
        root = next((found for found in (path, path / "mlruns") if _experiments(found)), None)
        if root is not None:
            return within_limits([_run(found) for found in _from_files(root)])
        database = next((file for file in sorted(path.glob("*.db")) if _is_sqlite(file)), None)
        if database is None:
            raise ImportProblem(f"{name} holds neither MLflow's experiments nor its database.")
        path, name = database, database.name
    elif not _is_sqlite(path):
        raise ImportProblem(f"{name} is no MLflow store: neither a folder nor an SQLite database.")
    return within_limits([_run(found) for found in _from_database(path, name)])


def _run(found: _Found) -> PastRun:
    begun, ended = _instant(found.start_ms), _instant(found.end_ms)
    own = {name: value for name, value in found.tags.items() if not name.startswith("mlflow.")}
    name = found.name or found.tags.get("mlflow.runName", "") or found.run_id
    return PastRun(
        source=Source.MLFLOW,
        key=f"mlflow:{found.run_id}",
        name=name,
        where=f"{found.experiment} / {name}",
        status=_STATUSES.get(found.status, Status.CANCELLED),
        created_at=begun,
        finished_at=ended or begun,
        settings=dict(found.params),
        # A run that ended badly may leave a metric's file without a line.
        series={key[:LONGEST_NAME]: Series.of(points) for key, points in found.points.items() if points},
        tags=[found.experiment, *(f"{key}={value}" if value else key for key, value in own.items())],
        notes=found.tags.get("mlflow.note.content", ""),
    )


# Files: mlruns/EXPERIMENT/RUN/{meta.yaml, params/NAME, tags/NAME, metrics/NAME}


def _experiments(root: Path) -> list[Path]:
    return sorted(file.parent for file in root.glob("*/meta.yaml") if not file.parent.name.startswith("."))


def _from_files(root: Path) -> Iterator[_Found]:
    count = 0
    for experiment in _experiments(root):
        about = _meta(experiment / "meta.yaml", root)
        if about.get("lifecycle_stage") == "deleted":
            continue
        for file in sorted(experiment.glob("*/meta.yaml")):
            meta = _meta(file, root)
            if ("run_id" not in meta and "run_uuid" not in meta) or meta.get("lifecycle_stage") == "deleted":
                continue
            found = _Found(
                run_id=str(meta.get("run_id") or meta.get("run_uuid")),
                name=str(meta.get("run_name") or meta.get("name") or ""),
                status=str(meta.get("status")),
                start_ms=_milliseconds(meta.get("start_time")),
                end_ms=_milliseconds(meta.get("end_time")),
                experiment=str(about.get("name", experiment.name)),
                params=_texts(file.parent / "params", root),
                tags=_texts(file.parent / "tags", root),
            )
            for metric in _files(file.parent / "metrics", root):
                name = metric.relative_to(file.parent / "metrics").as_posix()
                found.points[name] = list(_points(metric, root))
                count += len(found.points[name])
                if count > MOST_POINTS:
                    raise ImportProblem(f"There are more than {MOST_POINTS:,} points in it.")
            yield found


def _meta(file: Path, root: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_META:
            raise ImportProblem(f"{file.relative_to(root)} is too large to be MLflow's.")
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ImportProblem(f"{file.relative_to(root)} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ImportProblem(f"{file.relative_to(root)}{line} is no YAML.") from error
    if not isinstance(found, dict):
        raise ImportProblem(f"{file.relative_to(root)} is not MLflow's: it names nothing.")
    return found


def _files(folder: Path, root: Path) -> list[Path]:
    """Those below it, links left out: they could lead anywhere."""
    inside = root.resolve()
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(inside)
    ]


def _texts(folder: Path, root: Path) -> dict[str, str]:
    texts = {}
    for file in _files(folder, root):
        try:
            texts[file.relative_to(folder).as_posix()] = file.read_text()[:8000]
        except (OSError, UnicodeDecodeError) as error:
            raise ImportProblem(f"{file.relative_to(root)} cannot be read: {error}.") from error
    return texts


def _points(file: Path, root: Path) -> Iterator[Point]:
    """Lines of milliseconds, value, step and, in newer versions, more; the oldest versions have no step."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportProblem(f"{file.relative_to(root)} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        try:
            step = int(words[2]) if len(words) > 2 else number - 1
            if not -(2**63) <= step < 2**63:
                raise ValueError
            yield step, float(words[1]), int(words[0]) / 1000
        except (ValueError, IndexError, OverflowError):
            words_wanted = "must be a time, a value and a step"
            raise ImportProblem(
                f"{file.relative_to(root)}, line {number}: {words_wanted}, not {line[:60]!r}."
            ) from None


# Database


def _is_sqlite(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(16) == b"SQLite format 3\0"


_RUNS = """
SELECT r.run_uuid, coalesce(r.name, ''), r.status, r.start_time, r.end_time, coalesce(e.name, 'Default')
FROM runs AS r LEFT JOIN experiments AS e ON e.experiment_id = r.experiment_id
WHERE coalesce(r.lifecycle_stage, 'active') != 'deleted' AND coalesce(e.lifecycle_stage, 'active') != 'deleted'
ORDER BY r.start_time, r.run_uuid
"""
_POINTS = "SELECT run_uuid, key, step, value, is_nan, timestamp FROM metrics ORDER BY run_uuid, key, step, timestamp"


def _from_database(file: Path, name: str) -> list[_Found]:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            found = {str(row[0]): _Found(*map(_plain, row)) for row in connection.execute(_RUNS)}
            for table in ("params", "tags"):
                rows = connection.execute(f"SELECT run_uuid, key, value FROM {table}")  # noqa: S608 - two words of ours
                for run_id, key, value in rows:
                    if run_id in found:
                        getattr(found[run_id], table)[str(key)] = str(value or "")
            for number, (run_id, key, step, value, is_nan, at) in enumerate(connection.execute(_POINTS)):
                if number >= MOST_POINTS:
                    raise ImportProblem(f"{name} holds more than {MOST_POINTS:,} points.")
                if run_id in found:
                    known = math.nan if is_nan or abs(value) > _INFINITE else float(value)
                    found[run_id].points.setdefault(str(key), []).append((int(step), known, at / 1000))
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise ImportProblem(f"{name} is no MLflow database that can be read: {error}.") from error
    return list(found.values())


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | type(None)) else str(value)


def _milliseconds(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _instant(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else instant(milliseconds / 1000)
