"""Near-duplicates: the same as comparing every pair pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainer import duplicates, sources

if TYPE_CHECKING:
    from pathlib import Path


def by_hand(image: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.sqrt(((among.astype(float) - image.astype(float)) ** 2).reshape(len(among), -1).mean(1))


def test_what_is_nearly_the_same_is_found_as_comparing_every_pair_would(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    """In small parts, so that the joints between them count too."""
    monkeypatch.setattr(duplicates, "_ROWS", 64)
    monkeypatch.setattr(duplicates, "_COLUMNS", 1000)
    among = np.array(sources.load("fashion-mnist", "train", data_dir).images[:3500])
    images = np.array(sources.load("fashion-mnist", "val", data_dir).images[:150])
    random = np.random.default_rng(0)
    images[5] = among[3499]
    images[70] = np.clip(among[1000].astype(int) + random.integers(-8, 9, among[1000].shape), 0, 255)
    images[149] = 0
    places, differences = duplicates.nearest_of(images, among)
    assert (places[5], differences[5]) == (3499, 0)
    assert places[70] == 1000
    assert 0 < differences[70] < duplicates.NEAR
    found = 0
    for image, place, difference in zip(images, places, differences, strict=True):
        exact = by_hand(image, among)
        assert difference == pytest.approx(exact[place])
        # What is nearest at 14 pixels is nearest at 28 nearly always, and always where it is nearly the same.
        found += difference == pytest.approx(exact.min())
        assert exact.min() >= duplicates.NEAR or difference == pytest.approx(exact.min())
    assert found > 0.95 * len(images)


@pytest.mark.parametrize("shape", [(5, 3, 4, 3), (3, 40, 17, 1)], ids=["tiny and colour", "not square"])
def test_images_of_any_size_are_held_against_each_other(shape: tuple[int, ...]):
    among = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    places, differences = duplicates.nearest_of(among[::-1], among)
    assert places.tolist() == list(range(len(among)))[::-1]
    assert not differences.any()


def test_averaging_never_makes_a_difference_larger():
    """On which the search stands."""
    a, b = np.random.default_rng(1).integers(0, 256, (2, 20, 28, 28, 1), np.uint8)
    coarse = (duplicates._coarse(a) - duplicates._coarse(b)).square().mean(1).sqrt().numpy()
    assert (coarse <= np.sqrt(((a.astype(float) - b) ** 2).reshape(20, -1).mean(1)) + 1e-4).all()
