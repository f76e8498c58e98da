"""Tables as files: what a spreadsheet, a script and pandas read is what was written."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.sheets import Field, defused, restored, write_csv, write_json, write_parquet

if TYPE_CHECKING:
    from app.exchange.sheets import Row, Writer

FIELDS = [
    Field("id", "integer"),
    Field("name", "text"),
    Field("lr", "number"),
    Field("done", "flag"),
    Field("tags", "words"),
    Field("at", "instant"),
]
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone(timedelta(hours=1)))
ROWS: list[Row] = [
    {"id": 1, "name": "=1+1", "lr": -0.5, "done": True, "tags": ["a", "b"], "at": AT},
    {"id": 2, "name": 'says "hi",\nthen goes', "lr": float("nan"), "done": False, "tags": [], "at": None},
    {"id": 3, "name": None, "lr": None, "done": None, "tags": ["@x"], "at": None},
]


def written(writer: Writer, rows: list[Row] = ROWS) -> io.BytesIO:
    out = io.BytesIO()
    writer(out, FIELDS, rows)
    out.seek(0)
    return out


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("-1e-05", "-1e-05"),
        ("+0.5", "+0.5"),
        ("-", "'-"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_text_that_would_be_a_formula_is_defused_and_numbers_stay_numbers(text: str, cell: str):
    assert defused(text) == cell


@given(st.text())
def test_a_defused_text_comes_back_as_it_was(text: str):
    cell = defused(text)
    assert cell[:1] not in ("=", "@", "\t", "\r")
    assert text.startswith("'") or restored(cell) == text


def test_csv_reads_back_cell_by_cell():
    rows = list(csv.reader(io.StringIO(written(write_csv).getvalue().decode(), newline="")))
    assert rows == [
        ["id", "name", "lr", "done", "tags", "at"],
        ["1", "'=1+1", "-0.5", "true", "a, b", "2026-01-02T02:04:05.678000Z"],
        ["2", 'says "hi",\nthen goes', "", "false", "", ""],
        ["3", "", "", "", "'@x", ""],
    ]


def test_json_keeps_texts_as_they_are_and_knows_no_nan():
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    first, second, third = json.load(written(write_json), parse_constant=refuse)
    assert (first["name"], first["lr"], first["tags"]) == ("=1+1", -0.5, ["a", "b"])
    assert (second["lr"], second["at"], third["done"]) == (None, None, None)
    assert json.load(written(write_json, [])) == []


def test_parquet_has_the_types_even_where_a_column_is_empty():
    frame = pd.read_parquet(written(write_parquet))
    assert [str(frame[name].dtype) for name in ("id", "lr", "at")] == ["int64", "float64", "datetime64[us, UTC]"]
    assert frame["at"][0] == AT
    assert list(frame["tags"][0]) == ["a", "b"]
    assert list(pd.read_parquet(written(write_parquet, [])).columns) == [field.name for field in FIELDS]


@pytest.mark.parametrize("writer", [write_csv, write_json, write_parquet])
def test_memory_stays_flat_whatever_the_number_of_rows(writer: Writer):
    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            return len(content)

    def many(count: int) -> Iterator[Row]:
        for number in range(count):
            yield {"id": number, "name": f"run {number}" * 20, "lr": 0.1, "at": datetime.now(UTC), "tags": ["a"]}

    def peak(count: int) -> int:
        tracemalloc.start()
        writer(Nowhere(), FIELDS, many(count))  # type: ignore[arg-type]
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    few = peak(2_000)
    assert peak(12_000) < few * 1.5
