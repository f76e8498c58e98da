"""An uploaded file as a stream of its unpacked bytes, and the tables that a zip may hold instead of pictures.

Kaggle hands out its tables in a zip; they are read where they lie, without being unpacked to the disk.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from trainer.ingest.contract import Upload
from trainer.ingest.damage import in_words
from trainer.ingest.parts import for_training, for_validation

_TABLE = re.compile(r".*\.(csv|tsv)(\.gz)?", re.IGNORECASE)
_IDX = re.compile(r".*idx[134]-ubyte(\.gz)?", re.IGNORECASE)
_PICTURE = re.compile(r".*\.(png|jpe?g|webp|bmp)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Opened:
    file: IO[bytes]
    """Gives the unpacked bytes."""
    name: str
    _raw: BinaryIO
    _start: int

    def read(self, size: int) -> bytes:
        """Up to so many bytes; fewer at the end only. Raises `IngestError` where what is packed is damaged."""
        with in_words(self.name):
            return self.file.read(size)

    @property
    def position(self) -> int:
        """How many bytes of it, as it lies on the disk, have been read."""
        return os.lseek(self._raw.fileno(), 0, os.SEEK_CUR) - self._start


@contextlib.contextmanager
def opened(upload: Upload) -> Iterator[Opened]:
    """Raises `IngestError` where what is packed is damaged."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(upload.path.open("rb"))
        file: IO[bytes] = raw
        with in_words(upload.filename):
            if upload.entry is not None:
                packed = stack.enter_context(zipfile.ZipFile(raw))
                file = stack.enter_context(packed.open(upload.entry))
            start = os.lseek(raw.fileno(), 0, os.SEEK_CUR)
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if gzipped:
                file = stack.enter_context(contextlib.closing(cast("IO[bytes]", gzip.GzipFile(fileobj=file))))
        yield Opened(file, upload.filename, raw, start)


def unpacked(files: Sequence[Upload]) -> list[Upload]:
    """Of a zip that holds tables or IDX files and no pictures, those files; else the files as they are.

    Raises `IngestError` for a zip that is damaged.
    """
    if len(files) != 1 or files[0].entry is not None:
        return list(files)
    upload = files[0]
    with upload.path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return [upload]
        with in_words(upload.filename), zipfile.ZipFile(file) as packed:
            return _tables(upload, packed.infolist()) or [upload]


def _tables(upload: Upload, entries: Sequence[zipfile.ZipInfo]) -> list[Upload]:
    if any(_PICTURE.fullmatch(info.filename) for info in entries):
        return []
    named = {PurePosixPath(info.filename).name: info for info in entries if "__MACOSX" not in info.filename}
    for pattern in (_TABLE, _IDX):
        found = [
            Upload(upload.path, name, info.filename, info.compress_size)
            for name, info in named.items()
            if pattern.fullmatch(name) and not name.startswith(".")
        ]
        if found:
            said = [file for file in found if for_training(file.filename) or for_validation(file.filename)]
            return said if pattern is _TABLE and len(found) > 2 and said else found
    return []
