"""Who holds a home: files to lock, which the system gives free when their process ends, however it ends."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from app.refusal import Refusal


class HomeError(Refusal, OSError):
    """The folder that FITROOM_HOME names cannot be used; the message says why."""


def cannot_write(folder: Path, error: OSError | None = None) -> HomeError:
    why = f": {error.strerror}" if error else ""
    return HomeError(f"cannot write in {folder}{why}. Name a folder of yours in FITROOM_HOME.")


def lock_file(path: Path) -> IO[str]:
    """The file, open and not locked yet, in a home that is made where it is missing. Raises `HomeError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError as error:
        raise cannot_write(path.parent, error) from error
