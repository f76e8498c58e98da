"""What the numbers of several runs say, in numbers and in plain words.

SciPy and scikit-learn are imported by the functions that need them: the server must start without waiting for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.comparing.outcomes import Outcome

LEVEL = 0.95
SURE = 0.05
"""Below this probability a difference is called more than chance."""
RESAMPLES = 10_000
FEWEST_FOR_BOOTSTRAP = 5
"""Runs a side; of fewer there are too few different resamples for an interval to mean anything."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Summary:
    """Runs of one group that have a value; the standard deviation is that of a sample, None for a single run."""

    label: str
    runs: int
    mean: float | None
    deviation: float | None
    best: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the second of two groups differs from the first; the interval is that of their difference, B - A."""

    words: str
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    bootstrap: tuple[float, float] | None = None


def summary(label: str, values: Sequence[float], outcome: Outcome) -> Summary:
    if not values:
        return Summary(label, 0, None, None, None)
    best = max(values) if outcome.higher_is_better else min(values)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(label, len(values), float(np.mean(values)), deviation, best)


def difference(a: Sequence[float], b: Sequence[float], outcome: Outcome) -> Verdict:
    """Welch's test of two groups of runs, which does not suppose that both scatter alike."""
    if min(len(a), len(b)) < 2:
        return Verdict(
            "One run says nothing of how much the seed alone changes. Both need at least two runs: start the same "
            "settings with other seeds."
        )
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Verdict(_without_scatter(a[0], b[0], outcome))
    from scipy import stats

    result = stats.ttest_ind(b, a, equal_var=False)
    interval = result.confidence_interval(LEVEL)
    low, high, p_value = float(interval.low), float(interval.high), float(result.pvalue)
    return Verdict(_words(low, high, p_value, outcome), low, high, p_value, _bootstrap(a, b))


def in_cases(p_value: float) -> str:
    """A probability as people count: in 1 of 200 cases."""
    if p_value < 0.0001:
        return "in fewer than 1 of 10,000 cases"
    if p_value < 0.1:
        return f"in 1 of {_two_digits(1 / p_value):,} cases"
    return f"in {round(p_value * 100)} of 100 cases"


def front(values: Floats) -> list[int]:
    """Places of the rows of `values`, shape [N, D], that no other row beats: larger is better in every column.

    A row is beaten by one that is as good in every column and better in one.
    """
    as_good, better = values[None, :, :] >= values[:, None, :], values[None, :, :] > values[:, None, :]
    beaten = np.any(np.all(as_good, axis=2) & np.any(better, axis=2), axis=1)
    return [int(place) for place in np.flatnonzero(~beaten)]


def _words(low: float, high: float, p_value: float, outcome: Outcome) -> str:
    chance = f"chance alone would give such a difference, or a larger one, {in_cases(p_value)}"
    if p_value >= SURE:
        worst = f"from {signed(low, outcome)} to {signed(high, outcome)}{outcome.unit}"
        return f"No difference can be told: {chance}. B − A may be anything {worst}."
    near, far = sorted((abs(low), abs(high)))
    better = (low > 0) == outcome.higher_is_better
    by = f"{outcome.difference(near)} to {outcome.difference(far)}{outcome.unit}"
    return f"B is {'better' if better else 'worse'} by {by}; {chance}."


def _without_scatter(a: float, b: float, outcome: Outcome) -> str:
    if a == b:
        return f"All runs of both have the same value, {outcome.shown(a)}."
    better = (b > a) == outcome.higher_is_better
    by = f"{outcome.difference(b - a)}{outcome.unit}"
    return (
        f"B is {'better' if better else 'worse'} by {by}, and the runs of each are exactly alike: "
        "the same seed again is no new evidence."
    )


def signed(value: float, outcome: Outcome) -> str:
    """A difference with its sign, without its unit."""
    return f"{'−' if value < 0 else '+'}{outcome.difference(value)}"


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))


def _bootstrap(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """The percentile interval of the difference of the means, without supposing any distribution."""
    if min(len(a), len(b)) < FEWEST_FOR_BOOTSTRAP:
        return None
    random = np.random.default_rng(0)
    means = [random.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in (np.array(a), np.array(b))]
    low, high = np.quantile(means[1] - means[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


# Which settings matter

FEWEST_RUNS = 12
TREES, REPEATS, PARTS = 40, 2, 4
USABLE = 0.1
"""Share of the variance that the settings must explain before their importance is worth reading."""


@dataclass(frozen=True, slots=True)
class Importance:
    """`shares` by setting, the largest first: part of the explained variance, and its spread over shuffles."""

    runs: int
    explained: float
    shares: dict[str, tuple[float, float]]


def importance(columns: dict[str, list[Any]], target: Sequence[float]) -> Importance:
    """How much worse a random forest predicts `target` of runs it has not seen when one setting is shuffled.

    `columns` are the settings of the runs, numbers or words; None where a setting means nothing. Permutation
    importance (Breiman, "Random Forests", 2001) on held-out parts of the runs, by scikit-learn.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    table = np.column_stack([_numbers(values) for values in columns.values()])
    wanted = np.asarray(target, np.float64)
    losses, predicted = [], np.empty_like(wanted)
    for train, held in KFold(PARTS, shuffle=True, random_state=0).split(table):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
        forest.fit(table[train], wanted[train])
        predicted[held] = forest.predict(table[held])
        found = permutation_importance(
            forest, table[held], wanted[held], n_repeats=REPEATS, random_state=0, scoring="neg_mean_squared_error"
        )
        losses.append(found.importances)
    drops = np.maximum(np.concatenate(losses, axis=1), 0)
    means, spreads = drops.mean(axis=1), drops.std(axis=1)
    whole = means.sum() or 1.0
    shares = {name: (float(means[i] / whole), float(spreads[i] / whole)) for i, name in enumerate(columns)}
    explained = 1 - float(np.mean((predicted - wanted) ** 2) / np.var(wanted))
    return Importance(len(wanted), explained, dict(sorted(shares.items(), key=lambda item: -item[1][0])))


def _numbers(values: Sequence[Any]) -> Floats:
    """Numbers as they are, words by their place in the alphabet, and what means nothing below them all."""
    if all(value is None or isinstance(value, (int, float)) for value in values):
        known = [float(value) for value in values if value is not None]
        below = min(known, default=0.0) - 1
        return np.array([below if value is None else float(value) for value in values])
    order = {word: place for place, word in enumerate(sorted({str(value) for value in values}))}
    return np.array([float(order[str(value)]) for value in values])
