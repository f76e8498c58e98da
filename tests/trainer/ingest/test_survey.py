"""What a look at every image finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.trainer.ingest.conftest import arrays
from trainer.ingest import findings

if TYPE_CHECKING:
    from tests.trainer.ingest.conftest import Bench
    from trainer.ingest import Finding
    from trainer.sources import ImageSet


def found(bench: Bench, **parts: np.ndarray) -> dict[str, Finding]:
    return {
        finding.code: finding for finding in findings(bench.made(bench.file("a.npz", arrays(**parts))).folder).warnings
    }


def parts_of(real: ImageSet) -> dict[str, np.ndarray]:
    """800 images for training and 200 for validation."""
    images, labels = real.images[..., 0], real.labels
    return {
        "train_images": images[:800].copy(),
        "train_labels": labels[:800].copy(),
        "val_images": images[800:1000].copy(),
        "val_labels": labels[800:1000].copy(),
    }


def test_of_real_images_there_is_nothing_to_say_and_samples_show_their_class(bench: Bench, real: ImageSet):
    made = bench.made(bench.file("a.npz", arrays(**parts_of(real))))
    survey = findings(made.folder)
    assert survey.warnings == ()
    assert sum(survey.train) == 800
    assert all((made.labels["train"][list(places)] == label).all() for label, places in enumerate(survey.samples))
    assert [len(places) for places in survey.samples] == [8] * 10


def test_an_image_in_both_splits_is_found(bench: Bench, real: ImageSet):
    parts = parts_of(real)
    parts["val_images"][[5, 9]] = parts["train_images"][[700, 3]]
    finding = found(bench, **parts)["duplicates"]
    assert finding.places == (("val", 5), ("val", 9))
    assert "2 validation images are among the training images too" in finding.message


def test_one_image_in_two_classes_is_found(bench: Bench, real: ImageSet):
    parts = parts_of(real)
    other = int(np.flatnonzero(parts["train_labels"] != parts["train_labels"][0])[0])
    parts["train_images"][other] = parts["train_images"][0]
    finding = found(bench, **parts)["contradiction"]
    assert {place for _, place in finding.places} == {0, other}


def test_blank_images_are_found(bench: Bench, real: ImageSet):
    parts = parts_of(real)
    parts["train_images"][17] = 0
    parts["train_images"][21] = 9
    assert found(bench, **parts)["blank"].places == (("train", 17), ("train", 21))


def test_a_class_of_one_picture_is_found(bench: Bench, real: ImageSet):
    parts = parts_of(real)
    parts["train_images"][parts["train_labels"] == 3] = parts["train_images"][0]
    assert found(bench, **parts)["constant_class"].message == "All training images of 3 are the same."


def test_rare_and_missing_classes_are_found(bench: Bench, real: ImageSet):
    parts = parts_of(real)
    keep = (parts["train_labels"] != 4) & ((parts["train_labels"] != 2) | (np.cumsum(parts["train_labels"] == 2) < 6))
    warnings = found(
        bench, **parts | {"train_images": parts["train_images"][keep], "train_labels": parts["train_labels"][keep]}
    )
    assert warnings["missing_class"].message == "There are no training images of 4."
    assert "but 5 of 2" in warnings["imbalance"].message


@pytest.mark.parametrize(("images", "expected"), [(49, True), (50, False)])
def test_few_validation_images_are_found(bench: Bench, real: ImageSet, images: int, expected: bool):
    parts = parts_of(real)
    labels = np.arange(images) % 10
    few = {"val_images": parts["val_images"][:images], "val_labels": labels}
    assert ("small_validation" in found(bench, **parts | few)) == expected
