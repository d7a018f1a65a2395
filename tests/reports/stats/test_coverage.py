"""Do 95 % intervals hold the truth, and do equal methods stay together? By model and simulation."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.bench.metrics.base import get
from gapbench.bench.metrics.calibration import ece_items
from gapbench.reports.stats.estimates import Estimate, Sample, averaged, estimate, two_level
from gapbench.reports.stats.pairwise import family
from tests.support.simulated_runs import Floats, correct, expected, sample

SHARES = np.array([0.0, 0.02, 0.05, *np.linspace(0.1, 0.9, 17), 0.95, 0.98, 1.0])
LOW, HIGH = 0.93, 0.97
"""What 95 % intervals shall cover."""


def drawn(share: float, n_seeds: int) -> float:
    """Return how often an interval holds the truth.

    Normal scores of many items, of whose variance a share is from seeds: what is left to chance
    is the mean and a chi-squared, over whose quantiles the rates are averaged.
    """
    nodes = 1 - (1 - (np.arange(4000) + 0.5) / 4000) ** 3  # denser where it is large
    weights = 3 * (1 - (np.arange(4000) + 0.5) / 4000) ** 2 / 4000
    chi = reference.chi2.isf(nodes, n_seeds - 1) / (n_seeds - 1)
    parts = (
        0 * chi,
        share * chi,
        0 * chi + 1 - share,
        0 * chi + n_seeds - 1,
        0 * chi + 1e6,
        0 * chi,
    )
    reached = reference.norm.sf(Estimate(*parts).ends()[1])
    return float(1 - 2 * weights @ reached)


@pytest.mark.parametrize("n_seeds", [2, 3, 4, 5, 10, 20])
def test_intervals_of_normal_scores_cover_the_truth_for_any_share_of_seeds(n_seeds: int) -> None:
    """Whatever part of the variance is from seeds, coverage is 93 to 97 %."""
    coverage = [drawn(share, n_seeds) for share in SHARES]
    assert min(coverage) > LOW - 0.001
    assert max(coverage) < HIGH + 0.002
    if n_seeds > 2:
        assert min(coverage) > 0.945
        assert max(coverage) < 0.966


SEEDS_AND_ITEMS = [(3, 100), (3, 2000), (5, 100), (5, 500), (10, 100), (10, 500)]


@pytest.mark.parametrize(("n_seeds", "n_items"), SEEDS_AND_ITEMS)
@pytest.mark.parametrize("deviation", [0.05, 0.3])
def test_intervals_of_accuracy_cover_the_expected_score(
    n_seeds: int, n_items: int, deviation: float
) -> None:
    """Right answers that depend on seed and item, about 80 % of them."""
    rng = np.random.default_rng([n_seeds, n_items])
    truth = expected(2.0, np.hypot(deviation, 1.5))
    repetitions = 1500 if n_items < 2000 else 500
    assert LOW < covered(rng, (n_seeds, n_items), deviation, truth, repetitions) < HIGH + 0.005


LEVELS, DEVIATIONS = (0.5, 1.5, 2.5), (0.02, 0.1, 0.5)
STUDIES = [
    (*shape, deviation, LEVELS[(place + other) % 3])
    for place, shape in enumerate([*SEEDS_AND_ITEMS, (10, 2000)])
    for other, deviation in enumerate(DEVIATIONS)
]
"""A third of all combinations, in which every two of shape, deviation and level meet."""


@pytest.mark.slow
@pytest.mark.parametrize(("n_seeds", "n_items", "deviation", "level"), STUDIES)
def test_intervals_of_accuracy_cover_the_expected_score_on_many_studies(
    n_seeds: int, n_items: int, deviation: float, level: float
) -> None:
    """The same on more studies, of harder and easier tasks."""
    rng = np.random.default_rng([n_seeds, n_items, 1])
    truth = expected(level, np.hypot(deviation, 1.5))
    runs = 6000 if n_items < 2000 else 2000
    tolerance = 2.5 * np.sqrt(0.95 * 0.05 / runs)
    coverage = covered(rng, (n_seeds, n_items), deviation, truth, runs, level)
    assert LOW - tolerance < coverage < HIGH + tolerance


def covered(
    rng: np.random.Generator,
    shape: tuple[int, int],
    deviation: float,
    truth: float,
    runs: int,
    level: float = 2.0,
) -> float:
    """Return the share of simulated studies whose interval holds the truth."""
    hits, block = 0, 100
    for _ in range(runs // block):
        drawn = [
            correct(rng, level, rng.normal(0, deviation, shape[0]), rng.normal(0, 1.5, shape[1]))
            for _ in range(block)
        ]
        low, high = estimates(np.stack(drawn)).ends()
        hits += int(np.sum((low <= truth) & (truth <= high)))
    return hits / runs


@pytest.mark.parametrize(("n_seeds", "n_items"), [(3, 100), (3, 500), (5, 100)])
@pytest.mark.parametrize("level", [5.0, 6.5])
def test_intervals_near_a_bound_cover_the_expected_score(
    n_seeds: int, n_items: int, level: float
) -> None:
    """Almost all answers are right, so that many intervals are those of small means."""
    rng = np.random.default_rng([n_seeds, n_items, 2])
    truth = expected(level, np.hypot(0.3, 1.5))
    hits = []
    for _ in range(800):
        y = correct(rng, level, rng.normal(0, 0.3, n_seeds), rng.normal(0, 1.5, n_items))
        found = estimate(sample(y)).interval(n_seeds, (0.0, 1.0))
        if found.low is not None and found.high is not None:  # not all are right
            hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) > 0.94


def test_intervals_of_the_calibration_error_of_shares_cover_it() -> None:
    """What says the shares of the training rows to all examples is almost calibrated."""
    rng = np.random.default_rng(9)
    found = []
    for _ in range(600):
        labels = (rng.random(500) > 0.56).astype(np.int64)
        said = np.clip(rng.normal(0.56, 0.02, 5), 0.51, 0.9)
        logs = [np.log(np.tile([each, 1 - each], (500, 1))) for each in said]
        values = np.array([ece_items(each, labels) for each in logs])
        found.append(estimate(sample(values)).interval(5, (0.0, 1.0)))
    truth = np.mean([each.mean for each in found])
    ends = [(low, high) for _, _, low, high in map(astuple, found) if low is not None]
    assert np.mean([low <= truth <= high for low, high in ends]) > LOW
    assert max(high - low for low, high in ends) < 0.5


def estimates(values: Floats) -> Estimate:
    """Return the estimates of many studies at once from the values of their items, `(B, S, N)`."""
    rest = values - values.mean(axis=-1, keepdims=True)
    shared = rest @ rest.swapaxes(-1, -2) / (values.shape[-1] - 1)
    found = two_level(values.mean(axis=-1), [shared], [values.shape[-1]])
    one = estimate(sample(values[0]))
    for part, whole in vars(found).items():
        if part != "third":  # equal arms are what is looked at
            np.testing.assert_allclose(whole[0], getattr(one, part), rtol=1e-9, atol=1e-15)
    return found


def classes(
    rng: np.random.Generator, metric: str, n_seeds: int, n_items: int
) -> tuple[list[Floats], Floats]:
    """Return predictions of every seed, some oftener right than others, and references."""
    if metric == "pearson":
        truth = rng.normal(size=n_items)
        common = rng.normal(0, 0.5, n_items)
        noise = np.exp(rng.normal(-0.7, 0.15, n_seeds))
        return [truth + common + each * rng.normal(size=n_items) for each in noise], truth
    truth = (rng.random(n_items) < 0.35).astype(np.float64)
    hard = rng.normal(0, 1.2, n_items)
    right = [correct(rng, 1.2, rng.normal(0, 0.15, 1), hard)[0] for _ in range(n_seeds)]
    return [np.where(each == 1, truth, 1 - truth) for each in right], truth


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation", "pearson"])
def test_intervals_of_other_metrics_cover_the_expected_score(metric: str) -> None:
    """Metrics that are no means have intervals by their pseudo-values, which cover as well."""
    rng = np.random.default_rng(5)
    predictions, references = classes(rng, metric, 60, 40_000)
    truths = [get(metric).function(each, references) or 0.0 for each in predictions]
    truth = float(np.mean(truths))
    hits = []
    for _ in range(600):
        predictions, references = classes(rng, metric, 5, 250)
        values = np.array([get(metric).pseudovalues(each, references) for each in predictions])
        low, high = estimate(sample(values)).ends()
        hits.append(bool(low <= truth <= high))
    assert LOW < np.mean(hits) < HIGH + 0.005


def rivals(
    rng: np.random.Generator, means: list[float], n_seeds: int, n_items: int
) -> dict[int, Sample]:
    """Return methods that share their items, each with seeds and likings of its own."""
    hard = rng.normal(0, 1.5, n_items)
    found = {}
    for method, level in enumerate(means):
        own = hard + rng.normal(0, 0.5, n_items)
        found[method] = sample(correct(rng, level, rng.normal(0, 0.1, n_seeds), own))
    return found


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_intervals_of_a_difference_cover_it(n_seeds: int) -> None:
    """Two methods that truly differ, on the same items."""
    rng = np.random.default_rng([6, n_seeds])
    deviation = float(np.sqrt(1.5**2 + 0.5**2 + 0.1**2))
    truth = expected(1.6, deviation) - expected(1.3, deviation)
    hits = []
    for _ in range(1000):
        low, high = family(rivals(rng, [1.6, 1.3], n_seeds, 300)).estimate[0, 1].ends()
        hits.append(bool(low <= truth <= high))
    assert LOW < np.mean(hits) < HIGH


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_equal_methods_are_seldom_told_apart(n_seeds: int) -> None:
    """Of seven equal methods some pair is told apart in at most one study of twenty."""
    rng = np.random.default_rng([7, n_seeds])
    studies = [family(rivals(rng, [1.5] * 7, n_seeds, 200)) for _ in range(400)]
    wrong = np.mean([any(study.beaten_by(higher_is_better=True).values()) for study in studies])
    assert wrong <= 0.05


def test_intervals_of_an_average_over_tasks_cover_it() -> None:
    """Three tasks of other levels, sizes and spreads, each a stratum."""
    rng = np.random.default_rng(8)
    tasks = [(0.5, 0.3, 150), (1.5, 0.1, 300), (2.5, 0.2, 100)]
    truth = np.mean([expected(level, np.hypot(spread, 1.5)) for level, spread, _ in tasks])
    hits = []
    for _ in range(1200):
        parts = [
            estimate(
                sample(correct(rng, level, rng.normal(0, spread, 3), rng.normal(0, 1.5, size)))
            )
            for level, spread, size in tasks
        ]
        low, high = averaged(parts).ends()
        hits.append(bool(low <= truth <= high))
    assert LOW < np.mean(hits) < HIGH
