"""A text file as blocks of whole lines, whatever it was written with; of a line without end only a part is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.errors import IngestError
from trainer.ingest.contract import Upload
from trainer.ingest.opening import opened

LONGEST_LINE = 16 << 20
"""Bytes; the largest image in colour, with spaces and decimals, takes half of it."""
BLOCK = 8 << 20
"""Bytes; a few thousand rows of the usual layout, so that what a block costs by the column does not matter."""
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


def blocks(upload: Upload, *, size: int = BLOCK) -> Iterator[Lines]:
    """Raises `IngestError` where it is no text of lines: another encoding, a NUL, a line that is too long."""
    name = upload.filename
    with opened(upload) as file:
        new = _begun(file.read(size), name)
        cut = b"\n" if b"\n" in new or b"\r" not in new else b"\r"
        number, rest = 1, b""
        while new or rest:
            data, rest = _whole_lines(rest + new, cut, last=not new)
            if data:
                data = _plain(data, cut, number, name)
                yield Lines(number, data, file.position)
                number += data.count(b"\n")
            if len(rest) > LONGEST_LINE:
                problem = f"is longer than {LONGEST_LINE >> 20} MB. Is a line end missing, or a quote not closed?"
                raise IngestError(problem, file=name, line=number)
            new = file.read(size)


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
