"""What numbers say, in numbers and in words."""

from __future__ import annotations

import numpy as np
import pytest

from app.comparing import statistics
from app.comparing.outcomes import OUTCOMES

ACCURACY, LOSS = OUTCOMES["best_val_accuracy"], OUTCOMES["val_loss"]


def test_welchs_test_is_that_of_the_textbook():
    """The first example of https://en.wikipedia.org/wiki/Welch%27s_t-test: equal sizes, p = 0.021."""
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
    found = statistics.difference(a, b, LOSS)
    assert found.p_value == pytest.approx(0.021378, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.349, abs=1e-3), pytest.approx(3.985, abs=1e-3))


def test_a_clear_difference_is_told_in_points_and_cases():
    found = statistics.difference([0.90, 0.901, 0.902], [0.906, 0.9065, 0.908], ACCURACY)
    assert found.words.startswith("B is better by 0.3")
    assert " points; chance alone would give such a difference, or a larger one, in 1 of " in found.words


def test_of_a_loss_lower_is_better():
    assert statistics.difference([0.50, 0.51, 0.52], [0.30, 0.31, 0.32], LOSS).words.startswith("B is better by")
    assert statistics.difference([0.30, 0.31, 0.32], [0.50, 0.51, 0.52], LOSS).words.startswith("B is worse by")


def test_a_difference_that_chance_gives_is_not_called_one():
    found = statistics.difference([0.90, 0.91, 0.92], [0.905, 0.912, 0.915], ACCURACY)
    assert found.words.startswith("No difference can be told: chance alone")
    assert "of 100 cases" in found.words


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([0.9], [0.8, 0.81], "One run says nothing"),
        ([], [], "One run says nothing"),
        ([0.9, 0.9], [0.9, 0.9], "All runs of both have the same value, 90.00 %."),
        ([0.9, 0.9], [0.91, 0.91], "the same seed again is no new evidence"),
    ],
)
def test_where_nothing_can_be_tested_the_words_say_why(a: list[float], b: list[float], words: str):
    assert words in statistics.difference(a, b, ACCURACY).words


def test_the_bootstrap_agrees_with_welch_where_both_hold():
    random = np.random.default_rng(1)
    a, b = random.normal(0.90, 0.002, 40), random.normal(0.91, 0.003, 40)
    found = statistics.difference(list(a), list(b), ACCURACY)
    assert found.bootstrap is not None
    assert found.bootstrap == (pytest.approx(found.low, abs=3e-4), pytest.approx(found.high, abs=3e-4))
    assert statistics.difference(list(a[:4]), list(b), ACCURACY).bootstrap is None


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (1e-9, "fewer than 1 of 10,000"),
        (0.005, "1 of 200"),
        (0.021, "1 of 48"),
        (0.38, "38 of 100"),
        (1.0, "100 of 100"),
    ],
)
def test_probabilities_are_told_as_cases(p_value: float, words: str):
    assert words in statistics.in_cases(p_value)


def test_the_front_leaves_out_what_another_beats_and_keeps_equals():
    values = np.array([[3, 1], [2, 2], [1, 3], [1, 1], [2, 1], [2, 2]], float)
    assert statistics.front(values) == [0, 1, 2, 5]


def test_the_setting_that_makes_the_difference_is_found():
    random = np.random.default_rng(0)
    lr, dropout = 10 ** random.uniform(-4, -1, 60), random.uniform(0, 0.5, 60)
    optimizer = random.choice(["Adam", "SGD"], 60)
    accuracy = 0.9 - 0.05 * (np.log10(lr) + 2.5) ** 2 + 0.02 * (optimizer == "SGD") + random.normal(0, 0.002, 60)
    columns = {"lr": list(lr), "dropout": list(dropout), "optimizer": list(optimizer)}
    found = statistics.importance(columns, list(accuracy))
    assert list(found.shares) == ["lr", "optimizer", "dropout"]
    assert found.shares["lr"][0] > 0.6
    assert found.shares["dropout"][0] < 0.05
    assert found.explained > 0.5
    assert sum(share for share, _ in found.shares.values()) == pytest.approx(1)


def test_settings_that_make_no_difference_explain_nothing():
    random = np.random.default_rng(0)
    columns = {
        "lr": list(random.uniform(0, 1, 40)),
        "width": [None if x > 0.5 else 8 for x in random.uniform(0, 1, 40)],
    }
    assert statistics.importance(columns, list(random.normal(0, 1, 40))).explained < statistics.USABLE
