"""Rows become figures."""

from __future__ import annotations

import pytest

from app import charts
from app.clock import utc_now
from app.models import Epoch


def row(number: int, val_loss: float | None = 0.6) -> Epoch:
    return Epoch(
        run_id=1, epoch=number, attempt=1, train_loss=0.5, train_accuracy=0.8, val_loss=val_loss, val_accuracy=0.75,
        lr=0.001, seconds=1.0, train_seconds=0.9, images_per_s=100.0, finished_at=utc_now(),
    )  # fmt: skip


def test_a_curve_has_a_point_for_each_epoch_and_room_for_the_rest():
    figure = charts.accuracy([row(1), row(2)], total=20)
    train, val = figure["data"]
    assert (list(train["x"]), list(train["y"]), list(val["y"])) == ([1, 2], [0.8, 0.8], [0.75, 0.75])
    assert list(figure["layout"]["xaxis"]["range"]) == [0.5, 20.5]


def test_no_axis_raises_its_exponents():
    """Plotly would draw 8×10¹⁵ with an inline style, which the pages' policy forbids."""
    assert charts.loss([row(1, val_loss=8e15)], total=1)["layout"]["yaxis"]["exponentformat"] == "e"


def test_a_value_that_was_not_finite_is_a_gap():
    _, val = charts.loss([row(1), row(2, val_loss=None), row(3)], total=3)["data"]
    assert list(val["y"]) == [0.6, None, 0.6]
    assert val["connectgaps"] is False


@pytest.mark.parametrize(
    ("total", "tick"), [(1, 1), (10, 1), (11, 2), (20, 2), (21, 5), (100, 10), (300, 50), (10_000, 1000)]
)
def test_epochs_are_marked_at_round_numbers(total: int, tick: int):
    assert charts.loss([], total=total)["layout"]["xaxis"]["dtick"] == tick
