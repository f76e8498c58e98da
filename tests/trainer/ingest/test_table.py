"""Images in CSV files: what is guessed, what is read, and what is refused with line and column."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.trainer.ingest.conftest import idx, table, zipped
from trainer.ingest import Choices, convert, guess
from trainer.ingest.rows import Layout, plain_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trainer.ingest.conftest import Bench
    from trainer.errors import IngestError
    from trainer.sources import ImageSet

GOOD = "label,a,b,c,d\n0,1,2,3,4\n1,5,6,7,8\n"


def test_real_images_come_back_as_they_were(bench: Bench, real: ImageSet):
    train = bench.file("fashion-mnist_train.csv", table(real.images[:600], real.labels[:600].tolist()))
    test = bench.file("fashion-mnist_test.csv", table(real.images[600:900], real.labels[600:900].tolist()))
    made = bench.made(test, train)
    assert (made.images["train"] == real.images[:600]).all()
    assert (made.images["val"] == real.images[600:900]).all()
    assert made.labels["train"].tolist() == real.labels[:600].tolist()
    assert made.about.classes == tuple("0123456789")
    assert made.about.val == tuple(np.bincount(real.labels[600:900]).tolist())


def test_of_one_file_a_share_of_each_class_is_held_back_and_no_image_is_lost(bench: Bench, real: ImageSet):
    made = bench.made(bench.file("all.csv", table(real.images, real.labels.tolist())), val_fraction=0.25, seed=3)
    counts = np.bincount(real.labels)
    assert made.about.val == tuple((counts // 4).tolist())
    both = np.concatenate([made.images["train"], made.images["val"]]).reshape(1200, -1)
    assert sorted(both.tolist()) == sorted(real.images.reshape(1200, -1).tolist())
    held_back = {image.tobytes(): label for image, label in zip(made.images["val"], made.labels["val"], strict=True)}
    assert all(held_back.get(i.tobytes(), k) == k for i, k in zip(real.images, real.labels.tolist(), strict=True))


def test_the_draw_is_the_seeds_own(bench: Bench, real: ImageSet):
    file = bench.file("all.csv", table(real.images[:100], real.labels[:100].tolist()))
    drawn = []
    for seed in (1, 1, 2):
        bench.out = bench.out.with_name(f"out{len(drawn)}")
        drawn.append(bench.made(file, seed=seed).about.content)
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_header_or_none_any_usual_delimiter_and_line_end(
    bench: Bench, real: ImageSet, delimiter: str, header: bool, ends: str
):
    text = table(real.images[:60], real.labels[:60].tolist(), delimiter=delimiter, header=header)
    file = bench.file("train.csv", ("\ufeff" + text.replace("\n", ends)).encode())
    found = guess([file])
    assert (found.choices.delimiter, found.choices.header, found.choices.label) == (delimiter, header, 0)
    assert found.shape == (28, 28, 1)
    assert (found.sample.images == real.images[:60]).all()
    assert sum(bench.made(file).about.train) + sum(bench.made_again(file).about.val) == 60


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("a,b,c,d,label\n10,20,30,40,9\n50,60,70,80,7\n", 4),
        ("a,b,Class,d,e\n10,20,9,30,40\n50,60,7,70,80\n", 2),
        ("10,20,30,40,shoe\n50,60,70,80,bag\n", 4),
        ("bag,10,20,30,40\nshoe,50,60,70,80\n", 0),
        (",label,a,b,c,d\n0,9,10,20,30,40\n1,7,50,60,70,80\n", 1),
        ("label,0,1,2,3\n9,10,20,30,40\n7,50,60,70,80\n", 0),
        ("0,1,2,3,4\n9,10,20,30,40\n7,50,60,70,80\n", 0),
    ],
    ids=["named last", "named between", "words last", "words first", "row numbers", "counted columns", "pandas"],
)
def test_the_labels_column_is_found(bench: Bench, text: str, label: int):
    found = guess([bench.file("a.csv", text)])
    assert found.choices.label == label
    assert found.sample.images.reshape(2, 4).tolist() == [[10, 20, 30, 40], [50, 60, 70, 80]]


def test_words_are_the_names_of_classes(bench: Bench, real: ImageSet):
    words = [real.classes[label] for label in real.labels[:300]]
    made = bench.made(bench.file("words.csv", table(real.images[:300], words)))
    assert set(made.about.classes) == set(real.classes)
    assert list(made.about.classes) == sorted(real.classes, key=str.casefold)
    names = dict(zip((image.tobytes() for image in real.images[:300]), words, strict=True))
    for split in ("train", "val"):
        assert made.named(split) == [names[image.tobytes()] for image in made.images[split]]


def test_numbers_are_classes_in_their_own_order_and_take_the_names_that_are_given(bench: Bench):
    text = "label,a,b,c,d\n" + "".join(f"{label},{label},2,3,4\n" for label in (10, 2, 2, 10, 1, 1))
    file = bench.file("a.csv", text)
    assert bench.made(file).about.classes == ("1", "2", "10")
    assert bench.made_again(file, classes=("one", "two", "ten")).about.classes == ("one", "two", "ten")


def test_numbers_written_in_another_way_are_read_too(bench: Bench):
    made = bench.made(
        bench.file("a.csv", 'label,a,b,c,d\n0," 1",002,3.0,4.00\n\n1.0,5,+6,"7",8\n0,0,0,0,0\n1,1,1,1,1\n')
    )
    rows = np.concatenate([made.images["train"], made.images["val"]]).reshape(-1, 4).tolist()
    assert sorted(rows) == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert made.about.classes == ("0", "1")


@pytest.mark.parametrize("layout", ["interleaved", "planar"])
def test_how_colours_lie_is_told_by_the_picture(bench: Bench, real: ImageSet, layout: str):
    grey = real.images[:60].astype(int)
    colour = np.concatenate([grey, 255 - grey, grey // 2], axis=3).astype(np.uint8)
    stored = colour.transpose(0, 3, 1, 2) if layout == "planar" else colour
    found = guess([bench.file("colour.csv", table(stored, real.labels[:60].tolist()))])
    assert (found.shape, found.choices.layout, found.unsure) == ((28, 28, 3), layout, {})
    assert (found.sample.images == colour).all()


def test_what_cannot_be_told_is_asked_and_the_answer_is_taken(bench: Bench):
    noise = np.random.default_rng(0).integers(0, 256, (40, 12), np.uint8)
    file = bench.file("noise.csv", table(noise, [0, 1] * 20))
    assert set(guess([file]).unsure) == {"layout"}
    found = guess([file], Choices(layout="planar"))
    assert found.unsure == {}
    assert (found.sample.images == noise.reshape(40, 3, 2, 2).transpose(0, 2, 3, 1)).all()


def test_a_shape_that_is_no_square_is_guessed_and_asked(bench: Bench, real: ImageSet):
    cut = real.images[:100, 4:24]
    found = guess([bench.file("cut.csv", table(cut, real.labels[:100].tolist()))])
    assert found.shape == (20, 28, 1)
    assert set(found.unsure) == {"shape"}


def test_two_files_whose_names_tell_nothing_are_told_apart_by_size_and_asked(bench: Bench):
    large, small = bench.file("a.csv", GOOD + "1,1,1,1,1\n"), bench.file("b.csv", GOOD)
    found = guess([small, large])
    assert found.choices.val_file == "b.csv"
    assert set(found.unsure) == {"val_file"}
    assert sum(bench.made(small, large, val_file="a.csv").about.train) == 2


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "a.csv: is empty", (None, None)),
        ("\n", "a.csv: is empty", (None, None)),
        ("label,a,b,c,d\n", "a.csv: has no rows but its header", (None, None)),
        ("7\n", "has one column only", (1, None)),
        (",x\n0,1\n1,2\n", "has no columns of pixels", (1, None)),
        (GOOD + "1,2,3,4\n", "has 4 columns, but the first line has 5", (4, None)),
        (GOOD + "1,2,3,4,5,6\n", "has 6 columns", (4, None)),
        (GOOD + "1,2,x,4,5\n", "column 3 (b): the pixel “x” is not a whole number", (4, 3)),
        (GOOD + "1,2,2.5,4,5\n", "“2.5” is not a whole number", (4, 3)),
        (GOOD + "1,2,nan,4,5\n", "“nan” is not a whole number", (4, 3)),
        (GOOD + "1,2,1_0,4,5\n", "“1_0” is not a whole number", (4, 3)),
        (GOOD + "1,2,٣,4,5\n", "is not a whole number", (4, 3)),
        (GOOD + "1,2,,4,5\n", "the pixel is missing", (4, 3)),
        (GOOD + "1,2,256,4,5\n", "the pixel 256 is not between 0 and 255", (4, 3)),
        (GOOD + "1,2,-1,4,5\n", "the pixel -1 is not between", (4, 3)),
        (GOOD + "1,2,99999999999999999999,4,5\n", "is not between", (4, 3)),
        (GOOD + ",2,3,4,5\n", "column 1 (label): the label is missing", (4, 1)),
        (GOOD + '"1,2,3,4,5\n', "a quote is opened but not closed", (4, None)),
        (GOOD + '1,"2"x,3,4,5\n', "its quotes are out of order", (4, None)),
        (GOOD + "1,2\0,3,4,5\n", "holds a NUL", (4, None)),
        (GOOD + "1,2,3,4,5\n" * 3000 + "1,2,3,4,999\n", "the pixel 999", (3004, 5)),
        (GOOD + "1,2,<script>alert(1)</script>,4,5\n", "“<script>alert(1)</s…” is not", (4, 3)),
        ("label,a,\u202eb,c,d\n0,1,x,3,4\n", "column 3 (\ufffdb)", (2, 3)),
        ("label,a,b,c,d\n" + "0,1,2,3,4\n" * 4, "only one class, 0", (None, None)),
        ("label,a,b,c,d\n0,1,2,3,4\n1,1,2,3,4\n", "one image only", (None, None)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_line_and_column(
    bench: Bench, text: str, message: str, place: tuple[int | None, int | None]
):
    error: IngestError = bench.refused(bench.file("a.csv", text))
    assert message in str(error)
    assert (error.line, error.column) == place


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "is UTF-16 text"),
        (GOOD.encode("utf-16-le"), "is UTF-16 text"),
        (GOOD.encode() + "é,1,2,3,4\n".encode("latin-1"), "line 4: is not UTF-8 text"),
        (b"label,a\n" + b"1," + b"9" * (100 << 20), "line 2: is longer than 16 MB"),
        (GOOD.encode() + b'1,"' + b"9" * 200_000 + b'",3,4,5\n', "longer than 131,072 characters"),
        (b"label," + b",".join(b"p%d" % i for i in range(1_000_000)) + b"\n1" + b",0" * 1_000_000, "1,000,001 columns"),
        (b"label,a,b\n" + b"".join(b"%d,1,2\n" % i for i in range(1_000_000)), "more than 65,536 classes"),
    ],
    ids=["utf-16", "no mark", "latin-1", "100 MB cell", "long cell", "a million columns", "a million classes"],
)
def test_what_is_no_table_of_images_is_refused_soon(bench: Bench, content: bytes, message: str):
    assert message in str(bench.refused(bench.file("a.csv", content)))


def test_test_images_without_labels_are_told_as_such(bench: Bench):
    error = bench.refused(bench.file("train.csv", GOOD), bench.file("test.csv", "a,b,c,d\n1,2,3,4\n"))
    assert "test.csv, line 1: has 4 columns, but train.csv has 5. Are its labels missing?" in str(error)


def test_the_other_file_may_lack_a_header_or_have_its_columns_in_another_order(bench: Bench):
    train = bench.file("train.csv", GOOD)
    for text in ("1,10,20,30,40\n0,50,60,70,80\n", "a,b,c,d,label\n10,20,30,40,1\n50,60,70,80,0\n"):
        bench.out = bench.out.with_name(f"out{len(text)}")
        made = bench.made(train, bench.file("test.csv", text))
        assert made.images["val"].reshape(2, 4).tolist() == [[10, 20, 30, 40], [50, 60, 70, 80]]
        assert made.labels["val"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        ({"shape": (3, 2, 1)}, "shape"),
        ({"label": 7}, "label"),
        ({"val_file": "b"}, "val_file"),
        ({"classes": ("a",)}, "classes"),
    ],
)
def test_a_choice_that_does_not_fit_the_file_is_named(bench: Bench, choices: dict[str, object], field: str):
    text = GOOD + "0,1,2,3,4\n1,5,6,7,8\n"
    assert bench.refused(bench.file("a.csv", text), **choices).field == field


def test_pandas_and_cell_by_cell_read_the_same(bench: Bench, real: ImageSet):
    """A cell that needs a closer look sends its whole block the other way."""
    text = table(real.images[:50], real.labels[:50].tolist())
    plain, quoted = bench.made(bench.file("a.csv", text)), text.replace("\n9,", '\n"9",', 1)
    assert quoted != text
    assert bench.made_again(bench.file("a.csv", quoted)).about.content == plain.about.content


def test_a_block_that_is_not_plain_is_left_to_the_other_reader():
    layout = Layout("a", ",", None, 3, 0, frozenset())
    assert plain_rows(b"1,2,3\n4,55,255\n", layout) is not None
    for data in (b"1,2,0003\n", b"\n1,2,3\n"):
        labels, pixels = plain_rows(data, layout) or ([], np.empty(0))
        assert (labels, pixels.tolist()) == (["1"], [[2, 3]])
    for data in (
        b"1,2\n3,4,5\n",
        b"1,2,3,4\n5,6\n",
        b"1,2,3,4\n",
        b"1,2,256\n",
        b"1,2,-3\n",
        b"1,2,3.5\n",
        b"1,2,True\n",
        b"1,2,99999999999999999999\n",
        b"1,,3\n",
        b",2,3\n",
        b"\xff,2,3\n",
        b'"1",2,3\n',
        b"1,2,3\r4,5,6\n",
        b"\n",
        b"",
    ):
        assert plain_rows(data, layout) is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tables_in_a_zip_are_read_where_they_lie(bench: Bench, real: ImageSet, pack: Callable[[bytes], bytes]):
    ending = ".gz" if pack is gzip.compress else ""
    parts = {"train": slice(0, 300), "test": slice(300, 400)}
    tables = {
        f"shoes/fashion-mnist_{name}.csv{ending}": pack(table(real.images[part], real.labels[part].tolist()).encode())
        for name, part in parts.items()
    }
    others = {
        "shoes/sample_submission.csv": b"id,label\n0,0\n",
        "t10k-labels-idx1-ubyte": b"",
        "__MACOSX/._train.csv": b"",
    }
    file = bench.file("archive.zip", zipped(tables | others))
    assert [part.name for part in guess([file]).parts] == [f"fashion-mnist_{name}.csv{ending}" for name in parts]
    done: list[tuple[int, int]] = []
    about = convert([file], guess([file]).choices, bench.out, lambda *step: done.append(step))
    assert (sum(about.train), sum(about.val)) == (300, 100)
    assert (np.load(bench.out / "val-images.npy") == real.images[300:400]).all()
    assert done == sorted(done)
    assert 0 < done[0][0] <= done[-1][0] <= done[-1][1]
    bad = bench.file("bad.zip", zipped({"a/train.csv": GOOD.encode() + b"1,2,x,4,5\n"}))
    bench.out = bench.out.with_name("other") / "out"
    bench.out.parent.mkdir()
    error = bench.refused(bad)
    assert str(error) == "train.csv, line 4, column 3 (b): the pixel “x” is not a whole number."


def test_idx_files_in_a_zip_too(bench: Bench, real: ImageSet):
    packed = {
        "raw/train-images-idx3-ubyte": idx(real.images[:90, :, :, 0]),
        "raw/train-labels-idx1-ubyte": idx(real.labels[:90]),
    }
    assert sum(bench.made(bench.file("mnist.zip", zipped(packed))).about.train) > 60


def test_rows_of_large_images_are_resized_with_a_word(bench: Bench, real: ImageSet):
    large = np.repeat(np.repeat(real.images[:4], 20, 1), 20, 2)
    file = bench.file("a.csv", table(large, [0, 1, 0, 1], header=False))
    found = guess([file])
    assert (found.choices.shape, found.choices.size, found.shape) == ((560, 560, 1), (224, 224), (224, 224, 1))
    assert "more than the 512 a side that are kept" in found.unsure["size"]
    made = bench.made(file, size=(28, 28))
    assert made.about.notes == ("4 of 4 images were resized to 28 x 28.",)
    everything = np.concatenate([made.images["train"], made.images["val"]]).astype(int)
    assert all(np.abs(everything - image).mean((1, 2, 3)).min() < 10 for image in real.images[:4].astype(int))
