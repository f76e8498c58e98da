"""The rows of a CSV file: labels and pixels, each error with its line and column.

pandas reads blocks of whole lines, so that little is held at a time (benchmarks/data.py). It does not say which cell is
wrong, so a block with anything but whole numbers from 0 to 255 is read cell by cell.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest import lines
from trainer.ingest.contract import MOST_CLASSES, Bytes, Upload
from trainer.ingest.names import class_name

Text = tuple[str, ...]

_PIXELS = {str(value): value for value in range(256)}
_MOST_COLUMNS = 8192
"""What pandas does for each column of a block outweighs its fast reading where there are more."""


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
    for block in lines.blocks(upload, size=size):
        data, first = block.data, block.first
        if first == 1 and layout.header is not None:
            data, first = data.partition(b"\n")[2], 2
        rows = plain_rows(data, layout) or _cell_by_cell(data, layout, first)
        if rows[0]:
            yield block.read, rows


def plain_rows(data: bytes, layout: Layout) -> Rows | None:
    """The rows of a block of unquoted cells with whole numbers for pixels; None where it is not one."""
    import pandas as pd  # half a second, which the web need not wait for

    if layout.columns > _MOST_COLUMNS or b'"' in data:
        return None
    try:
        frame = pd.read_csv(
            io.BytesIO(data), sep=layout.delimiter, lineterminator="\n", header=None, dtype={layout.label: object},
            na_filter=False, quoting=csv.QUOTE_NONE, low_memory=False,
        )  # fmt: skip
    except (ValueError, OverflowError):
        return None
    if frame.shape[1] != layout.columns:
        return None
    pixels = frame[layout.pixels]
    if any(kind.kind not in "iu" for kind in pixels.dtypes):
        return None
    values = pixels.to_numpy()
    if values.min(initial=0) < 0 or values.max(initial=0) > 255:
        return None
    labels = {given: class_name(given) for given in frame[layout.label].unique()}
    if not all(labels.values()) or (layout.numbered and any(map(_wrong_number, labels.values()))):
        return None
    return [labels[given] for given in frame[layout.label]], values.astype(np.uint8, order="C")


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
