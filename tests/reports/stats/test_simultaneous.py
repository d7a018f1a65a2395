"""Thresholds that hold together: Student's t for one pair, and a stated rate for any variances."""

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.stats.simultaneous import FLOOR, Pairs, floored, seed_threshold


@pytest.mark.parametrize("df", [1, 2, 4, 9, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_threshold_of_one_pair_is_that_of_student(df: int, alpha: float) -> None:
    """There is nothing to correct for."""
    expected = reference.t.isf(alpha / 2, df)
    assert seed_threshold(alpha, df, 2, "reference") == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["reference", "all"])
@pytest.mark.parametrize("methods", [3, 7, 20])
@pytest.mark.parametrize("df", [2, 4, 9])
def test_threshold_lies_between_one_pair_and_bonferroni(methods: int, kind: Pairs, df: int) -> None:
    """It is never bolder than a single test, nor stricter than one for each pair by itself."""
    count = methods - 1 if kind == "reference" else (methods - 1) * (methods - 2) // 2
    found = seed_threshold(0.04, df, methods, kind)
    assert found >= 0.999 * reference.t.isf(0.02, df)
    events = max(count, 2 if kind == "reference" else 6)
    assert found <= 1.06 * reference.t.isf(0.02 / events, df)


@pytest.mark.parametrize("varying", [1, 2, 4, 7])
@pytest.mark.parametrize("kind", ["reference", "all"])
def test_rate_of_false_claims_holds_however_many_methods_vary(varying: int, kind: Pairs) -> None:
    """Seven methods, five seeds, of which some vary and the others do not at all."""
    rng = np.random.default_rng(varying)
    scores = np.zeros((20_000, 5, 7))
    scores[:, :, -varying:] = rng.normal(size=(20_000, 5, varying))
    pairs = [(0, j) for j in range(1, 7)]
    if kind == "all":
        pairs = [(i, j) for i in range(1, 7) for j in range(i + 1, 7)]
    every = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    variances = {
        p: (scores[:, :, p[0]] - scores[:, :, p[1]]).var(axis=1, ddof=1) / 5 for p in every
    }
    without = [np.mean([v for p, v in variances.items() if i not in p], axis=0) for i in range(7)]
    least = FLOOR * np.min(without, axis=0)
    reach = seed_threshold(0.04, 4, 7, kind)
    means = scores.mean(axis=1)
    false = [
        np.abs(means[:, i] - means[:, j]) > reach * np.sqrt(np.maximum(variances[i, j], least))
        for i, j in pairs
    ]
    assert np.any(false, axis=0).mean() < 0.043


def _floored(deviations: np.ndarray, n_seeds: np.ndarray) -> np.ndarray:
    """Return the floored variances per seed of methods that vary so much, independently."""
    variances = np.square(deviations)
    per_seed = variances[:, None] + variances
    np.fill_diagonal(per_seed, 0.0)
    like = np.ones_like(per_seed)
    every = Estimate(0 * like, per_seed / n_seeds, 0 * like, like, like, 0 * like)
    return floored(every, n_seeds) * n_seeds


def test_one_noisy_method_raises_no_other_variance() -> None:
    """However much it varies, and on however few seeds; a second one would count."""
    seeds = np.full((7, 7), 5)
    steady = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 1.0])
    expected = _floored(steady, seeds)
    least = FLOOR * 2 * (5 + 0.04) / 6  # one of those that vary most is left out
    assert expected[0, 1] == pytest.approx(2.0)
    assert _floored(np.where(np.arange(7) == 5, 0.0, 0.2), seeds)[5, 0] == pytest.approx(0.04)
    for factor in (6.0, 1000.0):
        noisy = np.where(np.arange(7) == 6, factor, steady)
        few = seeds.copy()
        few[6], few[:, 6] = 2, 2
        for counts in (seeds, few):
            found = _floored(noisy, counts)
            assert found[:6, :6] == pytest.approx(np.maximum(expected[:6, :6], least))
    quiet = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert _floored(quiet, seeds)[5, 6] == pytest.approx(FLOOR * 2 * 4 / 6)


def test_of_three_methods_none_is_left_out() -> None:
    """One pair, which may be steady by chance, would tell too little."""
    deviations = np.array([1.0, 2.0, 0.1])
    expected = deviations[:, None] ** 2 + deviations**2
    least = FLOOR * 2 * np.square(deviations).mean()
    off = ~np.eye(3, dtype=bool)
    found = _floored(deviations, np.full((3, 3), 5))
    assert found[off] == pytest.approx(np.maximum(expected, least)[off])
    assert found[0, 2] == pytest.approx(least)
