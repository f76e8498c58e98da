"""Images in a CSV file, one a row: the class and the pixels, as Kaggle hands them out (`label,pixel1,...`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from trainer.errors import IngestError, legible
from trainer.ingest import lines
from trainer.ingest.contract import (
    CHANNELS,
    DELIMITERS,
    MOST_READ_SIDE,
    MOST_SIDE,
    Bytes,
    Choices,
    Guess,
    Sample,
    Upload,
)
from trainer.ingest.names import WHOLE, in_order, renamed
from trainer.ingest.parts import Parts, assigned
from trainer.ingest.pictures import Looks, likeliest_shape, looks
from trainer.ingest.rows import Layout, Rows, Text, decoded, read, split_cells
from trainer.ingest.writing import Block

_LABELS = ("label", "class", "target", "category", "y", "labels", "classes")
_NO_PIXELS = ("", "id", "index", "unnamed: 0")
"""What columns are called that hold a row's own number; pandas writes one without a name."""
MOST_NUMBERS = 3 * MOST_SIDE**2
"""Of an image in a row: 512 x 512 in colour, or 886 x 886 in grey."""
_SAMPLE_ROWS, _SHOWN_COLUMNS = 200, 20
_HEAD = 1 << 20


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """From the first lines of each file. Raises `IngestError`."""
    parts = assigned(files, choices)
    train, val = _layouts(parts, choices)
    if val:
        _check_same(train, val)
    labels, pixels = _head(parts.train, train)
    unsure = parts.unsure | _why_label(train, choices)
    shape, layout = _shape(train, pixels, choices, unsure)
    seen = in_order(set(labels))
    names = renamed(seen, choices.classes) if choices.classes and len(choices.classes) == len(seen) else seen
    shown = dict(zip(seen, names, strict=True))
    return Guess(
        choices=replace(
            choices,
            kind="csv",
            val_file=parts.val.filename if parts.val else "",
            delimiter=train.delimiter,
            header=train.header is not None,
            label=train.label,
            shape=shape,
            layout=layout if shape[2] == CHANNELS["colour"] else None,
        ),
        shape=shape,
        parts=parts.listed(),
        classes=names,
        counts=None,
        sample=Sample(arranged(pixels, shape, layout), tuple(shown[label] for label in labels)),
        columns=_shown_columns(train),
        unsure=unsure,
        notes=_notes(train),
    )


def blocks(files: Sequence[Upload], found: Guess) -> Iterator[Block]:
    """All images. Raises `IngestError` with file, line and column."""
    choices, before = found.choices, 0
    assert choices.shape is not None  # noqa: S101 - a guess fills it in
    parts = assigned(files, choices)
    train, val = _layouts(parts, choices)
    for split, upload, layout in (("train", parts.train, train), ("val", parts.val, val)):
        if upload is None or layout is None:
            continue
        rows = 0
        for position, (labels, pixels) in read(upload, layout):
            rows += len(labels)
            images = arranged(pixels, choices.shape, choices.layout)
            yield Block(split, images, labels, before + position)
        if not rows:
            raise _no_rows(layout)
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
    if len(cells) > MOST_NUMBERS + 10:
        problem = (
            f"has {len(cells):,} columns; up to {MOST_NUMBERS:,} pixels are read from a row. "
            "Bring larger images as files in folders, which are resized."
        )
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


def _why_label(layout: Layout, choices: Choices) -> dict[str, str]:
    """Where nothing but its place says which column has the label."""
    named = layout.header is not None and layout.header[layout.label].lower() in _LABELS
    if choices.label is not None or layout.label != 0 or layout.header is None or named:
        return {}
    return {"label": "No column is named label, so the first is taken to hold the class."}


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
        if max(shape) > MOST_READ_SIDE or (max(shape) > MOST_SIDE and not told):
            problem = f"has {count:,} pixel columns, which make no image of a usual shape. Say its height and width."
            raise IngestError(problem, file=layout.name, field="shape")
        if not told:
            unsure["shape"] = f"{count:,} pixels make no square image, so height and width are a guess."
    if shape[2] == 1:
        return shape, "interleaved"
    found = Looks(choices.layout, True) if choices.layout else looks(pixels, shape)
    if not found.sure:
        unsure["layout"] = "It cannot be told from the numbers how the colours of a pixel lie."
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
    """The first rows. Raises `IngestError` where there are none."""
    found = next(read(upload, layout, size=_HEAD), None)
    if found is None:
        raise _no_rows(layout)
    labels, pixels = found[1]
    return labels[:_SAMPLE_ROWS], pixels[:_SAMPLE_ROWS]


def _no_rows(layout: Layout) -> IngestError:
    return IngestError(f"has no rows{' but its header' if layout.header else ''}.", file=layout.name)
