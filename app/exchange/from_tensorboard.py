"""Past runs out of a TensorBoard log directory: a run for each folder with event files, as TensorBoard shows them.

What its writers spread over several folders is put together again: Keras' `train` and `validation`, the folders that
PyTorch's `add_scalars` makes for each line and `add_hparams` for each call.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.exchange import eventfile
from app.exchange.eventfile import DamagedFile, HParams, Scalar
from app.exchange.past import LONGEST_NAME, MOST_POINTS, ImportProblem, PastRun, Series, instant, within_limits
from app.models import Source

SPLITS = ("train", "training", "validation", "val", "valid", "eval", "test")

Point = tuple[int, float, float | None]


@dataclass
class _Folder:
    """What one folder's event files tell."""

    path: Path
    files: list[Path]
    points: dict[str, list[Point]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    """The first and the last that was written."""


def read(root: Path, name: str) -> list[PastRun]:
    """`name` is what people call the directory, and a run that lies in it directly.

    Raises `ImportProblem`: no such folder, nothing in it, a damaged file.
    """
    if not root.is_dir():
        raise ImportProblem(f"{name} is no folder.")
    folders = {path: _read(path, sorted(files), root) for path, files in _by_folder(root).items()}
    runs: dict[Path, list[_Folder]] = {}
    for folder in folders.values():
        owner = _owner(folder, folders)
        if owner != folder.path:
            _name_after(folder)
        runs.setdefault(owner, []).append(folder)
    found = [_run(owner, parts, root, name) for owner, parts in sorted(runs.items())]
    return within_limits([run for run in found if run.series])


def _by_folder(root: Path) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for file in sorted(root.rglob("*tfevents*")):
        # A link could lead anywhere; what is imported lies in the folder itself.
        if file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(root.resolve()):
            found.setdefault(file.parent, []).append(file)
    return found


def _read(path: Path, files: Sequence[Path], root: Path) -> _Folder:
    folder, count = _Folder(path, list(files)), 0
    for file in files:
        try:
            for item in eventfile.read(file):
                if isinstance(item, HParams):
                    folder.settings |= item.values
                    continue
                _add(folder, item)
                count += 1
                if count > MOST_POINTS:
                    raise ImportProblem(f"{file.relative_to(root)} holds more than {MOST_POINTS:,} points.")
        except DamagedFile as error:
            raise ImportProblem(f"{file.relative_to(root)}: {error}.") from error
        except OSError as error:
            raise ImportProblem(f"{file.relative_to(root)} cannot be read: {error.strerror}.") from error
    return folder


def _add(folder: _Folder, item: Scalar) -> None:
    folder.points.setdefault(item.tag[:LONGEST_NAME], []).append((item.step, item.value, item.wall_time))
    first = folder.moments[0] if folder.moments else item.wall_time
    folder.moments = [min(first, item.wall_time), max([*folder.moments[1:], item.wall_time])]


def _owner(folder: _Folder, folders: dict[Path, _Folder]) -> Path:
    """The folder of the run that this one belongs to: its own, or the one above."""
    above = folder.path.parent
    if folder.path.name.lower() in SPLITS:
        return above
    if above in folders and (_is_line(folder) or folder.settings):
        return above
    return folder.path


def _is_line(folder: _Folder) -> bool:
    """Whether `add_scalars` made it: called after its one tag and the line's name."""
    return len(folder.points) == 1 and folder.path.name.startswith(_slug(next(iter(folder.points))))


def _slug(tag: str) -> str:
    return tag.replace("/", "_") + "_"


def _name_after(folder: _Folder) -> None:
    """Say in the names of its measures what the folder's own name has said."""
    name = folder.path.name
    if name.lower() in SPLITS:
        folder.points = {f"{name}/{tag}": points for tag, points in folder.points.items()}
    elif _is_line(folder):
        folder.points = {f"{tag}/{name[len(_slug(tag)) :]}": points for tag, points in folder.points.items()}


def _run(owner: Path, parts: Iterable[_Folder], root: Path, name: str) -> PastRun:
    parts = list(parts)
    points: dict[str, list[Point]] = {}
    settings: dict[str, Any] = {}
    for part in parts:
        settings |= part.settings
        for tag, found in part.points.items():
            points.setdefault(tag, []).extend(found)
    moments = [moment for part in parts for moment in part.moments]
    where = owner.relative_to(root).as_posix() if owner.is_relative_to(root) else "."
    return PastRun(
        source=Source.TENSORBOARD,
        key=_key([file for part in parts for file in part.files]),
        name=name if where == "." else where,
        where=where,
        created_at=instant(min(moments, default=None)),
        finished_at=instant(max(moments, default=None)),
        settings=settings,
        series={tag: Series.of(found) for tag, found in points.items()},
    )


def _key(files: Sequence[Path]) -> str:
    """Of the first file's name and beginning: they stay when the run goes on and its files grow."""
    first = min(files, key=lambda file: (_in_order(file.name), file.as_posix()))
    digest = hashlib.sha256(first.name.encode())
    for record in itertools.islice(eventfile.records(first), 2):
        digest.update(record)
    return f"tensorboard:{digest.hexdigest()[:40]}"


def _in_order(name: str) -> list[tuple[int, str]]:
    """Numbers by their value: a process counts the files that it begins in one second, and the tenth is no first."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]
