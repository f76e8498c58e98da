"""`fitroom prune`: remove what old runs no longer need, or only say what that would be.

Curves, predictions, logs and the weights of the best epoch stay; what goes is what only a run under way needs, what
can be made again, and what belongs to no run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, delete, exists, func, select, text
from sqlalchemy.orm import Session

from app import runs
from app.config import Settings
from app.db import Database
from app.guarding import audit
from app.models import Change, Run, Status

ENDED = [str(status) for status in Status if status.over]


@dataclass(frozen=True, slots=True)
class Freed:
    """One kind of thing that is removed."""

    what: str
    number: int
    bytes: int


def prune(
    settings: Settings, db: Database, *, now: datetime, older_than: timedelta, failed: bool = False, dry_run: bool
) -> list[Freed]:
    """Remove what runs that ended before `now - older_than` no longer need; with `dry_run` only look.

    `failed` removes such runs themselves where they failed or were archived.
    """
    before = now - older_than
    freed = [_runs(settings, db, before, now, dry_run)] if failed else []
    return [
        *freed,
        _checkpoints(settings, db, before, dry_run),
        _folders_of_no_run(settings, db, dry_run),
        _cache(settings, before, dry_run),
        _journal(db, before, dry_run),
    ]


def _runs(settings: Settings, db: Database, before: datetime, now: datetime, dry_run: bool) -> Freed:
    unwanted = select(Run).where(_old(before), (Run.status == Status.FAILED) | Run.archived, ~Run.starred)
    with _transaction(db, dry_run) as session:
        found = [(run.id, run.name) for run in session.scalars(unwanted)]
        freed = _pages(session)
        for run_id, name in found:
            audit.note(session, "local", "pruned", now=now, run_id=run_id, detail=name)
            runs.remove(session, run_id, now=now)
        session.flush()
        size = freed()
    folders = [settings.run_dir(run_id) for run_id, _ in found]
    size += sum(_size(folder) for folder in folders)
    if not dry_run:
        # The rows first, so that none ever points at files that are gone.
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return Freed("failed and archived runs", len(found), size)


def _checkpoints(settings: Settings, db: Database, before: datetime, dry_run: bool) -> Freed:
    """Of runs that are over, all but the best epoch's weights."""
    with db.read() as session:
        ids = session.scalars(select(Run.id).where(_old(before))).all()
    files = [
        path
        for run_id in ids
        for path in _files(settings.run_dir(run_id))
        if path != settings.weights(run_id)
    ]  # fmt: skip
    return _remove("checkpoints of ended runs", files, dry_run)


def _folders_of_no_run(settings: Settings, db: Database, dry_run: bool) -> Freed:
    # The folders first: a run that is submitted meanwhile has its row before it has a folder.
    folders = _run_folders(settings)
    with db.read() as session:
        known = {str(run_id) for run_id in session.scalars(select(Run.id))}
    unknown = [folder for folder in folders if folder.name not in known]
    size = sum(_size(folder) for folder in unknown)
    if not dry_run:
        for folder in unknown:
            shutil.rmtree(folder, ignore_errors=True)
    return Freed("folders of no run", len(unknown), size)


def of_no_run(settings: Settings) -> tuple[int, int]:
    """How many such folders there are, and their bytes. Raises sqlite3's DatabaseError where the runs are not known."""
    if not settings.database.exists():
        return 0, 0
    with contextlib.closing(sqlite3.connect(f"file:{settings.database}?mode=ro", uri=True)) as connection:
        known = {str(run_id) for (run_id,) in connection.execute("SELECT id FROM runs")}
    unknown = [folder for folder in _run_folders(settings) if folder.name not in known]
    return len(unknown), sum(_size(folder) for folder in unknown)


def _run_folders(settings: Settings) -> list[Path]:
    parent = settings.run_dir(0).parent
    return [folder for folder in parent.iterdir() if folder.is_dir()] if parent.exists() else []


def _cache(settings: Settings, before: datetime, dry_run: bool) -> Freed:
    old = [path for path, status in _status_of(_files(settings.cache_dir)) if status.st_mtime < before.timestamp()]
    return _remove("cached files", old, dry_run)


def _journal(db: Database, before: datetime, dry_run: bool) -> Freed:
    """What live pages were told of runs long over; their logs stay, and so does the newest entry, the cursor."""
    over = exists().where(Run.id == Change.run_id, _old(before))
    gone = ~exists().where(Run.id == Change.run_id) & (Change.at < before)
    newest = select(func.max(Change.id)).scalar_subquery()
    old = (Change.kind != "log") & (over | gone) & (Change.id < newest)
    with _transaction(db, dry_run) as session:
        freed = _pages(session)
        number = session.execute(delete(Change).where(old)).rowcount  # type: ignore[attr-defined]
        return Freed("journal entries of ended runs", number, freed())


def _old(before: datetime) -> ColumnElement[bool]:
    return Run.status.in_(ENDED) & (Run.finished_at < before)


@contextlib.contextmanager
def _transaction(db: Database, dry_run: bool) -> Iterator[Session]:
    """One that a dry run rolls back: what it frees is then known without a guess."""
    with contextlib.suppress(_DryRun), db.write() as session:
        yield session
        if dry_run:
            raise _DryRun


class _DryRun(Exception):
    """Undo what was done."""


def _pages(session: Session) -> Callable[[], int]:
    """Tells how many bytes the database has free for new rows since this was called."""

    def free() -> int:
        size: int = session.execute(text("PRAGMA page_size")).scalar_one()
        return size * int(session.execute(text("PRAGMA freelist_count")).scalar_one())

    before = free()
    return lambda: free() - before


def _remove(what: str, files: list[Path], dry_run: bool) -> Freed:
    number, sizes = 0, dict[int, int]()
    for path, status in _status_of(files):
        number += 1
        # A file with several names counts once: best.pt may be last.pt.
        sizes[status.st_ino] = status.st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    return Freed(what, number, sum(sizes.values()))


def _files(folder: Path) -> list[Path]:
    return sorted(Path(where, name) for where, _, names in os.walk(folder) for name in names)


def _status_of(files: list[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Of the files themselves, not of what a link leads to; what has vanished meanwhile is left out."""
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            yield path, path.lstat()


def _size(folder: Path) -> int:
    return sum({status.st_ino: status.st_size for _, status in _status_of(_files(folder))}.values())


def lines(freed: list[Freed], *, dry_run: bool) -> Iterator[str]:
    for kind in freed:
        yield f"{kind.number:>9,}  {kind.what:<32} {kind.bytes / 1e6:>12,.1f} MB"
    total = sum(kind.bytes for kind in freed) / 1e6
    yield f"{total:,.1f} MB would be freed; nothing was removed." if dry_run else f"{total:,.1f} MB freed."
