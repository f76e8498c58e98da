"""A text file as blocks of whole lines, whatever it was written with; of a line without end only a part is read."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from trainer.errors import IngestError

LONGEST_LINE = 16 << 20
"""Bytes; the largest image in colour, with spaces and decimals, takes half of it."""
BLOCK = 256 << 10
"""Bytes; what the arithmetic on a block needs then stays in the processor's cache, which makes it twice as fast."""
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Lines:
    first: int
    """Number of the first line, from 1."""
    data: bytes
    """Each line ends in a line feed."""
    read: int
    """Bytes of the file, as it lies on the disk, up to here."""


def opened(path: Path) -> BinaryIO:
    """The file, unpacked where it is gzipped."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


def blocks(path: Path, name: str, *, size: int = BLOCK) -> Iterator[Lines]:
    """Raises `IngestError` where it is no text of lines: another encoding, a NUL, a line that is too long."""
    with opened(path) as file:
        new = _begun(read(file, size, name), name)
        cut = b"\n" if b"\n" in new or b"\r" not in new else b"\r"
        number, rest = 1, b""
        while new or rest:
            data, rest = _whole_lines(rest + new, cut, last=not new)
            if data:
                data = _plain(data, cut, number, name)
                yield Lines(number, data, position(file))
                number += data.count(b"\n")
            if len(rest) > LONGEST_LINE:
                problem = f"is longer than {LONGEST_LINE >> 20} MB. Is a line end missing, or a quote not closed?"
                raise IngestError(problem, file=name, line=number)
            new = read(file, size, name)


def position(file: BinaryIO) -> int:
    """Bytes of the file as it lies on the disk, packed or not, that have been read."""
    return os.lseek(file.fileno(), 0, os.SEEK_CUR)


def read(file: BinaryIO, size: int, name: str) -> bytes:
    """Raises `IngestError` where what is packed is damaged."""
    try:
        return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise IngestError(f"is gzipped, but damaged or cut short ({error}).", file=name) from error


def _begun(head: bytes, name: str) -> bytes:
    if head.startswith(_UTF_16) or head[:200].count(b"\0") > len(head[:200]) // 3:
        raise IngestError("is UTF-16 text, or no text at all. Save it as CSV in UTF-8.", file=name)
    return head.removeprefix(_BOM)


def _whole_lines(data: bytes, cut: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """Up to the last line end, and what is left."""
    if last:
        return (data if not data or data.endswith(cut) else data + cut), b""
    end = data.rfind(cut) + 1
    return data[:end], data[end:]


def _plain(data: bytes, cut: bytes, number: int, name: str) -> bytes:
    if cut == b"\r":
        data = data.replace(b"\r", b"\n")
    elif b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    place = data.find(b"\0")
    if place >= 0:
        line = number + data.count(b"\n", 0, place)
        raise IngestError("holds a NUL character. Is it really text?", file=name, line=line)
    return data
