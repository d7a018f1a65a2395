"""Bounds hold at all times together, and variances are those of the model that they state."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import log_ndtr

from gapbench.bench.advice.confidence_sequence import critical, differences


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 11, 0.001])
@pytest.mark.parametrize("time", [0.2, 1.0, 4.0])
def test_critical_value_is_no_smaller_than_that_of_the_exact_mixture(
    alpha: float, time: float
) -> None:
    """The closed form covers the half-normal mixture that it bounds, and by little."""
    grown = 1 + time * (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))

    def excess(score: float) -> float:
        """Log capital of a half-normal mixture at a score in standard errors, above its goal."""
        place = score * math.sqrt((grown - 1) / grown)
        capital = math.log(2) - math.log(grown) / 2 + place**2 / 2 + log_ndtr(place)
        return float(capital + math.log(alpha))

    exact = brentq(excess, 0, 20)
    assert exact <= critical(alpha, time) <= exact * 1.01


def test_a_path_crosses_the_bound_less_often_than_stated() -> None:
    """Random walks leave a bound at level 0.05 in at most 5 % of cases, at any time."""
    alpha, looks, paths = 0.05, 200, 4000
    steps = np.random.default_rng(0).normal(size=(paths, looks))
    counts = np.arange(1, looks + 1)
    scores = steps.cumsum(axis=1) / np.sqrt(counts)
    bounds = np.array([critical(alpha, count / 20) for count in counts])
    crossed = (scores > bounds).any(axis=1).mean()
    assert 0.01 < crossed <= alpha


def test_variances_are_those_of_means_over_many_draws() -> None:
    """Two arms with item effects, block effects and noise; folds of 10 items, in two repeats."""
    rng = np.random.default_rng(1)
    n, folds, repeats, draws = 50, 5, 2, 1500
    means, variances, parts = [], [], []
    for _ in range(draws):
        items = np.concatenate([rng.permutation(n) for _ in range(repeats)])
        blocks = np.repeat(np.arange(folds * repeats), n // folds)
        effect = rng.normal(size=(2, n))[:, items]
        shift = 0.3 * rng.normal(size=(2, folds * repeats))[:, blocks]
        found = differences(effect + shift + rng.normal(size=effect.shape), items, blocks)
        means.append(found.means[0, 1])
        variances.append(found.variances()[0, 1])
        parts.append([found.item[0, 1], found.score[0, 1], found.block[0, 1]])
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.1)
    item, score, block = np.mean(parts, axis=0)
    assert item == pytest.approx(2.0, rel=0.1)
    assert score == pytest.approx(4.0, rel=0.1)
    assert block == pytest.approx(0.18, abs=0.08)


@pytest.mark.parametrize(("blocks", "freedom"), [(2, 2), (3, 4), (5, 8)])
def test_two_arms_have_the_bound_of_student_where_blocks_are_all_that_varies(
    blocks: int, freedom: int
) -> None:
    """Two arms have one variance between blocks, of one degree less than blocks, counted twice."""
    shift = np.repeat(np.linspace(-1, 1, blocks) ** 3 + 0.5, 1000)
    number = np.repeat(np.arange(blocks), 1000)
    found = differences(np.stack([shift, np.zeros_like(shift)]), np.arange(len(shift)), number)
    error = np.std(shift[::1000], ddof=1) / np.sqrt(blocks)
    expected = error * stats.t.isf(stats.norm.sf(3.0), freedom)
    assert found.radius(3.0)[0, 1] == pytest.approx(expected, rel=0.02)
    assert found.radius(3.0)[0, 0] == 0


def test_groups_count_as_the_equal_groups_that_tell_as_much() -> None:
    """Rows of one group share their effect: many rows of few groups are few."""
    rng = np.random.default_rng(0)
    sizes = np.array([10, 30, 50, 10])
    group = np.repeat(np.arange(4), sizes)
    losses = np.stack([rng.normal(size=4)[group], np.zeros(len(group))])
    found = differences(np.tile(losses, 2), np.tile(group, 2), np.repeat([0, 1], len(group)))
    assert found.design[0] == pytest.approx(sizes.sum() ** 2 / np.sum(sizes**2))


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_group_in_a_block_counts_once(repeats: int) -> None:
    """What its rows share there is no effect of the block too; that doubled the variance."""
    rng = np.random.default_rng(3)
    groups, size, folds = 60, 8, 5
    means, variances = [], []
    for _ in range(1500):
        order = np.concatenate([rng.permutation(groups) for _ in range(repeats)])
        items, blocks = (
            np.repeat(each, size)
            for each in (order, np.repeat(np.arange(folds * repeats), groups // folds))
        )
        lasting = rng.normal(size=(2, groups))[:, items]
        passing = np.repeat(rng.normal(size=(2, len(order))), size, axis=1)
        found = differences(lasting + passing + rng.normal(size=lasting.shape), items, blocks)
        means.append(found.means[0, 1])
        variances.append(found.variances()[0, 1])
    # A variance of blocks below zero counts as none, which is half of the excess.
    assert np.mean(variances) / np.var(means) == pytest.approx(1.15, abs=0.2)


def test_without_repeats_all_of_an_item_may_last() -> None:
    """Items that are scored once do not show what of them is noise."""
    rng = np.random.default_rng(2)
    found = differences(rng.normal(size=(3, 40)), np.arange(40), np.repeat(np.arange(2), 20))
    assert np.array_equal(found.item, found.score)
    assert np.allclose(found.means, -found.means.T)
    assert np.allclose(np.diag(found.variances()), 0.0)


def test_arms_that_never_differed_may_still_differ() -> None:
    """Equal losses leave room for a difference on one item in as many as were seen."""
    losses = np.tile([0.0, 1.0, 1.0, 1.0], (3, 10))
    found = differences(losses, np.arange(40), np.arange(40) % 2)
    apart = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(np.sqrt(found.variances())[apart], 1 / 40)
    np.testing.assert_array_equal(np.diag(found.variances()), 0)
