"""Ranks, aggregates, profiles and probabilities over tasks against scipy and brute force."""

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.across_tasks import (
    improvement,
    interquartile,
    profile,
    ranks,
)
from gapbench.reports.stats.estimates import Estimate, Sample, estimate


def table(rng: np.random.Generator, n_methods: int, n_tasks: int) -> dict[str, list[float]]:
    """Return scores with ties, as shares of few items have."""
    scores = rng.integers(0, 6, (n_methods, n_tasks)) / 10
    return {f"m{place}": row.tolist() for place, row in enumerate(scores)}


@pytest.mark.parametrize(("n_methods", "n_tasks"), [(3, 2), (4, 9), (12, 5)])
def test_friedman_with_ties_equals_scipy(n_methods: int, n_tasks: int) -> None:
    """The p-value is that of an independent implementation."""
    scores = table(np.random.default_rng([n_methods, n_tasks]), n_methods, n_tasks)
    found = ranks(scores)
    assert found is not None
    assert found.p_value == pytest.approx(reference.friedmanchisquare(*scores.values()).pvalue)
    expected = reference.rankdata([[-x for x in row] for row in scores.values()], axis=0)
    means = dict(zip(scores, expected.mean(axis=1), strict=True))
    assert dict(found.average) == pytest.approx(means)
    assert list(found.average.values()) == sorted(means.values())


@pytest.mark.parametrize("n_methods", [3, 10, 40])
def test_critical_difference_is_a_quantile_of_ranges(n_methods: int) -> None:
    """The range of so many normal values exceeds it, scaled, with a probability of 5 %."""
    found = ranks({place: [float(place), 0.0] for place in range(n_methods)})
    assert found is not None
    scale = np.sqrt(n_methods * (n_methods + 1) / (6 * found.n_tasks)) / np.sqrt(2)
    x = np.linspace(-8.0, 8.0, 1601)
    shares = reference.norm.cdf(x) - reference.norm.cdf(x - found.critical_difference / scale)
    within = n_methods * reference.norm.pdf(x) * shares ** (n_methods - 1)
    assert within.sum() * (x[1] - x[0]) == pytest.approx(0.95, abs=1e-9)


def test_methods_that_are_equal_on_every_task_are_not_told_apart() -> None:
    """Friedman's test has no statistic then."""
    found = ranks({name: [0.5, 0.7] for name in "abc"})
    assert found is not None
    assert found.p_value == 1.0


def test_critical_difference_is_that_of_the_literature() -> None:
    """Four classifiers on fourteen data sets, as in section 3.2.4 of Demsar 2006."""
    scores = {name: list(np.arange(14.0) * place) for place, name in enumerate("abcd")}
    found = ranks(scores)
    assert found is not None
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)


def test_cliques_are_the_largest_sets_within_the_critical_difference() -> None:
    """On random tables, they are what comparing all intervals of neighbours gives."""
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(40):
        scores = table(rng, 7, 12).items()
        found = ranks({n: [x + 0.1 * k for x in row] for k, (n, row) in enumerate(scores)})
        assert found is not None
        names, means = list(found.average), list(found.average.values())
        within = {
            (start, end)
            for start in range(7)
            for end in range(start + 1, 7)
            if means[end] - means[start] < found.critical_difference
        }
        largest = {
            (a, b) for a, b in within if not any((c, d) != (a, b) and c <= a and b <= d
                                                 for c, d in within)
        }  # fmt: skip
        assert set(found.cliques) == {tuple(names[a : b + 1]) for a, b in largest}
        seen += len(largest) > 1
    assert seen > 5


def test_ranks_of_methods_that_are_equal_everywhere_tell_nothing() -> None:
    """All share the middle rank; the p-value is 1 and they are one clique."""
    found = ranks({name: [0.5, 0.7, 0.9] for name in "abc"})
    assert found is not None
    assert (found.p_value, set(found.average.values())) == (1.0, {2.0})
    assert found.cliques == (("a", "b", "c"),)


@pytest.mark.parametrize(
    "scores", [{}, {"a": [1.0], "b": [0.5], "c": [0.1]}, {"a": [1.0, 0.5], "b": [0.5, 0.4]}]
)
def test_ranks_need_two_tasks_and_three_methods(scores: dict[str, list[float]]) -> None:
    """With fewer there is nothing to test."""
    assert ranks(scores) is None


def samples(rng: np.random.Generator, n_seeds: int, levels: list[float]) -> list[Sample]:
    """Return runs on tasks of other levels, whose items are unknown."""
    return [Sample(dict(enumerate(level + rng.normal(0, 0.05, n_seeds)))) for level in levels]


def trimmed(runs: list[Sample]) -> Estimate:
    """Return the interquartile mean of samples."""
    scores = [list(each.scores.values()) for each in runs]
    return interquartile(scores, [estimate(each) for each in runs])


@pytest.mark.parametrize("n_seeds", [2, 3, 10])
def test_interquartile_mean_over_tasks_equals_scipy(n_seeds: int) -> None:
    """It is the trimmed mean of all runs of all tasks."""
    runs = samples(np.random.default_rng(n_seeds), n_seeds, [0.5, 0.6, 0.9])
    scores = np.concatenate([list(each.scores.values()) for each in runs])
    assert trimmed(runs).mean == pytest.approx(reference.trim_mean(scores, 0.25))


def test_interquartile_mean_weighs_tasks_alike_however_many_seeds_they_have() -> None:
    """Runs of a task that lost half of its seeds weigh twice: as if each stood there twice."""
    full, half = [0.90, 0.91, 0.92, 0.93], [0.50, 0.52]
    twice = [half[0], half[0], half[1], half[1]]
    expected = reference.trim_mean(full + twice, 0.25)
    runs = [Sample(dict(enumerate(each))) for each in (full, half)]
    assert trimmed(runs).mean == pytest.approx(expected)
    assert trimmed(runs).mean == pytest.approx((0.52 * 2 + 0.90 + 0.91) / 4)


def test_interval_of_the_interquartile_mean_covers_it_with_unequal_seeds() -> None:
    """The truth is that of very many seeds on every task."""
    rng = np.random.default_rng(6)
    levels, counts = [0.50, 0.55, 0.60, 0.70], [8, 4, 8, 6]
    truth = float(trimmed(samples(rng, 100_000, levels)).mean)
    hits = []
    for _ in range(1000):
        runs = [samples(rng, n, [x])[0] for n, x in zip(counts, levels, strict=True)]
        low, high = trimmed(runs).ends()
        hits.append(bool(low <= truth <= high))
    assert 0.92 < np.mean(hits) < 0.97


def test_interval_of_the_interquartile_mean_covers_it() -> None:
    """The truth is that of very many seeds; tasks overlap, so that quartiles cut through them."""
    rng = np.random.default_rng(4)
    levels = [0.50, 0.55, 0.60, 0.70]
    truth = float(trimmed(samples(rng, 100_000, levels)).mean)
    hits = []
    for _ in range(1000):
        low, high = trimmed(samples(rng, 6, levels)).ends()
        hits.append(bool(low <= truth <= high))
    assert 0.93 < np.mean(hits) < 0.97


def test_interquartile_mean_takes_its_share_of_the_variance_from_items() -> None:
    """A task whose runs are all kept counts double; one whose runs are all cut, not at all."""
    runs = [Sample({0: level, 1: level + 0.001}) for level in (0.1, 0.5, 0.6, 0.9)]
    known = [Estimate(*map(np.asarray, (0.5, 1e-6, 1e-4, 1.0, 99.0)))] * 4
    found = interquartile([list(each.scores.values()) for each in runs], known)
    assert found.item_variance == pytest.approx((2 * 4e-4) / 16)


def test_interquartile_mean_with_a_task_of_one_seed_has_no_interval() -> None:
    """What is unknown of one task is unknown of the aggregate."""
    found = trimmed([Sample({0: 0.5, 1: 0.6}), Sample({0: 0.7})])
    assert np.isnan(found.ends()).all()
    assert found.mean == pytest.approx(0.65)  # of 0.5, 0.6, 0.7 and 0.7


def test_probability_of_improvement_is_that_of_the_rank_test() -> None:
    """On each task it is the Mann-Whitney statistic over the number of pairs, ties half."""
    rng = np.random.default_rng(2)
    first, second = (rng.integers(0, 8, (3, 5)) / 10 for _ in range(2))
    expected = np.mean(
        [
            reference.mannwhitneyu(ours, theirs).statistic / 25
            for ours, theirs in zip(first, second, strict=True)
        ]
    )
    found = improvement(first.tolist(), second.tolist())
    assert found.mean == pytest.approx(expected)
    turned = improvement(second.tolist(), first.tolist())
    assert turned.mean == pytest.approx(1 - expected)
    assert turned.error == pytest.approx(found.error)


def test_interval_of_the_probability_of_improvement_covers_it() -> None:
    """Two methods with normal scores on two tasks, eight common seeds."""
    rng = np.random.default_rng(3)
    truth = float(reference.norm.cdf(0.6 / np.sqrt(2)))
    hits = []
    for _ in range(1000):
        first, second = rng.normal(0.6, 1, (2, 8)), rng.normal(0, 1, (2, 8))
        low, high = improvement(first.tolist(), second.tolist()).ends()
        hits.append(bool(low <= truth <= high))
    assert 0.92 < np.mean(hits) < 0.97


def test_a_method_that_always_wins_has_no_interval() -> None:
    """All seeds agreeing is no evidence of certainty."""
    found = improvement([[0.9, 0.8], [0.7, 0.6]], [[0.1, 0.2], [0.3, 0.4]])
    assert found.mean == 1
    assert np.isnan(found.ends()).all()


def test_profile_is_the_mean_over_tasks_of_the_share_of_runs_within_reach() -> None:
    """Every point of every curve equals a count; curves rise to 1, intervals stay in [0, 1]."""
    rng = np.random.default_rng(5)
    distances = {name: [rng.normal(0.05, 0.05, n).tolist() for n in (4, 7)] for name in "ab"}
    found = profile(distances)
    for name, tasks in distances.items():
        for point, share in zip(found.distances, found.shares[name], strict=True):
            counts = [np.mean([run <= point + 1e-12 for run in task]) for task in tasks]
            assert share == pytest.approx(np.mean(counts))
        assert found.shares[name][-1] == 1
        low, high = found.ends[name]
        known = ~np.isnan(low)
        assert known.sum() > 20
        assert (low[known] >= 0).all()
        assert (high[known] <= 1).all()
        assert (low[known] <= found.shares[name][known]).all()
    assert min(found.distances) == min(min(task) for each in distances.values() for task in each)


def test_profile_of_single_runs_has_no_intervals() -> None:
    """One seed a task gives shares and nothing that would need a spread."""
    found = profile({"a": [[0.0], [0.1]], "b": [[0.2], [0.0]]})
    assert np.isnan(found.ends["a"]).all()
    assert found.shares["a"][0] == 0.5
