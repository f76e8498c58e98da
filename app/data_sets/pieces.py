"""Pieces of a file: written as they come, checked, and counted only when that is right."""

from __future__ import annotations

import errno
import hashlib
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.forms import FormError

if TYPE_CHECKING:
    from app.data_sets.uploads import Uploads

RECORDED_EVERY = 16 * 1024 * 1024
"""Bytes of an unchecked piece after which a server that dies loses nothing of what came before."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UploadError(Exception):
    """An upload cannot go on as it was asked to; the message is a sentence for a person.

    NoSuchUpload, TooLarge, NoRoom, TooMany, WrongOffset, Damaged, NotYet
    """

    status = 400


class NoSuchUpload(UploadError):
    status = 404


class TooLarge(UploadError):
    status = 413


class NoRoom(UploadError):
    status = 507


class TooMany(UploadError):
    status = 429


class WrongOffset(UploadError):
    status = 409

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(f"The next byte of this file to send is number {offset}.")


class Damaged(UploadError):
    status = 422


class NotYet(UploadError):
    """What was asked needs a step before it."""

    status = 409


@dataclass(frozen=True, slots=True)
class File:
    """One file of an upload."""

    filename: str
    """As the sender calls it, for showing only."""
    size: int
    offset: int = 0
    """Bytes received and recorded."""
    crc32: int = 0
    """Of these bytes."""
    sha256: str | None = None
    """What the whole file must have, where the sender said so."""

    @property
    def complete(self) -> bool:
        return self.offset == self.size


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece must have arrived as."""

    algorithm: str
    value: str

    @classmethod
    def of(cls, text: str) -> Checksum:
        """ "crc32 1a2b3c4d" or "sha256 ..." in hexadecimal. Raises `FormError`."""
        algorithm, _, value = text.strip().lower().partition(" ")
        digits = {"crc32": 8, "sha256": 64}.get(algorithm)
        if digits is None or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
            raise FormError({"Upload-Checksum": "Must be crc32 or sha256, a space, and the value in hexadecimal."})
        return cls(algorithm, value)


class Piece:
    """Bytes of one request, written as they come. Ends exactly once; what comes after its end is refused."""

    def __init__(self, uploads: Uploads, upload_id: str, number: int, file: File, checksum: Checksum | None) -> None:
        self.upload_id, self.number = upload_id, number
        self._uploads, self._before, self._file, self._checksum = uploads, file, file, checksum
        self._own_crc, self._own_sha = 0, hashlib.sha256()
        self._recorded = file.offset
        self._lock, self._ended = threading.Lock(), False
        # Unbuffered: what a full disk did not take must not come again when the file is closed.
        self._handle = uploads.path(upload_id, str(number)).open("r+b", buffering=0)
        self._handle.truncate(file.offset)
        self._handle.seek(file.offset)

    def write(self, data: bytes) -> None:
        """Raises `TooLarge` beyond the announced size, `NoRoom` where the disk is full, `WrongOffset` after the end."""
        with self._lock:
            if self._ended:
                raise WrongOffset(self._file.offset)
            if self._file.offset + len(data) > self._file.size:
                raise TooLarge(f"{self._file.filename} was announced with {self._file.size:,} bytes; here are more.")
            rest = memoryview(data)
            with no_room_told():
                while rest:
                    count = self._handle.write(rest)
                    self._count(rest[:count])
                    rest = rest[count:]
            file = self._file
        # Without its own lock: who ends a piece holds that of all uploads first.
        if self._checksum is None and file.offset - self._recorded >= RECORDED_EVERY:
            self._recorded = file.offset
            self._uploads.progressed(self, file)

    def end(self, *, whole: bool) -> File:
        """Record what came. `whole`: all of the piece is here; a broken one counts only where nothing is checked.

        Raises `Damaged` where it is not what its checksum, or that of the file, says; then it does not count.
        """
        with self._lock:
            if self._ended:
                return self._file
            self._ended = True
            self._handle.close()
        try:
            self._file = self._judged(whole)
            self._uploads.received(self.upload_id, self.number, self._file)
        finally:
            self._uploads.closed(self)
        return self._file

    def _judged(self, whole: bool) -> File:
        if self._checksum is None:
            return self._checked_as_a_whole(self._file)
        if not whole:
            return self._before
        found = f"{self._own_crc:08x}" if self._checksum.algorithm == "crc32" else self._own_sha.hexdigest()
        if found != self._checksum.value:
            raise Damaged("A piece of the file arrived damaged. Send it again.")
        return self._checked_as_a_whole(self._file)

    def _checked_as_a_whole(self, file: File) -> File:
        if not file.complete or file.sha256 is None:
            return file
        with self._uploads.path(self.upload_id, str(self.number)).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest == file.sha256:
            return file
        self._uploads.received(self.upload_id, self.number, replace(file, offset=0, crc32=0))
        raise Damaged(f"{file.filename} has not arrived as the file that was announced. Send it again from its start.")

    def _count(self, data: memoryview) -> None:
        self._file = replace(self._file, offset=self._file.offset + len(data), crc32=zlib.crc32(data, self._file.crc32))
        if self._checksum and self._checksum.algorithm == "crc32":
            self._own_crc = zlib.crc32(data, self._own_crc)
        elif self._checksum:
            self._own_sha.update(data)


@contextmanager
def no_room_told() -> Iterator[None]:
    """Raises `NoRoom` for what a full disk, or a quota, has refused."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoRoom("The disk of the server is full. What has arrived is kept; go on when there is room.") from error
