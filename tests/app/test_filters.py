"""The filter's language: what it finds, and how it says what it does not understand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db import Database
from app.runs_table import filters, listing
from app.runs_table.filters import FilterError
from app.runs_table.listing import Query
from app.schema import migrate
from tests.app.listing_store import add
from tests.conftest import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, clock: FakeClock) -> Iterator[Database]:
    """Run 1 of one day, 2 and 3 of the next; 4 is queued."""
    path = tmp_path_factory.mktemp("filters") / "fitroom.db"
    migrate(path)
    db = Database(path)
    add(db, clock, "foo one", lr=0.1, optimizer="sgd", tags=("sweep", "a b"), accuracies=(0.5, 0.7), end="finished")
    clock.forward(24 * 3600)
    add(db, clock, "bar", lr=0.01, arch="lenet", notes="It is 100% better", accuracies=(0.9,), end="failed")
    add(db, clock, "Foo two", lr=0.001, flip=True, weight_decay=0.01, tags=("sweep",), accuracies=(0.8,))
    add(db, clock, "last", arch="mlp", dataset="csv:shoes")
    yield db
    db.close()


def found(db: Database, clock: FakeClock, text: str) -> list[int]:
    with db.read() as session:
        return sorted(listing.ids(session, Query.of(filter=text), now=clock()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("lr < 0.01", [3, 4]),
        ("lr <= 1e-2", [2, 3, 4]),
        ("LR > .05", [1]),
        ("lr = 0.001", [3, 4]),
        ("lr != 0.001", [1, 2]),
        ("lr in (0.1, 0.01)", [1, 2]),
        ("lr not in (0.1, 0.01)", [3, 4]),
        ("status = failed", [2]),
        ("status in (failed, Queued)", [2, 4]),
        ("not status = failed", [1, 3, 4]),
        ("tag = sweep", [1, 3]),
        ('tag = "a b"', [1]),
        ("tag != sweep", [2, 4]),
        ("tags ~ SWE and not tag = 'a b'", [3]),
        ("tag is empty", [2, 4]),
        ("name ~ foo", [1, 3]),
        ("name = foo", []),
        ("name !~ foo", [2, 4]),
        ("name ~ %", []),
        ("notes ~ '100% better'", [2]),
        ("notes is not empty", [2]),
        ("arch in (lenet, mlp)", [2, 4]),
        ("dataset = csv:shoes", [4]),
        ("accuracy >= 70%", [1, 2, 3]),
        ("best_val_accuracy > 0.7 or status = queued", [2, 3, 4]),
        ("(lr < 0.05 or tag = sweep) and not (name ~ foo or name ~ bar)", [4]),
        ("lr < 0.05 and tag = sweep or name = last", [3, 4]),
        ("flip = yes", [3]),
        ("flip = false", [1, 2, 4]),
        # Momentum is a setting of SGD alone: elsewhere it is empty, whatever the form had in it.
        ("momentum = 0.9", [1]),
        ("momentum is empty", [2, 3, 4]),
        ("not momentum > 0.5", [2, 3, 4]),
        ("weight_decay != 0.01", [1, 2, 4]),
        ("duration < 15", [2, 3]),
        ("duration >= 20s and duration < 1m5s", [1]),
        ("created > 2026-01-02", [2, 3, 4]),
        ("created = 2026-01-02", [1]),
        ("created <= 2026-01-02", [1]),
        ("created >= 2026-01 and created < 2027", [1, 2, 3, 4]),
        ("created = today", [2, 3, 4]),
        ("created < yesterday", []),
        ("created > 2m", [2, 3, 4]),
        ("started is empty", [4]),
        ("id = 3", [3]),
        ("starred = true", []),
    ],
)
def test_a_filter_finds(store: Database, clock: FakeClock, text: str, expected: list[int]):
    assert found(store, clock, text) == expected


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("lr <", 4, "Expected a value, found the end"),
        ("lr < abc", 5, "lr is a number, such as 0.001 or 1e-3; “abc” is none"),
        ("accuracy > 9e", 11, "such as 0.9 or 90%"),
        ("lrr < 1", 0, "There is no column “lrr”; did you mean lr?"),
        ("zzz < 1", 0, "There is no column “zzz”"),
        ("lr 0.1", 3, "Expected a comparison such as =, <, ~ or “in”, found “0.1”"),
        ("lr < 1 lr > 0", 7, "Expected “and”, “or” or the end, found “lr”"),
        ("(lr < 1", 7, "Expected “)”, found the end"),
        ("lr in 1", 6, "Expected “(” and a list of values, found “1”"),
        ("lr in (1 2)", 9, "Expected “,” or “)”, found “2”"),
        ("lr in ()", 7, "Expected a value, found “)”"),
        ("name = 'a", 7, "The quotation mark ' is never closed"),
        ("lr is 1", 6, "Expected “empty” or “not empty”, found “1”"),
        ("status = finnished", 9, "did you mean finished?"),
        ("status < failed", 9, "status has no order"),
        ("flip = maybe", 7, "flip is true or false; “maybe” is neither"),
        ("lr ~ 1", 5, "lr is no text"),
        ("created > soon", 10, "is a date in UTC, such as 2026-01-31"),
        ("created > 2026-13-01", 10, "is a date in UTC"),
        ("created = 7d", 10, "compare it with < or >, as created_at > 7d"),
        ("tag < a", 6, "tag has no order"),
        ("notes = a", 8, "notes are searched by ~"),
        ("duration > 5x", 11, "is a number, such as 90, 5m or 1h30m"),
        ("and", 0, "Expected the name of a column, found “and”"),
        ("! lr", 0, "“!” means nothing here"),
        ("(" * 31 + "lr<1" + ")" * 31, 30, "at most 30 deep"),
        ("lr = 1 " + "or lr = 1 " * 500, 4000, "at most 4,000 characters"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, place: int, message: str):
    with pytest.raises(FilterError) as caught:
        filters.parse(text)
    assert message in caught.value.message
    assert caught.value.place == place


@pytest.mark.parametrize(
    "value", ["x' OR 1=1 --", "'; DROP TABLE runs; --", "%", "_", "\\", 'a"b', "and", "a\nb", "é "]
)
def test_a_value_is_only_ever_a_value(store: Database, clock: FakeClock, value: str):
    text = f"name = {filters.quoted(value)}"
    assert found(store, clock, text) == []
    assert str(filters.read(text)) == text
    compiled = filters.parse(text).compile()
    assert list(compiled.params.values()) == [value]
    assert str(compiled) == "listed.name = :name_1"


@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused_in_words(text: str):
    tree, error = read(text)
    assert tree is None or str(filters.read(str(tree))) == str(tree), "what is read can be written"
    assert error is None or (error.message and 0 <= error.place <= len(text))


def read(text: str) -> tuple[filters.Node | None, FilterError | None]:
    try:
        filters.parse(text)
        return filters.read(text), None
    except FilterError as error:
        return None, error


@given(st.text(max_size=30))
def test_a_quoted_word_comes_back_whole(word: str):
    tree = filters.read(f"name = {filters.quoted(word)}")
    assert isinstance(tree, filters.Comparison)
    assert tree.words == (word,)


def test_parts_are_what_chips_show_and_join_again():
    text = "lr < 0.1 and (tag = a or tag = 'b c') and not status = failed"
    assert [str(part) for part in filters.parts(text)] == [
        "lr < 0.1",
        'tag = a or tag = "b c"',
        "not status = failed",
    ]
    whole = filters.joined(filters.parts(text))
    assert whole == 'lr < 0.1 and (tag = a or tag = "b c") and not status = failed'
    assert filters.joined(filters.parts(whole)) == whole
    assert filters.joined([]) == ""
