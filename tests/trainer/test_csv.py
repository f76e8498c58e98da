"""Images in CSV files: what is read, and what is refused with line and column."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainer import csv_images, sources
from trainer.config import TrainConfig
from trainer.errors import DataError, DataMissing
from trainer.events import EpochDone
from trainer.loop import train

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = [f"pixel{number}" for number in range(1, 10)]
ROW = "1," + ",".join(map(str, range(9)))


def write(data_dir: Path, name: str, *lines: str, file: str = "train.csv") -> Path:
    path = data_dir / "csv" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_images(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", *(f"pixel{number}" for number in range(1, 785))])
        rows.writerows(
            [label, *image] for label, image in zip(labels.tolist(), images.reshape(-1, 784).tolist(), strict=True)
        )


@pytest.fixture(scope="module")
def kaggle(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with real images in Kaggle's layout."""
    folder = tmp_path_factory.mktemp("data")
    for split, name, count in (("train", "fashion_train.csv", 2000), ("val", "fashion_test.csv", 500)):
        real = sources.load("fashion-mnist", split, data_dir)  # type: ignore[arg-type]
        write_images(folder / "csv" / "kaggle" / name, np.array(real.images[:count]), real.labels[:count])
    return folder


def test_the_images_come_back_as_they_were(kaggle: Path, data_dir: Path):
    for split, count in (("train", 2000), ("val", 500)):
        read = sources.load("csv:kaggle", split, kaggle)  # type: ignore[arg-type]
        real = sources.load("fashion-mnist", split, data_dir)  # type: ignore[arg-type]
        assert read.images.shape == (count, 28, 28, 1)
        assert (read.images == real.images[:count]).all()
        assert (read.labels == real.labels[:count]).all()
        assert len(read.classes) == 10


def test_a_run_on_them_equals_the_run_on_the_same_images_of_the_other_files(kaggle: Path, data_dir: Path):
    def numbers(dataset: str, folder: Path) -> list[float]:
        config = TrainConfig(dataset=dataset, epochs=1, batch_size=128, val_size=300)
        return [event.train_loss for event in train(config, data_dir=folder) if isinstance(event, EpochDone)]

    real = sources.load("fashion-mnist", "train", data_dir)
    folder = kaggle.parent / "idx" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(
            bytes((0, 0, 8, 3)) + np.array([2000, 28, 28], ">u4").tobytes() + real.images[:2000].tobytes()
        )
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            bytes((0, 0, 8, 1)) + np.array([2000], ">u4").tobytes() + real.labels[:2000].astype("u1").tobytes()
        )
    assert numbers("csv:kaggle", kaggle) == numbers("fashion-mnist", folder.parent.parent)


def test_it_is_read_once_and_again_when_the_file_changes(tmp_path: Path):
    path = write(tmp_path, "small", ROW, ROW)
    with pytest.raises(DataMissing, match="is read when a run on it starts"):
        sources.load("csv:small", "train", tmp_path, convert=False)
    first = sources.version("csv:small", tmp_path)
    assert len(sources.load("csv:small", "train", tmp_path)) == 1
    assert len(sources.load("csv:small", "val", tmp_path, convert=False)) == 1
    write(tmp_path, "small", *[ROW] * 12)
    assert sources.version("csv:small", tmp_path) != first
    assert len(sources.load("csv:small", "train", tmp_path)) == 10
    assert [item.name.startswith("train-") for item in (path.parent / ".converted").iterdir()] == [True]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [None, ["label", *PIXELS], ["a", *PIXELS], [*PIXELS, "Label"]])
def test_header_or_none_and_any_usual_delimiter(tmp_path: Path, delimiter: str, header: list[str] | None):
    last = header is not None and header[-1] == "Label"
    row = [*range(9), 3] if last else [3, *range(9)]
    lines = [delimiter.join(map(str, cells)) for cells in ([header] if header else []) + [row]]
    write(tmp_path, "one", *lines)
    write(tmp_path, "one", *lines, file="val.csv")
    read = sources.load("csv:one", "train", tmp_path)
    assert read.labels.tolist() == [3]
    assert read.images.ravel().tolist() == list(range(9))
    assert read.images.shape == (1, 3, 3, 1)


def test_without_a_validation_file_a_sixth_of_each_class_is_held_back(tmp_path: Path):
    labels = [0] * 60 + [1] * 12 + [2] * 2
    write(tmp_path, "whole", *(f"{label},{place},0,0,0" for place, label in enumerate(labels)))
    train_set, val_set = (sources.load("csv:whole", split, tmp_path) for split in ("train", "val"))  # type: ignore[arg-type]
    assert np.bincount(val_set.labels).tolist() == [10, 2, 1]
    places = [set(part.images[:, 0, 0, 0].tolist()) for part in (train_set, val_set)]
    assert not places[0] & places[1]
    assert len(places[0] | places[1]) == len(labels)


@pytest.mark.parametrize(
    ("pixels", "given_", "expected"),
    [
        (784, None, (28, 28, 1)),
        (3072, None, (32, 32, 3)),
        (12, None, (2, 2, 3)),
        (12, "3x4", (3, 4, 1)),
        (12, "2x2x3", (2, 2, 3)),
        (1, None, (1, 1, 1)),
    ],
)
def test_the_shape_is_inferred_or_given(pixels: int, given_: str | None, expected: tuple[int, int, int]):
    assert csv_images.image_shape(pixels, given_, "f.csv") == expected


@pytest.mark.parametrize(
    ("pixels", "given_", "message"),
    [
        (785, None, "785 pixel columns, which make no square image"),
        (784, "28x27", r"784 pixel columns, which is not 28x27 \(756\)"),
        (8, "2x2x2", "2 channels cannot be shown"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(pixels: int, given_: str | None, message: str):
    with pytest.raises(DataError, match=message):
        csv_images.image_shape(pixels, given_, "f.csv")


GOOD = ["label,p1,p2,p3,p4", "0,1,2,3,4", "1,5,6,7,8"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        (GOOD[:1], "has no rows but its header"),
        (["7"], "one column only"),
        ([*GOOD, "1,2,3,4"], "line 4: has 4 columns, but the first line has 5"),
        ([*GOOD, "1,2,3,4,5,6"], "line 4: has 6 columns"),
        ([*GOOD, "1,2,x,4,5"], r"line 4, column 3 \(p2\): the pixel “x” is not a whole number"),
        ([*GOOD, "1,2,2.5,4,5"], r"line 4, column 3 \(p2\): the pixel “2.5” is not a whole number"),
        ([*GOOD, "1,2,,4,5"], r"line 4, column 3 \(p2\): the pixel is missing"),
        ([*GOOD, "1,2,256,4,5"], r"line 4, column 3 \(p2\): the pixel 256 is not between 0 and 255"),
        ([*GOOD, "1,2,-1,4,5"], r"line 4, column 3 \(p2\): the pixel -1"),
        (
            [*GOOD, "-1,2,3,4,5"],
            r"line 4, column 1 \(label\): the label “-1” is not a whole number between 0 and 65,535",
        ),
        ([*GOOD, "65536,2,3,4,5"], r"the label “65536” is not a whole number between"),
        (
            [*GOOD, "99999999999999999999,2,3,4,5"],
            r"line 4, column 1 \(label\): the label “99999999999999999999” is not",
        ),
        (["0,1,2,3,4", "1,5,6,7,300"], "line 2, column 5: the pixel 300"),
        ([*GOOD, '"1,2,3,4,5'], "line 4"),
        ([*GOOD, "1,2\0,3,4,5"], "line 4"),
        ([GOOD[0], *[GOOD[1]] * 5000, "1,2,3,4,999"], r"line 5002, column 5 \(p4\): the pixel 999"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(tmp_path: Path, lines: list[str], message: str):
    path = write(tmp_path, "bad", *lines)
    if not lines:
        path.write_text("")
    with pytest.raises(DataError, match=message):
        sources.load("csv:bad", "train", tmp_path)
    converted = path.parent / ".converted"
    assert not converted.exists() or list(converted.iterdir()) == []


@pytest.mark.parametrize("content", ["label,p1\n0,é\n".encode("latin-1"), "label,p1\n0,1\n".encode("utf-16")])
def test_a_file_that_is_not_utf8_says_so(tmp_path: Path, content: bytes):
    write(tmp_path, "odd", "").write_bytes(content)
    with pytest.raises(DataError, match=r"is (not UTF-8|UTF-16) text"):
        sources.load("csv:odd", "train", tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path):
    write(tmp_path, "windows", "").write_bytes(b"\xef\xbb\xbflabel,a,b,c,d\r\n1,2,3,4,5\r\n0,6,7,8,9\r\n")
    write(tmp_path, "windows", *GOOD, file="test.csv")
    assert sources.load("csv:windows", "train", tmp_path).labels.tolist() == [1, 0]


def test_files_of_different_shapes_are_refused(tmp_path: Path):
    write(tmp_path, "two", ROW)
    write(tmp_path, "two", "1,2,3,4,5", file="val.csv")
    with pytest.raises(DataError, match=r"train.csv has 9 pixels an image, but val.csv has 4"):
        sources.load("csv:two", "train", tmp_path)


def test_a_folder_without_a_training_file_says_what_to_put_there(tmp_path: Path):
    with pytest.raises(DataMissing, match="Put one there"):
        sources.load("csv:none", "train", tmp_path)
    write(tmp_path, "several", ROW)
    write(tmp_path, "several", ROW, file="train2.csv")
    with pytest.raises(DataError, match=r"several files with train .*\(train.csv, train2.csv\)"):
        sources.load("csv:several", "train", tmp_path)


def test_a_folder_with_a_training_file_is_offered(tmp_path: Path):
    write(tmp_path, "shoes", ROW)
    write(tmp_path, "empty", ROW, file="notes.csv")
    write(tmp_path, ".hidden", ROW)
    assert sources.available(tmp_path) == [("fashion-mnist", "Fashion-MNIST"), ("csv:shoes", "shoes (CSV)")]


cells = st.text(alphabet="0123456789-,;\t\"'\n x.", max_size=40)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(cells, min_size=1, max_size=6))
@example([",", ",", "0."])
def test_any_text_is_images_or_an_error_in_words(tmp_path_factory: pytest.TempPathFactory, lines: list[str]):
    path = tmp_path_factory.mktemp("any") / "train.csv"
    path.write_text("\n".join(lines))
    outcome = read(path)
    if isinstance(outcome, str):
        assert outcome.startswith("train.csv")
    else:
        assert len(outcome.pixels) == len(outcome.labels) > 0


def read(path: Path) -> csv_images.Table | str:
    try:
        return csv_images.table(path)
    except DataError as error:
        return str(error)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 6).flatmap(
        lambda columns: st.lists(
            st.tuples(st.integers(0, 300), st.lists(st.integers(0, 255), min_size=columns, max_size=columns)),
            min_size=1, max_size=20,
        )
    )
)  # fmt: skip
def test_whatever_numbers_are_written_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, list[int]]]
):
    path = tmp_path_factory.mktemp("back") / "train.csv"
    path.write_text("\n".join(",".join(map(str, [label, *pixels])) for label, pixels in rows))
    read = csv_images.table(path)
    assert read.labels.tolist() == [label for label, _ in rows]
    assert read.pixels.tolist() == [pixels for _, pixels in rows]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("5,0.0,12,7.0,3", None),
        ("1,2,,4,5", "line 1, column 3"),
        ("1,2,x,4,5", "line 1, column 3"),
        ("label,0,1,2,3", None),
    ],
    ids=["decimals", "a missing pixel", "a wrong pixel", "numbered columns"],
)
def test_a_first_row_of_numbers_is_a_row_even_where_it_is_wrong(tmp_path: Path, first: str, message: str | None):
    path = tmp_path / "train.csv"
    path.write_text(f"{first}\n0,1,2,3,4\n")
    if message:
        with pytest.raises(DataError, match=message):
            csv_images.table(path)
    else:
        assert len(csv_images.table(path).labels) == (1 if "label" in first else 2)
