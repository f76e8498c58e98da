"""`fitroom backup` and `fitroom restore`: everything that cannot be made again, in one tar file.

A backup may be made while runs train: SQLite copies a snapshot, and checkpoints take their names only when they are
whole. Files go in before the database, so that the database is never older than what it speaks of: a checkpoint that
is one epoch behind repeats an epoch, one that is ahead would leave a gap.

A restore goes into a home without a database, and the database is the last thing that takes its place there: a home
holds either nothing that can be opened or all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from app import runs
from app.clock import utc_now
from app.config import Settings
from app.db import Database
from app.keeping.locks import lock_file
from app.refusal import Refusal
from app.schema import SchemaError, known_state, migrate, must_exist
from trainer.durable import sync

DATABASE, RUNS, DATA = "fitroom.db", "runs", "data"


class BackupError(Refusal):
    """It cannot be made or restored; the message says why and what to do."""


def backup(settings: Settings, to: Path, *, checkpoints: bool = True, data: bool = False) -> int:
    """Write the home's database, and with them its checkpoints and data sets, to the new file `to`; its bytes.

    Raises `BackupError`, and leaves no file then; `SchemaError` or `HomeError` for a database that cannot be used.
    """
    must_exist(settings.database)
    known_state(settings.database)
    if to.exists():
        raise BackupError(f"{to} is there already; name another file.")
    part = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    try:
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".fitroom-backup-") as folder:
            # best.pt and last.pt may be one file with two names; in here each is a file of its own.
            with tarfile.open(part, "w", dereference=True) as archive:
                for name, wanted in ((RUNS, checkpoints), (DATA, data)):
                    if wanted:
                        _add_folder(archive, settings.home / name, name)
                _copy_database(settings.database, Path(folder) / DATABASE)
                archive.add(Path(folder) / DATABASE, DATABASE)
            sync(part)
        part.replace(to)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup could not be written: {_words(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
    return to.stat().st_size


def restore(settings: Settings, source: Path) -> int:
    """Put what `backup` has written into a home without a database; the number of runs. Raises `BackupError`.

    Runs that trained when it was made wait in the queue, and go on from their checkpoints.
    """
    with _alone(settings):
        if settings.database.exists():
            raise BackupError(
                f"{settings.home} holds a database already, which is never overwritten. Move it away, or name another "
                "FITROOM_HOME."
            )
        try:
            with tempfile.TemporaryDirectory(dir=settings.home, prefix=".restore-") as folder:
                return _put_in_place(settings, _unpacked(source, Path(folder)))
        except (OSError, tarfile.TarError, sqlite3.Error) as error:
            raise BackupError(f"{source} could not be restored: {_words(error)}.") from error


def _put_in_place(settings: Settings, unpacked: Path) -> int:
    database = unpacked / DATABASE
    number = _checked(database)
    for name in (RUNS, DATA):
        for path in _entries(unpacked / name):
            # What an interrupted restore has left here is done again; data sets that are here already are kept.
            target = settings.home / name / path.name
            target.parent.mkdir(exist_ok=True)
            if name == RUNS and target.exists():
                shutil.rmtree(target)
            if not target.exists():
                _move(path, target)
    sync(settings.home)
    database.replace(settings.database)
    sync(settings.home)
    return number


def _checked(database: Path) -> int:
    """Look whether the restored database is whole, and free its runs. Raises `BackupError`."""
    if not database.is_file():
        raise BackupError("That is no backup: there is no database in it.")
    try:
        migrate(database)
    except SchemaError as error:
        raise BackupError(f"The database in it cannot be used: {error}") from error
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise BackupError(f"The database in it is damaged: {answer}.")
    db = Database(database)
    try:
        with db.write() as session:
            runs.requeue_all(session, now=utc_now(), why="Restored from a backup; the run waits to be resumed.")
            number = runs.count(session)
    finally:
        db.close()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # All of it into the one file that is moved.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return number


def _move(path: Path, target: Path) -> None:
    """Whole or not at all, to another disk too: the folder of data sets may be a link."""
    part = target.with_name(f".{target.name}.part")
    if part.is_dir():
        shutil.rmtree(part)
    shutil.move(path, part)
    part.replace(target)


def _unpacked(source: Path, folder: Path) -> Path:
    with tarfile.open(source) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            content = archive.extractfile(member) if member.isfile() else None
            # Nothing leaves the folder: no absolute names, no "..", no links, no devices.
            if content is None or ".." in parts or parts[0] not in (DATABASE, RUNS, DATA):
                raise BackupError(f"{source} is no backup: {member.name!r} has no place in one.")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.utime(target, (member.mtime, member.mtime))
    return folder


def _add_folder(archive: tarfile.TarFile, folder: Path, name: str) -> None:
    """Every whole file below `folder`; what vanishes while this runs has been replaced or deleted."""
    files = (Path(where, file) for where, _, files in os.walk(folder, followlinks=True) for file in files)
    for path in sorted(files):
        if path.suffix == ".part" or not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            # By the open file: its name may come to mean another one meanwhile.
            info = archive.gettarinfo(fileobj=file, arcname=f"{name}/{path.relative_to(folder)}")
            archive.addfile(info, file)


def _copy_database(source: Path, to: Path) -> None:
    """A snapshot, made in one go: writers go on, and are not in it."""
    with contextlib.closing(sqlite3.connect(source, timeout=30)) as old, contextlib.closing(sqlite3.connect(to)) as new:
        old.backup(new)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Nobody serves this home or works on it while the block runs. Raises `BackupError`."""
    with contextlib.ExitStack() as held:
        for lock, who in ((settings.serve_lock, "is being served"), (settings.workers_lock, "has workers")):
            file = held.enter_context(lock_file(lock))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"{settings.home} {who}; stop that first.") from None
        yield


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
