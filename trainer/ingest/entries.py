"""The files in a zip or tar archive, one after the other, without ever writing one to the disk."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from trainer.errors import IngestError
from trainer.ingest.contract import Upload
from trainer.ingest.damage import in_words
from trainer.ingest.opening import opened

MOST_FILE = 64 << 20
"""Bytes of one unpacked image file."""
MOST_ENTRIES = 4_000_000
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
_NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True, slots=True)
class Entry:
    path: PurePosixPath
    name: str
    """As it stands in the archive."""
    position: int
    """Bytes of the archive, as it lies on the disk, up to its end, about."""
    read: Callable[[], bytes]
    """Its content; only until the next entry is asked for. Raises `IngestError`."""


def entries(upload: Upload) -> Iterator[Entry]:
    """All that a person has put there, in the archive's order.

    Raises `IngestError` for a damaged archive, and for an entry that leads out of it, is a link or another archive.
    """
    with upload.path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    with in_words(upload.filename):
        for number, entry in enumerate(_zipped(upload) if is_zip else _tarred(upload)):
            if number == MOST_ENTRIES:
                raise IngestError(f"holds more than {MOST_ENTRIES:,} files.", file=upload.filename)
            if any(part.startswith(".") or part in _HIDDEN for part in entry.path.parts):
                continue
            if entry.path.suffix.lower() in _NESTED:
                raise IngestError(
                    "is an archive in the archive. Unpack it first.", file=upload.filename, entry=entry.name
                )
            yield entry


def _zipped(upload: Upload) -> Iterator[Entry]:
    with zipfile.ZipFile(upload.path) as packed:
        for info in packed.infolist():
            path = _safe(info.filename, upload)
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise IngestError("is a link, not a file.", file=upload.filename, entry=info.filename)
            if info.flag_bits & 1:
                raise IngestError("is encrypted.", file=upload.filename, entry=info.filename)

            def read(info: zipfile.ZipInfo = info) -> bytes:
                _check_size(info.file_size, info.filename, upload)
                with in_words(upload.filename, info.filename), packed.open(info) as file:
                    return _capped(file, info.filename, upload)

            yield Entry(path, info.filename, info.header_offset + info.compress_size, read)


def _tarred(upload: Upload) -> Iterator[Entry]:
    with opened(upload) as file, tarfile.open(fileobj=file.file, mode="r:") as packed:
        while (info := packed.next()) is not None:
            packed.members = []  # type: ignore[attr-defined]  # it would remember every one of millions
            path = _safe(info.name, upload)
            if info.isdir():
                continue
            if not info.isreg():
                raise IngestError("is a link or a device, not a file.", file=upload.filename, entry=info.name)

            def read(info: tarfile.TarInfo = info) -> bytes:
                _check_size(info.size, info.name, upload)
                with in_words(upload.filename, info.name):
                    found = packed.extractfile(info)
                    assert found is not None  # noqa: S101 - it is a regular file
                    return _capped(found, info.name, upload)

            yield Entry(path, info.name, file.position, read)


def _safe(name: str, upload: Upload) -> PurePosixPath:
    """Nothing is written under these names, but one that leads elsewhere was not made by an honest program."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
        raise IngestError("leads out of the archive.", file=upload.filename, entry=name)
    return path


def _check_size(size: int, name: str, upload: Upload) -> None:
    if size > MOST_FILE:
        problem = f"is larger than {MOST_FILE >> 20} MB, which no image here needs to be."
        raise IngestError(problem, file=upload.filename, entry=name)


def _capped(file: IO[bytes], name: str, upload: Upload) -> bytes:
    """An archive may say that it is small when it is not."""
    content = file.read(MOST_FILE + 1)
    _check_size(len(content), name, upload)
    return content
