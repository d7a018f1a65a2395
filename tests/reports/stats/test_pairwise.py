"""Paired comparisons, their correction and tie groups, against independent implementations."""

from itertools import pairwise

import numpy as np
import pytest
from gapbench.reports.stats.groups import tie_groups
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import family, holm, paired


def seeds(*scores: float) -> dict[int, float]:
    """Number scores by seed."""
    return dict(enumerate(scores))


def test_paired_on_random_scores_equals_scipy() -> None:
    """P-value and interval of the difference are those of scipy's related-samples t test."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.05, 6), rng.normal(0.7, 0.05, 6)
    expected = reference.ttest_rel(first, second)
    result = paired(Sample(seeds(*first)), Sample(seeds(*second)))
    ends = expected.confidence_interval(0.95)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.difference.low, result.difference.high) == pytest.approx((ends.low, ends.high))


def test_paired_with_disjoint_failures_uses_common_seeds_only() -> None:
    """A seed that one side lost does not enter the comparison."""
    first = {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.0}
    second = {0: 0.8, 1: 0.75, 2: 0.6, 4: 1.0}
    expected = reference.ttest_rel([0.9, 0.8, 0.7], [0.8, 0.75, 0.6]).pvalue
    assert paired(Sample(first), Sample(second)).p_value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        (seeds(0.5), seeds(0.4)),
        ({0: 0.5}, {1: 0.5}),
        (seeds(0.5, 0.6), seeds(0.5, 0.6)),
        (seeds(0.81, 0.83, 0.87), seeds(0.71, 0.73, 0.77)),
    ],
)
def test_paired_without_varying_differences_has_no_p_value(
    first: dict[int, float], second: dict[int, float]
) -> None:
    """A constant difference over seeds is evidence of nothing, and raises no warning."""
    assert paired(Sample(first), Sample(second)).p_value is None


def test_holm_on_random_values_equals_statsmodels() -> None:
    """Adjusted values are those of an independent implementation, in the order given."""
    rng = np.random.default_rng(1)
    for n in (1, 2, 6, 21):
        p_values = rng.random(n) ** 3
        expected = multipletests(p_values, method="holm")[1]
        np.testing.assert_allclose(holm(p_values), expected)


def test_holm_with_untested_pairs_leaves_them_out_of_the_family() -> None:
    """NaN stays NaN and makes the other tests no stricter; values never exceed 1."""
    nan = np.nan
    np.testing.assert_allclose(holm(np.array([nan, 0.02, nan, 0.9])), [nan, 0.04, nan, 0.9])
    np.testing.assert_allclose(holm(np.array([0.7, 0.8])), [1.0, 1.0])
    assert holm(np.array([])).size == 0


def groups_of(
    scores: dict[str, dict[int, float]], *, higher_is_better: bool = True
) -> dict[str, int]:
    """Return the tie groups of methods whose single items are unknown."""
    compared = family({name: Sample(by_seed) for name, by_seed in scores.items()})
    means = {name: float(np.mean(list(by_seed.values()))) for name, by_seed in scores.items()}
    return tie_groups(means, compared, higher_is_better=higher_is_better)


def noisy(mean: float, rng: np.random.Generator, n: int = 8) -> dict[int, float]:
    """Return scores around a mean."""
    return seeds(*rng.normal(mean, 0.01, n))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_tie_groups_of_clear_levels_follow_the_direction(higher_is_better: bool) -> None:
    """Three separated levels give three groups, led by the better end."""
    rng = np.random.default_rng(2)
    scores = {"mid": noisy(0.6, rng), "top": noisy(0.8, rng), "top2": noisy(0.801, rng),
              "low": noisy(0.4, rng)}  # fmt: skip
    groups = groups_of(scores, higher_is_better=higher_is_better)
    best_first = {"top": 1, "top2": 1, "mid": 2, "low": 3}
    worst_first = {"low": 1, "mid": 2, "top": 3, "top2": 3}
    assert groups == (best_first if higher_is_better else worst_first)
    assert list(groups) == list(scores)


def test_tie_groups_with_a_noisy_method_tie_it_past_a_better_one() -> None:
    """A noisy method joins the leader though a steady one above it in mean is worse for sure."""
    leader = seeds(0.90, 0.91, 0.89, 0.905, 0.895, 0.90)
    steady = {seed: score - 0.02 - 0.001 * (seed % 2) for seed, score in leader.items()}
    wild = seeds(0.95, 0.75, 0.99, 0.70, 0.98, 0.72)
    groups = groups_of({"leader": leader, "steady": steady, "wild": wild})
    assert groups == {"leader": 1, "steady": 2, "wild": 1}


def test_tie_groups_members_are_never_significantly_worse_than_their_leader() -> None:
    """On random scores, groups match a brute-force reading of the definition."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        scores = {name: noisy(rng.choice([0.5, 0.52, 0.6]), rng, 5) for name in "abcdef"}
        groups = groups_of(scores)
        means = {name: np.mean(list(scores[name].values())) for name in scores}
        names = sorted(scores)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        raw = [
            reference.ttest_rel(list(scores[a].values()), list(scores[b].values())).pvalue
            for a, b in pairs
        ]
        p = dict(zip(map(frozenset, pairs), holm(np.array(raw)), strict=True))
        numbers = sorted(set(groups.values()))
        assert numbers == list(range(1, len(numbers) + 1))
        leaders = {
            g: max((n for n in names if groups[n] == g), key=means.__getitem__) for g in numbers
        }
        for name, group in groups.items():
            for number, leader in leaders.items():
                if leader == name:
                    continue
                apart = p[frozenset((leader, name))] < 0.05
                if number == group:
                    assert not apart
                elif number < group:
                    assert apart
        assert all(means[leaders[a]] > means[leaders[b]] for a, b in pairwise(numbers))


def test_tie_groups_need_the_sign_of_the_means() -> None:
    """A leader by seeds that the other lacks takes in what beats it on the common ones."""
    leader = seeds(0.800, 0.801, 0.8005, 0.799, 0.95, 0.951)
    better = seeds(0.830, 0.8312, 0.8303, 0.8291)
    assert groups_of({"leader": leader, "better": better}) == {"leader": 1, "better": 1}
    turned = {name: {s: -x for s, x in runs.items()} for name, runs in
              (("leader", leader), ("better", better))}  # fmt: skip
    assert groups_of(turned, higher_is_better=False) == {"leader": 1, "better": 1}


def test_tie_groups_of_equal_scores_are_one_group() -> None:
    """Methods that agree on every seed cannot be told apart."""
    same = seeds(0.5, 0.5, 0.5)
    assert groups_of({"a": same, "b": dict(same)}) == {"a": 1, "b": 1}
