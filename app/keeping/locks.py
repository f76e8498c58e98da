"""Who holds a home: files to lock, which the system gives free when their process ends, however it ends."""

from __future__ import annotations

from pathlib import Path
from typing import IO


class HomeError(OSError):
    """The folder that FITROOM_HOME names cannot be used; the message says why."""


def lock_file(path: Path) -> IO[str]:
    """The file, open and not locked yet, in a home that is made where it is missing. Raises `HomeError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError as error:
        raise HomeError(
            f"cannot write in {path.parent}: {error.strerror}. Name a folder of yours in FITROOM_HOME."
        ) from error
