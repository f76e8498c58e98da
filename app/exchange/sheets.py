"""Rows as CSV, JSON or Parquet, written a piece at a time: memory stays flat whatever the number of rows.

A cell that a spreadsheet would take for a formula is defused: text that begins with = + - @, a tab or a line end gets
an apostrophe before it. Numbers stay numbers, negative ones too, and so does text that only holds one.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel
from pydantic_core import to_json

Kind = Literal["text", "words", "integer", "number", "flag", "instant"]
Row = Mapping[str, Any]

_DANGEROUS = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_KINDS: dict[Any, Kind] = {
    str: "text", int: "integer", float: "number", bool: "flag", datetime: "instant", list[str]: "words",
}  # fmt: skip
PIECE = 1000
"""Rows that are held at a time."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: Kind


def fields_of(model: type[BaseModel], *names: str) -> list[Field]:
    """A model's fields, or those named, with their kinds. Raises `KeyError` for a type that no cell can hold."""
    annotations = {name: field.annotation for name, field in model.model_fields.items()}
    return [Field(name, _kind(annotations[name])) for name in names or annotations]


def _kind(annotation: Any) -> Kind:
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    return _KINDS[annotation]


def write_csv(out: BinaryIO, fields: Sequence[Field], rows: Iterable[Row]) -> None:
    """A header and a line a row, UTF-8; None and what is not finite is empty, instants are ISO 8601 in UTC."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([defused(field.name) for field in fields])
    for piece in _pieces(rows):
        writer.writerows([_cell(row.get(field.name)) for field in fields] for row in piece)
        out.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
    out.write(text.getvalue().encode())


def write_json(out: BinaryIO, fields: Sequence[Field], rows: Iterable[Row]) -> None:
    """An array with an object a row, each on a line of its own; what is not finite is null."""
    before = b"[\n"
    for row in rows:
        values = {field.name: row.get(field.name) for field in fields}
        out.write(before + to_json(values, inf_nan_mode="null"))
        before = b",\n"
    out.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def write_parquet(out: BinaryIO, fields: Sequence[Field], rows: Iterable[Row]) -> None:
    """A row group for each thousand rows, by way of pandas. Imports pandas and pyarrow only now: they are large."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    types_by_kind = {
        "text": pa.string(),
        "words": pa.list_(pa.string()),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "instant": pa.timestamp("us", tz="UTC"),
    }
    names = [field.name for field in fields]
    schema = pa.schema([(field.name, types_by_kind[field.kind]) for field in fields])
    with pq.ParquetWriter(out, schema) as writer:
        for piece in _pieces(rows):
            columns = {name: pd.Series([row.get(name) for row in piece], dtype=object) for name in names}
            frame = pd.DataFrame(columns, columns=names)
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))


def defused(text: str) -> str:
    if _DANGEROUS.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def restored(text: str) -> str:
    """The reverse of `defused`, for a file that comes back."""
    return text[1:] if text.startswith("'") and _DANGEROUS.match(text[1:]) else text


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if math.isfinite(value) else ""
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case list():
            return defused(", ".join(value))
        case _:
            return defused(value) if isinstance(value, str) else str(value)


def _pieces(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while piece := list(itertools.islice(remaining, PIECE)):
        yield piece


Writer = Callable[[BinaryIO, Sequence[Field], Iterable[Row]], None]
Format = Literal["csv", "json", "parquet"]
WRITERS: dict[Format, tuple[Writer, str]] = {
    "csv": (write_csv, "text/csv; charset=utf-8"),
    "json": (write_json, "application/json"),
    "parquet": (write_parquet, "application/vnd.apache.parquet"),
}
