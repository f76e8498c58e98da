"""Scores from true and predicted labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.scores import alike_together, by_class, calibration, confusion, history, label_issues, mcnemar, wilson

TRUE = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 1, 1, 0, 1])


def test_the_matrix_counts_pairs_with_the_true_class_as_row():
    assert confusion(TRUE, SAID, 4).tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_scores_are_the_textbooks_and_none_where_they_divide_by_nothing():
    first, second, third, fourth = by_class(confusion(TRUE, SAID, 4))
    assert (first.precision, first.recall, first.support) == (2 / 3, 2 / 3, 3)
    assert (second.precision, second.recall) == (1 / 3, 1 / 2)
    assert second.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert (third.precision, third.recall, third.f1) == (None, 0, 0)
    assert (fourth.precision, fourth.recall, fourth.f1, fourth.support) == (None, None, None, 0)


def test_the_calibration_error_is_the_weighted_distance_of_accuracy_from_confidence():
    bins, error = calibration(np.array([True, False, True, True]), np.array([0.55, 0.6, 0.95, 1.0]))
    assert [(item.right, item.wrong) for item in bins if item.right + item.wrong] == [(1, 1), (2, 0)]
    assert error == pytest.approx(0.5 * abs(0.5 - 0.575) + 0.5 * abs(1 - 0.975))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50))
def test_every_prediction_is_in_one_bin(pairs: list[tuple[bool, float]]):
    bins, error = calibration(np.array([right for right, _ in pairs]), np.array([sure for _, sure in pairs]))
    assert sum(item.right + item.wrong for item in bins) == len(pairs)
    assert 0 <= error <= 1 + 1e-9
    for item in bins:
        assert (item.confidence is None) == (item.right + item.wrong == 0)
        assert item.confidence is None or item.low - 1e-9 <= item.confidence <= item.high + 1e-9


def test_a_sample_is_learned_forgotten_or_never_right():
    true = np.array([1, 1, 1, 1])
    predicted = np.array([[0, 1, 2, 1], [1, 0, 3, 1], [1, 1, 2, 1], [1, 0, 2, 1]])
    told = history(true, predicted)
    assert told.epochs == 4
    assert told.times_wrong.tolist() == [1, 2, 4, 0]
    assert told.forgotten.tolist() == [0, 2, 0, 0]
    assert told.changes.tolist() == [1, 3, 2, 0]
    assert told.learned.tolist() == [2, 0, 0, 1]
    assert told.wrong_now.tolist() == [False, True, True, False]


def test_after_one_epoch_nothing_was_forgotten_yet():
    told = history(np.array([0, 1]), np.array([[0, 0]]))
    assert (told.forgotten.tolist(), told.changes.tolist(), told.learned.tolist()) == ([0, 0], [0, 0], [1, 0])


def test_a_label_is_suspected_where_the_model_is_as_sure_as_it_usually_is():
    true = np.array([0, 0, 1, 1, 0, 0, 1])
    predicted = np.array([0, 0, 1, 1, 1, 1, 0])
    confidences = np.array([0.9, 0.7, 0.6, 0.8, 0.75, 0.65, 0.79])
    # Class 0 is usually said with 0.8, class 1 with 0.7: the fifth is surer than that, the last is not.
    assert label_issues(true, predicted, confidences, 3).tolist() == [4]


def test_a_class_that_was_never_right_suspects_nobody():
    assert label_issues(np.array([0, 0]), np.array([2, 2]), np.array([1.0, 1.0]), 3).tolist() == []


def test_wilsons_interval_is_the_published_one():
    """Newcombe, 1998, table I: 81 of 263, and the edges 0 of 20 and 1 of 29."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 1, 1.0), (0, 6, 2 / 2**6), (1, 9, 2 * 11 / 2**10), (9, 1, 2 * 11 / 2**10)],
)
def test_mcnemars_test_is_that_of_a_coin(first: int, second: int, expected: float):
    assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemars_test_of_thousands_of_samples_is_a_number():
    assert 0 <= mcnemar(4000, 5000) < 1e-20
    assert mcnemar(100_000, 100_200) == pytest.approx(0.655, abs=0.01)


def test_classes_that_are_taken_for_each_other_stand_side_by_side():
    matrix = np.diag([50] * 5)
    for a, b, times in ((0, 3, 40), (3, 1, 20), (4, 0, 10)):
        matrix[a, b] = times
    order = alike_together(matrix)
    assert sorted(order) == [0, 1, 2, 3, 4]
    together = "".join(map(str, order))
    assert "4031" in together or "1304" in together


@pytest.mark.parametrize("classes", [0, 1, 2])
def test_few_classes_have_an_order_too(classes: int):
    assert alike_together(np.zeros((classes, classes), np.int64)) in ([*range(classes)], [1, 0])
