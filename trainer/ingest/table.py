"""Images in a CSV file, one a row: the class and the pixels, as Kaggle hands them out (`label,pixel1,...`).

Rows of plain numbers are read by arithmetic on whole blocks of bytes, which is some times faster than a general CSV
reader (benchmarks/data.py); a block in which anything else stands is read cell by cell.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest import lines
from trainer.ingest.contract import (
    CHANNELS,
    DELIMITERS,
    LAYOUTS,
    MOST_CLASSES,
    MOST_SIDE,
    Bytes,
    Choices,
    Guess,
    Sample,
    Upload,
)
from trainer.ingest.names import WHOLE, class_name, in_order, renamed
from trainer.ingest.parts import Parts, assigned
from trainer.ingest.pictures import Looks, likeliest_shape, looks
from trainer.ingest.writing import Block

Text = tuple[str, ...]
Ends = np.ndarray[Any, np.dtype[np.int32]]

_LABELS = ("label", "class", "target", "category", "y", "labels", "classes")
_NO_PIXELS = ("", "id", "index", "unnamed: 0")
"""What columns are called that hold a row's own number; pandas writes one without a name."""
_SAMPLE_ROWS, _SHOWN_COLUMNS = 200, 20
_HEAD = 1 << 20
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


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """From the first lines of each file. Raises `IngestError`."""
    parts = assigned(files, choices)
    train, val = _layouts(parts, choices)
    head = _head(parts.train, train)
    if not head[0]:
        raise IngestError(f"has no rows{' but its header' if train.header else ''}.", file=train.name)
    unsure: dict[str, str] = dict(parts.unsure)
    shape, layout = _shape(train, head[1], choices, unsure)
    if val:
        _check_same(train, val)
    if choices.label is None and not _label_is_told(train):
        unsure["label"] = "No column is named label, so the first is taken to hold the class."
    seen = in_order(set(head[0]))
    names = renamed(seen, choices.classes) if choices.classes and len(choices.classes) == len(seen) else seen
    images = arranged(head[1], shape, layout)
    effective = replace(
        choices,
        kind="csv",
        val_file=parts.val.filename if parts.val else "",
        delimiter=train.delimiter,
        header=train.header is not None,
        label=train.label,
        shape=shape,
        layout=layout if shape[2] == CHANNELS["colour"] else None,
    )
    shown = dict(zip(seen, names, strict=True))
    return Guess(
        choices=effective,
        shape=shape,
        parts=parts.listed(),
        classes=names,
        counts=None,
        sample=Sample(images, tuple(shown[label] for label in head[0])),
        columns=_shown_columns(train),
        unsure=unsure,
        notes=_notes(train),
    )


def blocks(files: Sequence[Upload], found: Guess) -> Iterator[Block]:
    """All images. Raises `IngestError` with file, line and column."""
    choices, before = found.choices, 0
    parts = assigned(files, choices)
    train, val = _layouts(parts, choices)
    for split, upload, layout in (("train", parts.train, train), ("val", parts.val, val)):
        if upload is None or layout is None:
            continue
        rows = 0
        for position, (labels, pixels) in read(upload, layout):
            rows += len(labels)
            images = arranged(pixels, found.shape, choices.layout)
            yield Block(split, images, labels, before + position)
        if not rows:
            raise IngestError(f"has no rows{' but its header' if layout.header else ''}.", file=layout.name)
        before += upload.size


def arranged(pixels: Bytes, shape: tuple[int, int, int], layout: str | None) -> Bytes:
    """[N, P] -> [N, H, W, C]."""
    h, w, c = shape
    if layout == "planar":
        return pixels.reshape(-1, c, h, w).transpose(0, 2, 3, 1)
    return pixels.reshape(-1, h, w, c)


# ---------------------------------------------------------------- what the first lines tell


def _layouts(parts: Parts, choices: Choices) -> tuple[Layout, Layout | None]:
    """Of both files. What is chosen is said of the training file; the other may lack its header, or have its columns
    in another order.
    """
    train = _layout(parts.train, choices)
    if parts.val is None:
        return train, None
    guessed = _layout(parts.train, replace(choices, header=None))
    if (guessed.header is None) == (train.header is None):
        choices = replace(choices, header=None)
    val = _layout(parts.val, replace(choices, label=train.label))
    name = train.header[train.label] if train.header else None
    if name and val.header and val.header.count(name) == 1:
        return train, _layout(parts.val, replace(choices, label=val.header.index(name)))
    return train, val


def _layout(upload: Upload, choices: Choices) -> Layout:
    """Raises `IngestError` where the first line is no such line."""
    first, second = _first_lines(upload)
    delimiter = choices.delimiter or max(DELIMITERS, key=first.count)
    cells = split_cells(first, delimiter, upload.filename, 1)
    if len(cells) < 2:
        words = ", ".join(name.lower() for name in DELIMITERS.values())
        problem = f"has one column only; a label and pixels are needed, with a {words} between."
        raise IngestError(problem, file=upload.filename, line=1, field="delimiter")
    if len(cells) > 3 * MOST_SIDE**2 + 10:
        problem = f"has {len(cells):,} columns; images of up to {MOST_SIDE} x {MOST_SIDE} pixels in colour are taken."
        raise IngestError(problem, file=upload.filename, line=1)
    header = _is_header(cells) if choices.header is None else choices.header
    names = tuple(cell.strip() for cell in cells) if header else None
    row = split_cells(second, delimiter, upload.filename, 2) if header and second else cells
    label = _label(names, row) if choices.label is None else choices.label
    if label >= len(cells):
        problem = f"has {len(cells):,} columns, so the label cannot be in column {label + 1:,}."
        raise IngestError(problem, file=upload.filename, field="label")
    skipped = frozenset(i for i, name in enumerate(names or ()) if i != label and name.lower() in _NO_PIXELS)
    layout = Layout(upload.filename, delimiter, names, len(cells), label, skipped)
    if not layout.pixels:
        raise IngestError("has no columns of pixels beside the label.", file=upload.filename, line=1, field="label")
    return layout


def _first_lines(upload: Upload) -> tuple[str, str]:
    found = next(lines.blocks(upload, size=_HEAD), None)
    if found is None or not found.data.strip():
        raise IngestError("is empty.", file=upload.filename)
    first, _, rest = found.data.partition(b"\n")
    if not first.strip():
        raise IngestError("begins with an empty line.", file=upload.filename, line=1)
    return decoded(first, upload.filename, 1), decoded(rest.partition(b"\n")[0], upload.filename, 2)


def _is_header(cells: Text) -> bool:
    """Names, or the numbers 0, 1, 2, ... that pandas gives to columns without a name."""
    words = [cell for cell in cells if not WHOLE.fullmatch(cell.strip())]
    if len(words) > 1:
        return True
    numbers = [int(float(cell)) for cell in cells if WHOLE.fullmatch(cell.strip())]
    counted = len(numbers) > 2 and numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))
    return counted or any(word.strip().lower() in _LABELS for word in words)


def _label(names: Text | None, row: Text) -> int:
    """By its name; else where a word stands; else the first."""
    lowered = [name.lower() for name in names or ()]
    for word in _LABELS:
        if word in lowered:
            return lowered.index(word)
    usable = [i for i in range(len(row)) if i >= len(lowered) or lowered[i] not in _NO_PIXELS]
    words = [i for i in usable if not WHOLE.fullmatch(row[i].strip())]
    return words[0] if len(words) == 1 else next(iter(usable), 0)


def _label_is_told(layout: Layout) -> bool:
    """Whether anything but its place says which column has the label."""
    return layout.label != 0 or layout.header is None or layout.header[layout.label].lower() in _LABELS


def _shape(layout: Layout, pixels: Bytes, choices: Choices, unsure: dict[str, str]) -> tuple[tuple[int, int, int], str]:
    """The shape and layout, chosen or likeliest; what has to be asked goes into `unsure`."""
    count = len(layout.pixels)
    if choices.shape is not None:
        shape = choices.shape
        if math.prod(shape) != count:
            given = " x ".join(map(str, shape))
            problem = f"has {count:,} pixel columns, which is not {given} ({math.prod(shape):,})."
            raise IngestError(problem, file=layout.name, field="shape")
    else:
        shape, told = likeliest_shape(pixels)
        if max(shape) > MOST_SIDE:
            problem = f"has {count:,} pixel columns; images of up to {MOST_SIDE} pixels a side are taken."
            raise IngestError(problem, file=layout.name)
        if not told:
            unsure["shape"] = f"{count:,} pixels make no square image, so height and width are a guess."
    if shape[2] == 1:
        return shape, "interleaved"
    found = Looks(choices.layout, True) if choices.layout else looks(pixels, shape)
    if not found.sure:
        unsure["layout"] = "It cannot be told from the numbers how the colours of a pixel lie."
    assert found.layout in LAYOUTS  # noqa: S101 - for the type checker
    return shape, found.layout


def _check_same(train: Layout, val: Layout) -> None:
    if len(val.pixels) != len(train.pixels):
        problem = (
            f"has {val.columns:,} columns, but {legible(train.name)} has {train.columns:,}. Are its labels missing?"
        )
        raise IngestError(problem, file=val.name, line=1)


def _shown_columns(layout: Layout) -> Text:
    names = layout.header or tuple(f"Column {number}" for number in range(1, layout.columns + 1))
    return names[:_SHOWN_COLUMNS]


def _notes(layout: Layout) -> Text:
    if not layout.skipped:
        return ()
    assert layout.header is not None  # noqa: S101 - only a name makes it skip
    names = ", ".join(legible(layout.header[i]) or "without a name" for i in sorted(layout.skipped))
    return (f"Columns that are no pixels are left out: {names}.",)


def _head(upload: Upload, layout: Layout) -> Rows:
    """The first rows."""
    found = next(read(upload, layout, size=_HEAD), None)
    if found is None:
        return [], np.empty((0, len(layout.pixels)), np.uint8)
    labels, pixels = found[1]
    return labels[:_SAMPLE_ROWS], pixels[:_SAMPLE_ROWS]


# ---------------------------------------------------------------- rows


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
