"""A thinned curve has every extreme of every column of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.comparing import thinning


def columns_of(x: np.ndarray, first: float, last: float, width: int) -> np.ndarray:
    return np.minimum((x - first) * (width / (last - first)), width - 1).astype(int)


@pytest.mark.parametrize(("first", "last"), [(0, 99_999), (20_000, 61_234)])
def test_the_first_least_greatest_and_last_of_every_column_stay(first: int, last: int):
    x, y = np.arange(100_000.0), np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    y[[500, 30_000, 30_001]] = np.nan
    places = thinning.kept(x, y, first, last, 700)
    assert len(places) <= 4 * 700 + 2
    assert np.all(np.diff(places) > 0)
    inside = places[(places >= first) & (places <= last)]
    for column in range(700):
        whole = np.flatnonzero(columns_of(x[first : last + 1], first, last, 700) == column) + first
        mine = y[np.intersect1d(inside, whole)]
        assert np.nanmin(mine) == np.nanmin(y[whole])
        assert np.nanmax(mine) == np.nanmax(y[whole])
        assert {whole[0], whole[-1]} <= set(inside)


def test_zoomed_in_the_points_themselves_come_and_one_at_either_side():
    x = np.arange(100_000.0)
    assert thinning.kept(x, x, 50_000, 50_600, 700).tolist() == list(range(49_999, 50_602))


def test_a_short_curve_is_left_as_it_is():
    x = np.arange(10.0)
    assert thinning.kept(x, x, 0, 9, 700).tolist() == list(range(10))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_infinity=False, width=32), min_size=30, max_size=200), st.integers(1, 5))
def test_no_value_is_lost_at_any_size(values: list[float], width: int):
    x, y = np.arange(float(len(values))), np.array(values, np.float32)
    kept = y[thinning.kept(x, y, 0, len(values) - 1, width)]
    finite = y[np.isfinite(y)]
    if len(finite):
        assert (np.nanmin(kept), np.nanmax(kept)) == (finite.min(), finite.max())
