"""Past runs out of a CSV file: a line for each run, or for each epoch or step, where a column counts these.

    name, lr, batch_size, val_accuracy          run, epoch, train_loss, val_loss
    first, 0.001, 64, 0.91                      first, 1, 0.9, 0.8

Without a `run` column a file of epochs is one run, called after the file. Cells that begin with an apostrophe before a
formula's first character get it taken away again, as `app.exchange.sheets` has put it there.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.exchange.mapping import column_of
from app.exchange.past import LONGEST_NAME, MOST_POINTS, ImportProblem, PastRun, Series, instant, within_limits
from app.exchange.sheets import restored
from app.models import Source, Status
from trainer.config import OPTIONS

MOST_BYTES = 64 * 1024 * 1024
MOST_COLUMNS, LONGEST_CELL = 1000, 10_000
_EPOCHS = ("epoch", "step", "iteration", "global_step", "trainer/global_step", "_step")
_RUNS = ("run", "run_name", "run_id", "name", "experiment")
_STATUSES = {"finished": Status.FINISHED, "completed": Status.FINISHED, "done": Status.FINISHED} | {
    "failed": Status.FAILED, "crashed": Status.FAILED, "cancelled": Status.CANCELLED, "killed": Status.CANCELLED,
}  # fmt: skip
_ABOUT = {
    "name": ("name", "run_name", "run"), "tags": ("tags",), "notes": ("notes", "note", "description"),
    "status": ("status", "state"), "created_at": ("created_at", "created", "started_at", "start_time", "date"),
    "finished_at": ("finished_at", "end_time", "ended_at"),
}  # fmt: skip
_NOT_KEPT = {
    "id", "run_id", "source", "config_key", "reason", "message", "starred", "progress", "overfit", "attempt",
    "duration_s",
}  # fmt: skip
"""Of a table that Fitroom itself has written: what it works out anew."""
_RESULTS = {"best_val_accuracy", "best_epoch", "epochs_done", "images_per_s"}


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: dict[str, str]

    def __str__(self) -> str:
        return f"line {self.number}"


def read(path: Path, name: str) -> list[PastRun]:
    """`name` is what people call the file. Raises `ImportProblem` with the line."""
    try:
        header, lines = _lines(path, name)
    except OSError as error:
        raise ImportProblem(f"{name} cannot be read: {error.strerror}.") from error
    counter = next((column for column in header if column.lower() in _EPOCHS), None)
    if counter is None:
        return within_limits(_runs_by_line(header, lines, name))
    return within_limits(_runs_by_epoch(header, lines, counter, name))


def _lines(path: Path, name: str) -> tuple[list[str], list[_Line]]:
    if path.stat().st_size > MOST_BYTES:
        raise ImportProblem(f"{name} is larger than {MOST_BYTES // 2**20} MB.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            sample = file.read(64 * 1024)
            file.seek(0)
            reader = csv.reader(file, delimiter=_delimiter(sample), strict=True)
            return _parse(reader, name)
    except UnicodeDecodeError as error:
        raise ImportProblem(f"{name} is not text in UTF-8.") from error


def _delimiter(sample: str) -> str:
    first = sample.partition("\n")[0]
    return max(",;\t", key=first.count)


def _parse(reader: Iterator[list[str]], name: str) -> tuple[list[str], list[_Line]]:
    lines: list[_Line] = []
    header: list[str] = []
    try:
        for cells in reader:
            number: int = reader.line_num  # type: ignore[attr-defined]  # csv's reader has it
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, name)
                continue
            if len(cells) != len(header):
                raise ImportProblem(f"{name}, line {number}: {len(cells)} cells under {len(header)} headings.")
            if max(map(len, cells)) > LONGEST_CELL:
                raise ImportProblem(f"{name}, line {number}: a cell is longer than {LONGEST_CELL:,} characters.")
            lines.append(_Line(number, {key: restored(cell.strip()) for key, cell in zip(header, cells, strict=True)}))
            if len(lines) * len(header) > MOST_POINTS:
                raise ImportProblem(f"{name} holds more than {MOST_POINTS:,} cells.")
    except csv.Error as error:
        raise ImportProblem(f"{name}, line {reader.line_num}: {error}.") from error  # type: ignore[attr-defined]
    if not lines:
        raise ImportProblem(f"{name} has no line below its headings.")
    return header, lines


def _header(cells: Sequence[str], name: str) -> list[str]:
    header = [restored(cell.strip())[:LONGEST_NAME] for cell in cells]
    if len(header) > MOST_COLUMNS:
        raise ImportProblem(f"{name}: {len(header):,} columns; at most {MOST_COLUMNS:,} are read.")
    if "" in header:
        raise ImportProblem(f"{name}, line 1: column {header.index('') + 1} has no heading.")
    double = next((heading for heading, count in Counter(header).items() if count > 1), None)
    if double is not None:
        raise ImportProblem(f"{name}, line 1: the heading {double[:60]} is there twice.")
    return header


# A line for each run


def _runs_by_line(header: Sequence[str], lines: Sequence[_Line], name: str) -> list[PastRun]:
    if not any(_is_told(column) for column in header):
        raise ImportProblem(
            f"{name}, line 1: no heading is a setting or result that Fitroom knows, such as lr or val_accuracy."
        )
    seen: Counter[str] = Counter()
    return [_run_of(line, name, seen) for line in lines]


def _is_told(column: str) -> bool:
    return column.lower() in OPTIONS or column in _RESULTS or column_of(column) is not None


def _run_of(line: _Line, name: str, seen: Counter[str]) -> PastRun:
    run = PastRun(Source.CSV, _key(line.cells.items(), seen), "", f"{name}, {line}")
    about = _about(line, name, run)
    for column, cell in line.cells.items():
        if column in about or column in _NOT_KEPT or cell == "":
            continue
        if column.lower() not in OPTIONS and (column in _RESULTS or column_of(column)):
            run.results[column] = _number(cell, column, line, name)
        else:
            run.settings[column] = cell
    run.name = run.name or f"{Path(name).stem}, {line}"
    return run


def _about(line: _Line, name: str, run: PastRun) -> set[str]:
    """Take from a line what says something about the run as a whole; the columns that did."""
    used = set()
    for what, headings in _ABOUT.items():
        column = next((column for column in line.cells if column.lower() in headings and line.cells[column]), None)
        if column is None:
            continue
        used.add(column)
        cell = line.cells[column]
        match what:
            case "tags":
                run.tags = [tag.strip() for tag in cell.split(",") if tag.strip()]
            case "status":
                run.status = _STATUSES.get(cell.lower(), Status.CANCELLED)
            case "created_at" | "finished_at":
                setattr(run, what, _instant(cell, column, line, name))
            case _:
                setattr(run, what, cell)
    return used | {column for column in line.cells if column.lower() in sum(_ABOUT.values(), ())}


def _key(cells: object, seen: Counter[str]) -> str:
    """Of what the cells hold; the same cells once more in one file are another run."""
    digest = hashlib.sha256(repr(sorted(cells)).encode()).hexdigest()[:40]  # type: ignore[call-overload]
    seen[digest] += 1
    return f"csv:{digest}" if seen[digest] == 1 else f"csv:{digest}:{seen[digest]}"


# A line for each epoch or step


def _runs_by_epoch(header: Sequence[str], lines: Sequence[_Line], counter: str, name: str) -> list[PastRun]:
    grouped: dict[str, list[_Line]] = {}
    column = next((column for column in header if column.lower() in _RUNS), None)
    for line in lines:
        run = line.cells[column] if column else Path(name).stem
        if run == "":
            raise ImportProblem(f"{name}, {line}: {column} is empty.")
        grouped.setdefault(run, []).append(line)
    measures = [heading for heading in header if heading not in (column, counter)]
    return [_run_over(run, found, measures, counter, name) for run, found in grouped.items()]


def _run_over(run: str, lines: Sequence[_Line], measures: Sequence[str], counter: str, name: str) -> PastRun:
    """Columns of numbers are measures, a column that never changes is a setting, instants say when."""
    found = PastRun(Source.CSV, "", run, f"{name}, {lines[0]}")
    steps = [_whole(line.cells[counter], counter, line, name) for line in lines]
    times: list[float | None] = [None] * len(lines)
    for heading in measures:
        cells = [line.cells[heading] for line in lines]
        if heading.lower() in ("finished_at", "time", "timestamp", "_timestamp", "wall_time"):
            times = [_instant(cell, heading, line, name).timestamp() for cell, line in zip(cells, lines, strict=True)]
        elif len(set(cells)) == 1 and column_of(heading) is None:
            found.settings |= {heading: cells[0]} if cells[0] else {}
        elif heading not in ("diverged",):
            values = [_number(cell, heading, line, name) for cell, line in zip(cells, lines, strict=True)]
            told = [(*point, cell) for point, cell in zip(zip(steps, values, strict=True), cells, strict=True)]
            found.series[heading] = Series.of((step, value, None) for step, value, cell in told if cell)
    found.series = {heading: _timed(series, steps, times) for heading, series in found.series.items() if len(series)}
    known = [time for time in times if time is not None]
    if known:
        found.created_at, found.finished_at = (datetime.fromtimestamp(f(known), UTC) for f in (min, max))
    rows = [tuple(sorted(line.cells.items())) for line in lines[:2]]
    found.key = f"csv:{hashlib.sha256(repr((run, rows)).encode()).hexdigest()[:40]}"
    return found


def _timed(series: Series, steps: Sequence[int], times: Sequence[float | None]) -> Series:
    at = dict(zip(steps, times, strict=True))
    return Series.of(
        (step, value, at[step]) for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True)
    )


def _whole(cell: str, column: str, line: _Line, name: str) -> int:
    number = _number(cell, column, line, name)
    if not (math.isfinite(number) and number == int(number) and abs(number) < 2**53):
        raise ImportProblem(f"{name}, {line}: {column} must be a whole number, not {cell[:60]!r}.")
    return int(number)


def _number(cell: str, column: str, line: _Line, name: str) -> float:
    try:
        return float(cell.removesuffix("%")) if cell else math.nan
    except ValueError:
        raise ImportProblem(f"{name}, {line}: {column} must be a number, not {cell[:60]!r}.") from None


def _instant(cell: str, column: str, line: _Line, name: str) -> datetime:
    """ISO 8601, in UTC where it does not say, or Unix seconds."""
    try:
        found = instant(float(cell))
    except ValueError:
        found = _from_iso(cell)
    if found is None:
        words = "must be an instant such as 2026-01-31T12:00:00Z"
        raise ImportProblem(f"{name}, {line}: {column} {words}, not {cell[:60]!r}.")
    return found


def _from_iso(cell: str) -> datetime | None:
    """None for a text that is none, and for an instant that is none in UTC: before the first year, say."""
    try:
        found = datetime.fromisoformat(cell)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
