"""Statistics against scipy, hand-worked values and brute force, and what they refuse to answer."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats as reference

from bench import calibration
from reports.stats.intervals import mean_interval
from reports.stats.pairs import holm, paired, tie_groups
from reports.stats.reliability import reliability


def seeds(*scores: float) -> dict[int, float]:
    """Number scores by seed."""
    return dict(enumerate(scores))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_interval_of_random_values_equals_scipy(n: int) -> None:
    """The interval is scipy's t interval around the mean, for any number of seeds."""
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    low, high = reference.t.interval(0.95, n - 1, values.mean(), reference.sem(values))
    result = mean_interval(values.tolist())
    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[], [0.5], [0.3, 0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_mean_interval_without_spread_is_empty(values: list[float]) -> None:
    """No interval is made up from no value, one value, or values equal up to rounding."""
    result = mean_interval(values)
    assert (result.low, result.high) == (None, None)
    assert result.mean == (pytest.approx(np.mean(values)) if values else None)


def test_paired_on_random_scores_equals_scipy() -> None:
    """P-value and interval of the difference are those of scipy's related-samples t test."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.05, 6), rng.normal(0.7, 0.05, 6)
    expected = reference.ttest_rel(first, second)
    result = paired(seeds(*first), seeds(*second))
    ends = expected.confidence_interval(0.95)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.difference.low, result.difference.high) == pytest.approx((ends.low, ends.high))


def test_paired_with_disjoint_failures_uses_common_seeds_only() -> None:
    """A seed that one side lost does not enter the comparison."""
    first = {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.0}
    second = {0: 0.8, 1: 0.75, 2: 0.6, 4: 1.0}
    expected = reference.ttest_rel([0.9, 0.8, 0.7], [0.8, 0.75, 0.6]).pvalue
    assert paired(first, second).p_value == pytest.approx(expected)


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
    assert paired(first, second).p_value is None


def test_holm_on_textbook_values_equals_hand_worked_ones() -> None:
    """Four p-values adjust to 4p, 3p and then the running maximum, in the order given."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_on_random_values_rejects_what_the_step_down_rule_rejects() -> None:
    """Comparing adjusted values with alpha equals Holm's rule, read off its definition."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = rng.random(6) ** 3
        rejected = set()
        for done, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (6 - done):
                break
            rejected.add(int(place))
        adjusted = holm(p.tolist())
        assert {i for i, value in enumerate(adjusted) if value is not None and value <= 0.05} == (
            rejected
        )


def test_holm_with_untested_pairs_leaves_them_out_of_the_family() -> None:
    """None stays None and makes the other tests no stricter; values never exceed 1."""
    assert holm([None, 0.02, None, 0.9]) == [None, pytest.approx(0.04), None, pytest.approx(0.9)]
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def noisy(mean: float, rng: np.random.Generator, n: int = 8) -> dict[int, float]:
    """Return scores around a mean."""
    return seeds(*rng.normal(mean, 0.01, n))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_tie_groups_of_clear_levels_follow_the_direction(higher_is_better: bool) -> None:
    """Three separated levels give three groups, led by the better end."""
    rng = np.random.default_rng(2)
    scores = {"mid": noisy(0.6, rng), "top": noisy(0.8, rng), "top2": noisy(0.801, rng),
              "low": noisy(0.4, rng)}  # fmt: skip
    groups = tie_groups(scores, higher_is_better=higher_is_better)
    best_first = {"top": 1, "top2": 1, "mid": 2, "low": 3}
    worst_first = {"low": 1, "mid": 2, "top": 3, "top2": 3}
    assert groups == (best_first if higher_is_better else worst_first)
    assert list(groups) == list(scores)


def test_tie_groups_with_a_noisy_method_tie_it_past_a_better_one() -> None:
    """A noisy method joins the leader though a steady one above it in mean is worse for sure."""
    leader = seeds(0.90, 0.91, 0.89, 0.905, 0.895, 0.90)
    steady = {seed: score - 0.02 - 0.001 * (seed % 2) for seed, score in leader.items()}
    wild = seeds(0.95, 0.75, 0.99, 0.70, 0.98, 0.72)
    groups = tie_groups({"leader": leader, "steady": steady, "wild": wild}, higher_is_better=True)
    assert groups == {"leader": 1, "steady": 2, "wild": 1}


def test_tie_groups_members_are_never_significantly_worse_than_their_leader() -> None:
    """On random scores, groups match a brute-force reading of the definition."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        scores = {name: noisy(rng.choice([0.5, 0.52, 0.6]), rng, 5) for name in "abcdef"}
        groups = tie_groups(scores, higher_is_better=True)
        means = {name: np.mean(list(scores[name].values())) for name in scores}
        names = sorted(scores)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        raw = [
            reference.ttest_rel(list(scores[a].values()), list(scores[b].values())).pvalue
            for a, b in pairs
        ]
        p = {frozenset(k): v for k, v in zip(pairs, holm(raw), strict=True)}
        numbers = sorted({group for group in groups.values() if group})
        assert numbers == list(range(1, len(numbers) + 1))
        leaders = {
            g: max((n for n in names if groups[n] == g), key=means.__getitem__) for g in numbers
        }
        for name, group in groups.items():
            assert group is not None
            for number, leader in leaders.items():
                if leader == name:
                    continue
                apart = (p[frozenset((leader, name))] or 1) < 0.05
                if number == group:
                    assert not apart
                elif number < group:
                    assert apart
        assert all(means[leaders[a]] > means[leaders[b]] for a, b in pairwise(numbers))


def test_tie_groups_with_one_seed_give_no_group() -> None:
    """A method with one seed is not ranked, and does not disturb the others."""
    rng = np.random.default_rng(4)
    scores = {"a": noisy(0.9, rng), "once": seeds(0.99), "none": {}, "b": noisy(0.5, rng)}
    assert tie_groups(scores, higher_is_better=True) == {"a": 1, "once": None, "none": None, "b": 2}
    assert tie_groups({"x": seeds(0.1), "y": seeds(0.9)}, higher_is_better=True) == {
        "x": None, "y": None,
    }  # fmt: skip
    assert tie_groups({}, higher_is_better=True) == {}


def test_tie_groups_of_equal_scores_are_one_group() -> None:
    """Methods that agree on every seed cannot be told apart."""
    same = seeds(0.5, 0.5, 0.5)
    assert tie_groups({"a": same, "b": dict(same)}, higher_is_better=True) == {"a": 1, "b": 1}


def test_reliability_of_random_logits_equals_the_benchmark_own_bins() -> None:
    """Counts, confidence and accuracy agree with the code that measured the recorded ECE."""
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(0, 2, (500, 3)), rng.integers(0, 3, 500)
    expected = calibration.reliability_bins(calibration.softmax(logits), labels)[:15]
    result = reliability(logits, labels)
    assert result.counts.tolist() == [each.count for each in expected]
    empty = float("nan")
    for values, name in ((result.confidence, "confidence"), (result.accuracy, "accuracy")):
        wanted = [getattr(each, name) for each in expected]
        wanted = [empty if value is None else value for value in wanted]
        np.testing.assert_allclose(values, wanted, rtol=1e-12)
    assert result.expected is None


def test_reliability_with_certain_predictions_fills_the_last_bin() -> None:
    """Confidence 1 falls into the last bin, and extreme logits do not overflow."""
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]])
    truth = np.array([[0.9, 0.1], [0.4, 0.6]])
    result = reliability(logits, np.array([0, 0]), truth)
    assert result.counts.tolist() == [0] * 14 + [2]
    assert result.accuracy[-1] == 0.5
    assert result.expected is not None
    assert result.expected[-1] == pytest.approx(0.75)
