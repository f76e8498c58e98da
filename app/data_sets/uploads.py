"""Files on their way in: announced, sent in pieces that may break off anywhere, and kept until they are a data set.

An upload is a folder with a `state.json` and one file for each that was announced, called by its number: nothing that
a sender wrote is ever part of a path. What counts as received is what `state.json` says: bytes beyond it, of a piece
that broke off or arrived damaged, are cut away before the next one. The protocol follows tus 1.0 (https://tus.io):
announce, ask for the offset, append at the offset.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from app.clock import Clock
from app.data_sets.pieces import (
    Checksum,
    File,
    NoRoom,
    NoSuchUpload,
    Piece,
    TooLarge,
    TooMany,
    WrongOffset,
    no_room_told,
)
from app.forms import FormError

MOST_FILES = 8
MOST_AT_ONCE = 16
"""Uploads under way at the same time on one server."""
UNDER_WAY = timedelta(minutes=10)
"""So long after its last piece an upload still counts as under way."""
KEPT = timedelta(days=1)
"""So long an upload that nobody touches is kept."""
SPARE_BYTES = 256 * 1024 * 1024
"""Of the disk, left free for everything else."""
LONGEST_NAME = 200

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Marks that turn the direction of what follows: a name must not change how the words around it read.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    name: str
    """What the data set is to be called; may still be changed."""
    who: str
    created_at: datetime
    touched_at: datetime
    files: tuple[File, ...]
    plain: bool = False
    """Whether it comes as one form, which cannot be resumed."""

    @property
    def complete(self) -> bool:
        return bool(self.files) and all(item.complete for item in self.files)

    @property
    def size(self) -> int:
        return sum(item.size for item in self.files)

    @property
    def received(self) -> int:
        return sum(item.offset for item in self.files)


@dataclass(slots=True)
class Uploads:
    """The uploads of one server, each a folder below `folder`. Thread-safe; one process only."""

    folder: Path
    limit: int
    """Bytes of one upload, all its files together."""
    clock: Clock
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _open: dict[tuple[str, int], Piece] = field(default_factory=dict)

    def create(self, announced: Sequence[Mapping[str, Any]], *, name: str, who: str) -> Upload:
        """Make room for files of these names and sizes. Raises `FormError`, `TooLarge`, `NoRoom`, `TooMany`."""
        files = _announced(announced)
        self.fits(sum(item.size for item in files))
        return self._made(files, name, who, plain=False)

    def open(self, size: int, *, who: str) -> Upload:
        """Make room for a form of so many bytes, whose files are told as they come. Raises as `create` does."""
        self.fits(size)
        return self._made((), "", who, plain=True)

    def add(self, upload_id: str, filename: str, most: int) -> Piece:
        """The next file of an opened upload, of at most so many bytes. Raises `FormError`."""
        with self._lock, no_room_told():
            upload = self.get(upload_id)
            number = len(upload.files)
            files = (*upload.files, File(clean(filename) or f"file {number + 1}", most))
            if len(files) > MOST_FILES:
                raise FormError({"files": f"Choose from 1 to {MOST_FILES} files."})
            self.path(upload_id, str(number)).touch()
            self._record(replace(upload, files=files))
            return self.begin(upload_id, number, 0)

    def settle(self, upload_id: str, name: str) -> Upload:
        """All files of an opened upload are here. Raises `FormError` where there is none, or one is empty."""
        with self._lock, no_room_told():
            upload = self.get(upload_id)
            files = tuple(replace(item, size=item.offset) for item in upload.files)
            _announced([asdict(item) for item in files])
            return self._record(replace(upload, name=clean(name), files=files, touched_at=self.clock()))

    def fits(self, size: int) -> None:
        """Raises `TooLarge`, `NoRoom`, `TooMany` where an upload of so many bytes cannot begin."""
        if size > self.limit:
            raise TooLarge(f"{file_size(size)} is more than the {file_size(self.limit)} that an upload may have here.")
        now = self.clock()
        waiting = [item for item in self.all() if not item.complete]
        if sum(now - item.touched_at < UNDER_WAY for item in waiting) >= MOST_AT_ONCE:
            raise TooMany(f"{MOST_AT_ONCE} uploads are under way already. Please try again in a few minutes.")
        self.folder.mkdir(parents=True, exist_ok=True)
        promised = sum(item.size - item.received for item in waiting)
        free = max(0, shutil.disk_usage(self.folder).free - SPARE_BYTES - promised)
        if size > free:
            raise NoRoom(f"The disk of the server has room for {file_size(free)} more, but this is {file_size(size)}.")

    def get(self, upload_id: str) -> Upload:
        """Raises `NoSuchUpload`."""
        try:
            told = json.loads((self.path(upload_id) / "state.json").read_text())
            moments = {key: datetime.fromisoformat(told[key]) for key in ("created_at", "touched_at")}
            files = tuple(File(**item) for item in told["files"])
            return Upload(**{**told, **moments, "id": upload_id, "files": files})
        except (OSError, ValueError, KeyError, TypeError):
            # Damaged, or of another version of Fitroom, it is none either.
            raise NoSuchUpload("There is no such upload: it was finished, discarded, or left for a day.") from None

    def path(self, upload_id: str, *parts: str) -> Path:
        """Where an upload keeps its things. Raises `NoSuchUpload` for what cannot be an id."""
        if not _ID.fullmatch(upload_id):
            raise NoSuchUpload("There is no such upload.")
        return self.folder.joinpath(upload_id, *parts)

    def all(self) -> list[Upload]:
        """Those there are, oldest first."""
        found = []
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            try:
                found.append(self.get(folder.name))
            except NoSuchUpload:
                continue  # removed this moment, or no upload at all: `sweep` sees to it
        return sorted(found, key=lambda item: item.created_at)

    def _made(self, files: tuple[File, ...], name: str, who: str, *, plain: bool) -> Upload:
        now = self.clock()
        upload = Upload(secrets.token_urlsafe(16), clean(name), who, now, now, files, plain)
        with self._lock, no_room_told():
            folder = self.path(upload.id)
            folder.mkdir(parents=True)
            for number in range(len(files)):
                (folder / str(number)).touch()
            return self._record(upload)

    def resume(self, upload_id: str, number: int) -> File:
        """Where to go on with a file. A piece that is still being received ends here: its sender asks anew."""
        with self._lock:
            self._end_piece(upload_id, number)
            return self._file(self.get(upload_id), number)

    def begin(self, upload_id: str, number: int, offset: int, checksum: Checksum | None = None) -> Piece:
        """A piece of a file from `offset` on. Raises `NoSuchUpload`, `WrongOffset`."""
        with self._lock:
            file = self.resume(upload_id, number)
            if offset != file.offset:
                raise WrongOffset(file.offset)
            piece = Piece(self, upload_id, number, file, checksum)
            self._open[upload_id, number] = piece
            return piece

    def remove(self, upload_id: str) -> None:
        """Everything of it. Raises `NoSuchUpload`."""
        with self._lock:
            for number in range(len(self.get(upload_id).files)):
                self._end_piece(upload_id, number)
            shutil.rmtree(self.path(upload_id))

    def sweep(self, busy: Sequence[str] = ()) -> int:
        """Remove what nobody has touched for `KEPT`, and what is no upload. Returns how many."""
        with self._lock:
            kept = {item.id for item in self.all() if self.clock() - item.touched_at < KEPT} | set(busy)
            there = self.folder.iterdir() if self.folder.is_dir() else ()
            old = [folder for folder in there if folder.name not in kept]
            for folder in old:
                shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def touch(self, upload_id: str) -> None:
        """Somebody still works on it. Raises `NoSuchUpload`."""
        with self._lock, no_room_told():
            self._record(replace(self.get(upload_id), touched_at=self.clock()))

    def received(self, upload_id: str, number: int, file: File) -> None:
        """Record what a piece has brought."""
        with self._lock, no_room_told():
            upload = self.get(upload_id)
            files = [file if place == number else item for place, item in enumerate(upload.files)]
            self._record(replace(upload, files=tuple(files), touched_at=self.clock()))

    def progressed(self, piece: Piece, file: File) -> None:
        """Record what a long piece has brought so far, unless another has taken its place."""
        with self._lock:
            if self._open.get((piece.upload_id, piece.number)) is piece:
                self.received(piece.upload_id, piece.number, file)

    def closed(self, piece: Piece) -> None:
        with self._lock:
            if self._open.get((piece.upload_id, piece.number)) is piece:
                del self._open[piece.upload_id, piece.number]

    def _end_piece(self, upload_id: str, number: int) -> None:
        piece = self._open.pop((upload_id, number), None)
        if piece:
            piece.end(whole=False)

    def _file(self, upload: Upload, number: int) -> File:
        if not 0 <= number < len(upload.files):
            raise NoSuchUpload(f"This upload has no file {number}.")
        return upload.files[number]

    def _record(self, upload: Upload) -> Upload:
        told = asdict(upload) | {key: getattr(upload, key).isoformat() for key in ("created_at", "touched_at")}
        path = self.path(upload.id, "state.json")
        part = path.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(path)
        return upload


def clean(name: str) -> str:
    """A file's or data set's name as it may be shown: its last part, without what controls or turns the text."""
    last = re.split(r"[/\\]", name)[-1]
    kept = (char for char in last if char not in _TURNING and unicodedata.category(char) not in ("Cc", "Cs"))
    return "".join(kept).strip()[:LONGEST_NAME]


def file_size(size: int) -> str:
    """Bytes as a person reads them: 1.5 GB, 133 MB."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if size >= 1000**power:
            number = size / 1000**power
            return f"{number:,.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    return f"{size} bytes"


def _announced(files: Sequence[Mapping[str, Any]]) -> tuple[File, ...]:
    if not 1 <= len(files) <= MOST_FILES:
        raise FormError({"files": f"Choose from 1 to {MOST_FILES} files."})
    return tuple(map(_one, files))


def _one(told: Mapping[str, Any]) -> File:
    filename, size, sha256 = told.get("filename"), told.get("size"), told.get("sha256")
    if not isinstance(filename, str) or not clean(filename):
        raise FormError({"files": "Each file needs its filename."})
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**53:
        raise FormError({"files": f"{clean(filename)}: the size must be a number of bytes."})
    if size == 0:
        raise FormError({"files": f"{clean(filename)} is empty."})
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise FormError({"files": f"{clean(filename)}: sha256 must be 64 hexadecimal digits."})
    return File(clean(filename), size, sha256=sha256)
