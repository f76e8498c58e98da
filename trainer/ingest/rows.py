"""The rows of a CSV file: labels and pixels, each error with its line and column.

Rows of plain numbers are read by arithmetic on whole blocks of bytes, which is faster than general CSV readers and
holds little at a time (benchmarks/data.py); a block in which anything else stands is read cell by cell.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest import lines
from trainer.ingest.contract import MOST_CLASSES, Bytes, Upload
from trainer.ingest.names import class_name

Text = tuple[str, ...]
Ends = np.ndarray[Any, np.dtype[np.int32]]

_PIXELS = {str(value): value for value in range(256)}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file's lines are to be read."""

    name: str
    """The user's name of the file."""
    delimiter: str
    header: Text | None
    columns: int
    label: int
    """Place of the label's column, from 0."""
    skipped: frozenset[int] = frozenset()
    """Places of columns that are neither label nor pixel."""
    numbered: bool = False
    """Whether labels must be the classes' numbers, from 0 up."""

    @property
    def pixels(self) -> list[int]:
        """Places of the pixels' columns."""
        return [i for i in range(self.columns) if i != self.label and i not in self.skipped]


Rows = tuple[list[str], Bytes]
"""The labels and the pixels [N, P] of some lines."""


def read(upload: Upload, layout: Layout, *, size: int = lines.BLOCK) -> Iterator[tuple[int, Rows]]:
    """Position in the file, and the rows up to there. Raises `IngestError` with line and column."""
    columns = np.array(layout.pixels, np.int64)
    for block in lines.blocks(upload, size=size):
        data, first = block.data, block.first
        if first == 1 and layout.header is not None:
            data, first = data.partition(b"\n")[2], 2
        rows = plain_rows(data, layout, columns) or _cell_by_cell(data, layout, first)
        if rows[0]:
            yield block.read, rows


def plain_rows(data: bytes, layout: Layout, columns: np.ndarray[Any, np.dtype[np.int64]]) -> Rows | None:
    """The rows of a block in which every pixel is one to three digits; None where it is not."""
    raw = np.frombuffer(data, np.uint8)
    breaks = raw == ord("\n")
    ends = np.flatnonzero(breaks | (raw == ord(layout.delimiter))).astype(np.int32)
    if not len(ends) or len(ends) % layout.columns:
        return None
    grid = ends.reshape(-1, layout.columns)
    if not breaks[grid[:, -1]].all() or np.count_nonzero(breaks) != len(grid):
        return None
    lengths = np.diff(ends, prepend=np.int32(-1)).reshape(grid.shape) - 1
    pixels = _numbers(raw, grid.take(columns, 1), lengths.take(columns, 1))
    if pixels is None:
        return None
    spans = zip((grid - lengths)[:, layout.label].tolist(), grid[:, layout.label].tolist(), strict=True)
    labels = [_simple_label(data[start:end]) for start, end in spans]
    if None in labels or (layout.numbered and any(_wrong_number(label) for label in set(labels))):
        return None
    return [label for label in labels if label], pixels


def _numbers(raw: Bytes, ends: Ends, lengths: Ends) -> Bytes | None:
    """What the digits before each of `ends` make; None where one is not a pixel, or longer than three digits."""
    if lengths.min(initial=1) < 1 or lengths.max(initial=1) > 3:
        return None
    digits = raw - np.uint8(ord("0"))
    value = digits[ends - 1]
    wrong = value > 9
    value = value.astype(np.uint16)
    for place, worth in ((2, 10), (3, 100)):
        more = np.where(lengths >= place, digits[ends - place], np.uint8(0))
        wrong |= more > 9
        value += more.astype(np.uint16) * np.uint16(worth)
    return None if wrong.any() or value.max(initial=0) > 255 else value.astype(np.uint8)


def _simple_label(cell: bytes) -> str | None:
    """None for what has to be looked at more closely: empty, quoted, not ASCII."""
    return class_name(cell.decode()) if cell.isascii() and b'"' not in cell and cell.strip() else None


def _cell_by_cell(data: bytes, layout: Layout, first: int) -> Rows:
    """The same by the standard library's reader. Raises `IngestError` with line and column."""
    labels: list[str] = []
    rows: list[bytes] = []
    places = layout.pixels
    for number, line in enumerate(data.split(b"\n")[:-1], first):
        if not line.strip():
            continue
        cells = split_cells(decoded(line, layout.name, number), layout.delimiter, layout.name, number)
        if len(cells) != layout.columns:
            problem = f"has {len(cells):,} columns, but the first line has {layout.columns:,}."
            raise IngestError(problem, file=layout.name, line=number)
        labels.append(_checked_label(cells, layout, number))
        values = [_PIXELS.get(cells[place], -1) for place in places]
        if -1 in values:
            values = [_pixel(cells[place], layout, number, place) for place in places]
        rows.append(bytes(values))
    return labels, np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), len(places))


def split_cells(line: str, delimiter: str, name: str, number: int) -> Text:
    try:
        return tuple(next(csv.reader([line], delimiter=delimiter, strict=True), ()))
    except csv.Error as error:
        if "unexpected end" in str(error):
            problem = "a quote is opened but not closed."
        elif "field larger" in str(error):
            problem = "a cell is longer than 131,072 characters. Is a quote not closed?"
        else:
            problem = f"its quotes are out of order ({error})."
        raise IngestError(problem, file=name, line=number) from None


def decoded(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise IngestError("is not UTF-8 text.", file=name, line=number) from None


def _checked_label(cells: Text, layout: Layout, number: int) -> str:
    label = class_name(cells[layout.label])
    if not label:
        raise _wrong("the label is missing.", layout, number, layout.label)
    if layout.numbered and _wrong_number(label):
        problem = f"the label “{legible(label, 20)}” is not a whole number between 0 and {MOST_CLASSES - 1:,}."
        raise _wrong(problem, layout, number, layout.label)
    return label


def _wrong_number(label: str | None) -> bool:
    return not (label and label.isascii() and label.isdigit() and len(label) < 9 and int(label) < MOST_CLASSES)


def _pixel(cell: str, layout: Layout, number: int, place: int) -> int:
    text = cell.strip()
    if not text:
        raise _wrong("the pixel is missing.", layout, number, place)
    if not re.fullmatch(r"[+-]?[0-9]{1,20}(\.0{0,20})?", text, re.ASCII):
        raise _wrong(f"the pixel “{legible(text, 20)}” is not a whole number.", layout, number, place)
    value = int(float(text))
    if not 0 <= value <= 255:
        raise _wrong(f"the pixel {legible(text, 20)} is not between 0 and 255.", layout, number, place)
    return value


def _wrong(problem: str, layout: Layout, number: int, place: int) -> IngestError:
    named = layout.header[place] if layout.header else None
    return IngestError(problem, file=layout.name, line=number, column=place + 1, column_name=named)
