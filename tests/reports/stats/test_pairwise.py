"""All pairs of methods as one family: against scipy where it can say, and by their properties."""

import numpy as np
import pytest
from scipy import stats as reference

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import averaged_family, family

Runs = dict[int, float]


def seeds(*scores: float) -> Runs:
    """Number scores by seed."""
    return dict(enumerate(scores))


def samples(scores: dict[str, Runs]) -> dict[str, Sample]:
    """Return methods whose single items are unknown."""
    return {name: Sample(by_seed) for name, by_seed in scores.items()}


def noisy(mean: float, rng: np.random.Generator, n: int = 8, spread: float = 0.01) -> Runs:
    """Return scores around a mean."""
    return seeds(*rng.normal(mean, spread, n))


@pytest.mark.parametrize("named", [None, "a"])
def test_two_methods_have_the_interval_of_scipy(named: str | None) -> None:
    """A pair alone is Student's t for related samples, with a reference or without."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.05, 6), rng.normal(0.7, 0.05, 6)
    found = family(samples({"a": seeds(*first), "b": seeds(*second)}), 0.05, named).pair("a", "b")
    ends = reference.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert (found.n_seeds, found.alpha, found.items) == (6, 0.05, False)


def test_methods_that_lost_seeds_are_compared_on_common_ones() -> None:
    """A seed that one side lacks does not enter the comparison."""
    both = samples({"a": {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.0}, "b": {0: 0.8, 1: 0.75, 2: 0.6, 4: 1.0}})
    ends = reference.ttest_rel([0.9, 0.8, 0.7], [0.8, 0.75, 0.6]).confidence_interval(0.95)
    found = family(both).pair("a", "b")
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.n_seeds == 3


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
def test_two_methods_without_varying_differences_have_no_interval(
    first: Runs, second: Runs
) -> None:
    """A constant difference over seeds is evidence of nothing, and raises no warning."""
    found = family(samples({"a": first, "b": second})).pair("a", "b")
    assert (found.low, found.high, found.apart) == (None, None, False)


@pytest.mark.parametrize(("apart", "same"), [(0.0, True), (1e-7, True), (1e-3, False)])
def test_runs_that_differ_by_rounding_are_the_same(apart: float, same: bool) -> None:
    """Float32 in stacks of other sizes moves every item a little, which is no difference."""
    rng = np.random.default_rng(4)
    own = rng.normal(0.7, 0.3, (3, 50))
    items = {
        "a": own,
        "b": own + rng.normal(0, apart, own.shape),
        "c": rng.normal(0.6, 0.3, (3, 50)),
    }
    found = family(
        {
            name: Sample(seeds(*rows.mean(axis=1)), (dict(enumerate(rows)),))
            for name, rows in items.items()
        }
    )
    pair = found.pair("a", "b")
    assert ((pair.low, pair.high) == (None, None)) == same
    assert (pair.difference == 0) == same
    assert found.pair("a", "c").low is not None


@pytest.mark.parametrize("up", [True, False])
def test_a_claim_is_an_interval_without_zero(up: bool) -> None:
    """Whatever is claimed, by whom it is asked: pairs, winners and their intervals agree."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        runs = {name: noisy(rng.choice([0.5, 0.52, 0.6]), rng, 5) for name in "abcdef"}
        found = family(samples(runs), 0.05, "a")
        beaten = found.beaten_by(higher_is_better=up)
        for first in runs:
            for second in runs:
                pair, turned = found.pair(first, second), found.pair(second, first)
                if first == second:
                    continue
                assert pair.low is not None
                assert turned.high == pytest.approx(-pair.low)
                assert pair.apart == (not pair.low <= 0 <= (pair.high or 0))
                claimed = pair.apart and ((pair.difference or 0) > 0) == up
                assert claimed == (first in beaten[second])
                assert claimed == found.beats(first, second, higher_is_better=up)


def test_pairs_with_the_reference_have_narrower_intervals() -> None:
    """They are what a study is made for, and have most of its level."""
    rng = np.random.default_rng(4)
    runs = {name: noisy(0.5, rng, 10) for name in "abcdef"}
    with_it, without = family(samples(runs), 0.05, "a"), family(samples(runs), 0.05)
    half = with_it.bounds.half / without.bounds.half
    assert (half[0, 1:] < 1).all()
    assert (half[1, 2:] > 1).all()


def test_a_method_that_looks_steady_by_chance_has_the_variance_of_all() -> None:
    """No difference is held to vary less between seeds than differences do on average."""
    rng = np.random.default_rng(5)
    runs = {name: noisy(0.5, rng, 4) for name in "abcdef"}
    runs["g"] = {seed: score + 1e-4 * seed for seed, score in runs["a"].items()}
    found = family(samples(runs))
    upper = np.triu_indices(len(runs), 1)
    assert found.estimate.seed_variance[0, 6] < 1e-4 * found.estimate.seed_variance[upper].mean()
    assert found.bounds.half[0, 6] == pytest.approx(found.bounds.half[upper].min())


def test_average_over_tasks_is_that_of_the_differences() -> None:
    """Means are averaged in the units asked for, and methods that lack a task are left out."""
    rng = np.random.default_rng(6)
    tasks = [family(samples({name: noisy(m, rng) for name, m in means.items()}))
             for means in ({"a": 0.5, "b": 0.6, "c": 0.5}, {"a": 0.1, "b": 0.4})]  # fmt: skip
    found = averaged_family(tasks, [1.0, 2.0])
    assert list(found.places) == ["a", "b"]
    first, second = (task.pair("a", "b").difference for task in tasks)
    assert first is not None
    assert second is not None
    assert found.pair("a", "b").difference == pytest.approx((first + 2 * second) / 2)


def test_one_task_averaged_is_that_task() -> None:
    """A stratum alone changes nothing."""
    rng = np.random.default_rng(7)
    one = family(samples({name: noisy(0.5, rng) for name in "abcd"}), 0.01, "b")
    found = averaged_family([one], alpha=0.01, reference="b")
    np.testing.assert_allclose(found.bounds.half, one.bounds.half)
