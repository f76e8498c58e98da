"""NumPy and IDX files: what is guessed, what is read, and what is refused."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.trainer.ingest.conftest import arrays, idx, zipped
from trainer.ingest import Choices, guess
from trainer.store import Store, export_npz

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer.ingest.conftest import Bench
    from trainer.sources import ImageSet

IMAGES = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=pickled)
    return out.getvalue()


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("X_train", "Y_train", "X_valid", "Y_valid"),
    ],
)
def test_real_images_in_arrays_come_back_as_they_were(bench: Bench, real: ImageSet, keys: tuple[str, ...]):
    images, labels = real.images[..., 0], real.labels.reshape(-1, 1)
    parts = (images[:200], labels[:200], images[200:300], labels[200:300])
    file = bench.file("a.npz", arrays(**dict(zip(keys, parts, strict=True))))
    made = bench.made(file)
    assert (made.images["train"] == real.images[:200]).all()
    assert (made.images["val"] == real.images[200:300]).all()
    assert made.labels["val"].tolist() == real.labels[200:300].tolist()


@pytest.mark.parametrize(
    ("stored", "layout", "unsure"),
    [
        (IMAGES, None, set()),
        (np.repeat(IMAGES[..., None], 3, 3), "interleaved", set()),
        (np.repeat(IMAGES[:, None], 3, 1), "planar", set()),
        (IMAGES.reshape(6, 1, 16, 1)[:, :, :3], "interleaved", {"layout"}),
    ],
    ids=["N H W", "N H W C", "N C H W", "either"],
)
def test_where_the_channels_are_is_told_by_the_shape_or_asked(
    bench: Bench, stored: np.ndarray, layout: str | None, unsure: set[str]
):
    found = guess([bench.file("a.npz", arrays(images=stored, labels=LABELS))])
    assert (found.choices.layout, set(found.unsure)) == (layout, unsure)
    expected = stored.transpose(0, 2, 3, 1) if layout == "planar" else stored
    assert (found.sample.images == (expected if expected.ndim == 4 else expected[..., None])).all()


@pytest.mark.parametrize(
    ("stored", "word"),
    [
        (IMAGES.astype(np.float32) / 255, "from 0 to 1"),
        (IMAGES.astype(np.float64), ""),
        (IMAGES.astype(">i8"), ""),
        (IMAGES.astype(np.uint16), ""),
    ],
)
def test_numbers_of_any_kind_become_bytes_with_a_word(bench: Bench, stored: np.ndarray, word: str):
    made = bench.made(bench.file("a.npz", arrays(images=stored, labels=LABELS)))
    both = np.concatenate([made.images["train"], made.images["val"]])
    assert sorted(both.reshape(6, -1).tolist()) == sorted(IMAGES.reshape(6, -1).tolist())
    assert word in "".join(made.about.notes)
    assert bool(made.about.notes) == bool(word)


def test_true_and_false_are_black_and_white(bench: Bench):
    made = bench.made(bench.file("a.npz", arrays(images=IMAGES > 40, labels=LABELS)))
    assert set(np.unique(made.images["train"])) == {0, 255}


@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_in_words_and_names_of_classes_are_taken(bench: Bench, order: str):
    words = np.array(["cat", "dog"] * 3).astype(f"{order}U3")
    assert bench.made(bench.file("a.npz", arrays(x=IMAGES, y=words))).about.classes == ("cat", "dog")
    named = arrays(x=IMAGES, y=LABELS * 2, class_names=np.array(["zebra", "none", "ant"]))
    assert bench.made_again(bench.file("b.npz", named)).about.classes == ("zebra", "ant")


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a"], ["a", "\ud800"]])
def test_names_that_cannot_be_told_apart_are_not_taken(bench: Bench, names: list[str]):
    stored = np.array(names).astype("<U2")
    made = bench.made(bench.file("a.npz", arrays(x=IMAGES, y=LABELS, class_names=stored)))
    assert made.about.classes == ("0", "1")


def test_labels_that_are_no_characters_are_refused(bench: Bench):
    words = np.array(["cat", "dog"] * 3)
    words.view("<u4")[5] = 0x7FFFFFFF
    assert "entry y: is damaged" in str(bench.refused(bench.file("a.npz", arrays(x=IMAGES, y=words))))


def test_what_was_exported_comes_back_as_the_same_content(bench: Bench, real: ImageSet, tmp_path: Path):
    store = Store(tmp_path / "data")
    first = bench.file("a.npz", arrays(images=real.images[:100], labels=real.labels[:100]))
    made = bench.made(first, classes=tuple(real.classes))
    out = io.BytesIO()
    export_npz(store.accept(made.folder, "shoes"), out)
    assert bench.made(bench.file("b.npz", out.getvalue())).about.content == made.about.content


class Trap:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (arrays(a=LABELS), "has no images with labels for training; its arrays are: a"),
        (arrays(x_train=IMAGES), "no labels for these images"),
        (arrays(x=IMAGES, y=LABELS[:5]), "has 6 images, but there are 5 labels"),
        (arrays(x=IMAGES.astype(int) - 5, y=LABELS), "image 0 (counted from 0) has numbers from -5"),
        (arrays(x=np.where(IMAGES > 90, np.nan, IMAGES / 255), y=LABELS), "image 5 (counted from 0) has numbers"),
        (arrays(x=IMAGES.astype(str), y=LABELS), "where numbers of pixels are needed"),
        (arrays(x=IMAGES, y=LABELS - 1), "labels must be numbers from 0 up"),
        (arrays(x=IMAGES, y=LABELS + 0.5), "labels must be whole numbers"),
        (arrays(x=IMAGES[:0], y=LABELS[:0]), "holds no images"),
        (arrays(x=np.zeros((2, 2049, 4), np.uint8), y=LABELS[:2]), "Bring larger ones as image files in folders"),
        (arrays(x=np.zeros((2, 5000, 5000), bool), y=LABELS[:2]), "has images of 5,000 x 5,000 pixels"),
        (arrays(x=np.zeros((2, 8, 8, 4), np.uint8), y=LABELS[:2]), "has 4 channels"),
        (arrays(x=np.asfortranarray(IMAGES), y=LABELS), "is stored column by column"),
        (zipped({"x.npy": npy(IMAGES)[:-9], "y.npy": npy(LABELS)}), "entry x: is cut short"),
        (zipped({"x.npy": b"hello", "y.npy": npy(LABELS)}), "entry x.npy: is damaged or cut short"),
        (zipped({"x.npy": npy(np.array([Trap()], object), pickled=True), "y.npy": npy(LABELS)}), "could run programs"),
        (zipped({"x.npy": npy(IMAGES)})[:-30], "is damaged"),
        (pickle.dumps({"x": 1}), "is a Python pickle"),
        (npy(IMAGES), "is a single NumPy array"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_arrays_is_told(bench: Bench, content: bytes, message: str):
    assert message in str(bench.refused(bench.file("a.npz", content)))


def test_an_array_that_claims_to_be_endless_is_refused_at_its_head(bench: Bench):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**9, 10**9)})
    packed = zipped({"x.npy": head.getvalue() + bytes(100), "y.npy": npy(LABELS)})
    assert "is cut short" in str(bench.refused(bench.file("a.npz", packed)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 2, 0, 3)])
def test_idx_files_come_back_as_they_were_in_any_order(bench: Bench, real: ImageSet, pack: Any, order: tuple[int, ...]):
    parts = [
        ("train-images-idx3-ubyte", real.images[:200, :, :, 0]),
        ("train-labels-idx1-ubyte", real.labels[:200]),
        ("t10k-images-idx3-ubyte", real.images[200:300, :, :, 0]),
        ("t10k-labels-idx1-ubyte", real.labels[200:300]),
    ]
    files = [bench.file(name, pack(idx(array))) for name, array in parts]
    made = bench.made(*(files[place] for place in order))
    assert (made.images["train"] == real.images[:200]).all()
    assert (made.images["val"] == real.images[200:300]).all()
    assert made.labels["val"].tolist() == real.labels[200:300].tolist()
    found = guess(files)
    assert found.counts == tuple(np.bincount(real.labels[:300]).tolist())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train-images": idx(IMAGES)}, "the labels for these images are missing"),
        ({"train-labels": idx(LABELS)}, "the file with the images is missing"),
        ({"images": idx(IMAGES)[:-1], "labels": idx(LABELS)}, "cut short: it should hold 6, but ends in number 5"),
        ({"images": idx(IMAGES) + b"x", "labels": idx(LABELS)}, "is longer than its head says"),
        ({"images": idx(IMAGES)[:9], "labels": idx(LABELS)}, "images: is cut short"),
        ({"images": idx(IMAGES), "labels": idx(LABELS[:5])}, "has 6 images, but there are 5 labels"),
        ({"images": idx(IMAGES), "labels": bytes((0, 0, 13, 1)) + bytes(10)}, "holds other numbers than bytes"),
        ({"images": idx(IMAGES.reshape(6, 16)), "labels": idx(LABELS)}, "has 2 dimensions"),
        (
            {"images": gzip.compress(idx(IMAGES))[:-20], "labels": idx(LABELS)},
            "images: is damaged or cut short (Compressed file ended",
        ),
        ({"images": bytes((0, 0, 8, 3)) + b"\xff" * 12, "labels": idx(LABELS)}, "has 4,294,967,295 images"),
    ],
)
def test_what_is_wrong_with_idx_files_is_told(bench: Bench, files: dict[str, bytes], message: str):
    assert message in str(bench.refused(*(bench.file(name, content) for name, content in files.items())))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", b"label,a,b\n", "is not what its name says: it looks like Table (CSV)"),
        ("a.csv", zipped({"cat/a.png": b""}), "is not what its name says: it looks like Folders of images"),
        ("a.csv", arrays(x=IMAGES), "it looks like NumPy"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "is a PNG image"),
        ("a.zip", b"Rar!\x1a", "is a RAR archive"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "is an empty zip file"),
        ("a.npz", b"", "is empty"),
        ("a.zip", b"", "is empty"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(bench: Bench, name: str, content: bytes, message: str):
    assert message in str(bench.refused(bench.file(name, content)))


def test_files_of_two_kinds_do_not_belong_together(bench: Bench):
    files = [bench.file("a.csv", "1,2\n"), bench.file("b.npz", arrays(x=IMAGES, y=LABELS))]
    assert "do not belong together (a.csv: Table (CSV), b.npz: NumPy (.npz))" in str(bench.refused(*files))


def wide(real: ImageSet) -> np.ndarray:
    """Twenty real images, each in the middle of a picture of 300 x 600 pixels, which shows it ten times as large."""
    large = np.repeat(np.repeat(real.images[:20, :, :, 0], 10, 1), 10, 2)
    return np.pad(large, ((0, 0), (10, 10), (160, 160)))


@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_images_that_are_too_large_are_resized_with_a_word(bench: Bench, real: ImageSet, kind: str):
    images, labels = wide(real), real.labels[:20] % 2
    if kind == "npz":
        files = [bench.file("a.npz", arrays(x=images, y=labels))]
    else:
        files = [bench.file("images", idx(images)), bench.file("labels", idx(labels))]
    found = guess(files)
    assert (found.shape, found.choices.size) == ((112, 224, 1), (112, 224))
    assert "more than the 512 a side that are kept" in found.unsure["size"]
    assert found.sample.images.shape == (20, 112, 224, 1)
    made = bench.made(*files, size=(30, 30))
    assert made.about.notes[-2:] == (
        "20 of 20 images were resized to 30 x 30.",
        "20 of 20 images had other proportions and were cut to their middle.",
    )
    everything = np.concatenate([made.images["train"], made.images["val"]]).astype(int)
    near = [np.abs(everything[:, 1:-1, 1:-1] - image).mean((1, 2, 3)).min() for image in real.images[:20].astype(int)]
    assert max(near) < 10


def test_a_size_may_be_chosen_for_images_that_are_small_enough(bench: Bench):
    made = bench.made(bench.file("a.npz", arrays(x=IMAGES, y=LABELS)), size=(2, 2))
    assert made.about.shape == (2, 2, 1)
    assert made.about.notes == ("6 of 6 images were resized to 2 x 2.",)


def test_a_chosen_layout_is_taken(bench: Bench):
    stored = np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 1, 3)
    found = guess([bench.file("a.npz", arrays(images=stored, labels=LABELS))], Choices(layout="planar"))
    assert found.unsure == {}
    assert (found.sample.images == stored.transpose(0, 2, 3, 1)).all()
