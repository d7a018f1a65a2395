"""Means over seeds and items against closed forms, a brute-force bootstrap and each other."""

import numpy as np
import pytest
from scipy import stats as reference
from scipy.special import expit, logit

from gapbench.reports.stats.estimates import Estimate, Sample, averaged, estimate
from tests.support.simulated_runs import correct, sample


def made(
    mean: float,
    seeds: float,
    items: float,
    seed_df: float = 2.0,
    item_df: float = 99.0,
    third: float = 0.0,
) -> Estimate:
    """Return a single estimate."""
    return Estimate(*map(np.asarray, (mean, seeds, items, seed_df, item_df, third)))


def test_estimate_splits_the_variance_as_the_analysis_of_variance_does() -> None:
    """The parts are those of two crossed random factors, from their mean squares."""
    y = np.random.default_rng(0).normal(size=(4, 60)) + np.linspace(0, 2, 60)
    found = estimate(sample(y))
    grand, rows, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    between_seeds = 60 * np.sum((rows - grand) ** 2) / 3
    between_items = 4 * np.sum((columns - grand) ** 2) / 59
    rest = np.sum((y - rows[:, None] - columns + grand) ** 2) / (3 * 59)
    assert found.mean == pytest.approx(grand)
    assert found.seed_variance == pytest.approx(between_seeds / 240)
    assert found.item_variance == pytest.approx((between_items - rest) / 240)
    assert found.seed_df == 3
    assert found.item_df == 59


@pytest.mark.parametrize("n", [2, 3, 10])
def test_estimate_without_items_is_student_over_seeds(n: int) -> None:
    """The interval is scipy's of a one-sample t test."""
    scores = np.random.default_rng(n).normal(0.1, 0.05, n)
    found = estimate(Sample(dict(enumerate(scores))))
    expected = reference.ttest_1samp(scores, 0.0)
    ends = expected.confidence_interval(0.95)
    assert found.ends() == pytest.approx((ends.low, ends.high))


def test_estimate_of_runs_that_never_differ_is_student_over_items() -> None:
    """Where a method is the same for every seed, all uncertainty is from the test set."""
    items = np.random.default_rng(1).normal(0.2, 1, 80)
    found = estimate(sample(np.stack([items, items, items])))
    expected = reference.ttest_1samp(items, 0.0)
    ends = expected.confidence_interval(0.95)
    assert found.ends() == pytest.approx((ends.low, ends.high))


def test_variance_is_that_of_a_brute_force_bootstrap_of_seeds_and_items() -> None:
    """With many seeds and items, drawing both anew spreads the mean as the variance says.

    The bootstrap counts what is neither the seeds' nor the items' three times (Owen, "The
    pigeonhole bootstrap", 2007).
    """
    rng = np.random.default_rng(2)
    y = correct(rng, 0.8, rng.normal(0, 0.4, 25), rng.normal(0, 1, 300))
    drawn = [y[rng.integers(0, 25, 25)][:, rng.integers(0, 300, 300)].mean() for _ in range(4000)]
    rest = np.var(y - y.mean(axis=1, keepdims=True) - y.mean(axis=0), ddof=1) / y.size
    assert estimate(sample(y)).error ** 2 == pytest.approx(np.var(drawn) - 2 * rest, rel=0.05)


def test_scores_that_are_equal_by_chance_leave_room_for_the_seeds() -> None:
    """Other right answers with equal counts do not make three trainings one."""
    y = np.zeros((3, 40))
    for seed in range(3):
        y[seed, seed : seed + 20] = 1
    found = estimate(sample(y))
    covariance = np.cov(y)
    common = (covariance.sum() - np.trace(covariance)) / 6
    assert found.seed_variance == pytest.approx((np.trace(covariance) / 3 - common) / 120)


@pytest.mark.parametrize(
    "runs",
    [
        Sample({}),
        Sample({0: 0.5}),
        Sample({0: 0.5}, ({0: np.array([0.0, 1.0])},)),
        Sample({0: 0.3, 1: 0.3, 2: 0.3}),
        Sample({0: 0.1 + 0.2, 1: 0.3}),
        Sample({0: 1.0, 1: 1.0}, ({0: np.ones(9), 1: np.ones(9)},)),
        Sample({0: 1.0, 1: 1.0}, ({0: np.ones(1), 1: np.ones(1)},)),
    ],
)
def test_estimate_without_variation_has_no_interval(runs: Sample) -> None:
    """Too few seeds, or nothing that varies, is evidence of nothing."""
    found = estimate(runs)
    interval = found.interval(len(runs.scores))
    assert (interval.low, interval.high) == (None, None)
    assert interval.mean == (pytest.approx(np.mean(list(runs.scores.values()))) if runs.scores
                             else None)  # fmt: skip


def test_item_sets_of_a_gap_add_their_variances() -> None:
    """Train and test items are drawn independently: the variance is that of both means."""
    rng = np.random.default_rng(3)
    train, test = rng.normal(1, 2, 50), rng.normal(0, 1, 80)
    runs = {seed: float(train.mean() - test.mean()) for seed in range(3)}
    gap = Sample(runs, (dict.fromkeys(runs, train), dict.fromkeys(runs, -test)))
    found = estimate(gap)
    assert found.item_variance == pytest.approx(train.var(ddof=1) / 50 + test.var(ddof=1) / 80)
    welch = reference.ttest_ind(train, test, equal_var=False)
    assert found.item_df == pytest.approx(welch.df)
    ends = welch.confidence_interval(0.95)
    assert found.ends() == pytest.approx((ends.low, ends.high))
    assert (gap.n_items, gap.sizes) == (50, (50, 80))


def test_estimate_in_another_unit_is_scaled_as_a_whole() -> None:
    """Ends of the interval are multiplied alike."""
    found = made(0.5, 0.04, 0.01)
    assert found.scaled(3).ends() == pytest.approx(np.multiply(3, found.ends()))
    assert made(0.5, 0.04, 0.01, third=2.0).scaled(-3).third == pytest.approx(-54)


def test_interval_stays_within_what_is_possible() -> None:
    """A mean of shares has its interval on the scale of log odds, and no end above 1."""
    ends = made(0.9, 1e-4, 0.0).interval(3, (0.0, 1.0))
    half = 0.01 * reference.t.ppf(0.975, 2) / (0.9 * 0.1)
    expected = [expit(logit(0.9) - half), expit(logit(0.9) + half)]
    assert [ends.low, ends.high] == pytest.approx(expected)
    assert made(0.9, 0.01, 0.0).interval(3, (0.0, np.inf)).low == pytest.approx(
        0.9 - 0.1 * reference.t.ppf(0.975, 2)
    )
    assert (made(0.9, 9.0, 0.0).interval(3, (0.0, 1.0)).high or 0) <= 1


@pytest.mark.parametrize("share", [0.002, 0.009, 0.998])
def test_interval_of_a_mean_small_beside_its_error_is_the_score_interval(share: float) -> None:
    """Each end is as many errors away as Student's t asks, by the error at that end."""
    found = made(share, 1e-4, 0.0).interval(3, (0.0, 1.0))
    for end in (found.low, found.high):
        assert end is not None
        error = 0.01 * np.sqrt(end * (1 - end) / (share * (1 - share)))
        assert abs(end - share) == pytest.approx(error * reference.t.ppf(0.975, 2))


def test_interval_widens_with_its_error_without_a_step() -> None:
    """Where one way of reckoning takes over from the other."""
    errors = np.linspace(0.001, 0.2, 400)
    found = [made(0.1, error**2, 0.0).interval(3, (0.0, 1.0)) for error in errors]
    assert max(np.diff([each.high or 0 for each in found])) < 0.01
    assert min(np.diff([each.high or 0 for each in found])) >= 0
    assert max(np.diff([each.low or 0 for each in found])) <= 0


@pytest.mark.parametrize("third", [-6e-6, 3e-6, 8e-6])
def test_interval_of_a_skewed_mean_ends_where_the_cubic_transform_says(third: float) -> None:
    """Hall's transform of the ratio, as his paper writes it, is Student's bound at both ends."""
    found = made(0.4, 1e-4, 2e-4, seed_df=4, third=third)
    ends = found.interval(5, (-9.0, np.inf))
    half = float((found.ends()[1] - found.mean) / found.error)
    skewness = third / found.error**3
    assert ends.low is not None
    assert ends.high is not None
    for end, bound in ((ends.low, half), (ends.high, -half)):
        ratio = float((found.mean - end) / found.error)
        transformed = ratio + skewness * (ratio**2 / 3 + 1 / 6) + skewness**2 * ratio**3 / 27
        assert transformed == pytest.approx(bound)
    assert ends.low < 0.4 < ends.high
    assert (ends.high - 0.4 > 0.4 - ends.low) == (third > 0)
    free = found.interval(5)
    assert [free.low, free.high] == pytest.approx(np.array(found.ends()))


def test_skewness_is_that_of_items_over_seeds_and_shrinks_with_tasks() -> None:
    """It is the third cumulant of the items' means over N squared; of four tasks a sixteenth."""
    y = np.random.default_rng(4).exponential(size=(3, 50))
    found = estimate(sample(y))
    alone = reference.kstat(y.mean(axis=0), 3) / 50**2
    room = found.error**2 / (y.mean(axis=0).var(ddof=1) / 50)
    assert found.third == pytest.approx(alone * min(1, room) ** 1.5)
    assert averaged([found] * 4).third == pytest.approx(found.third / 16)
    assert estimate(Sample({0: 0.5, 1: 0.6})).third == 0
    gap = Sample({0: 0.0, 1: 0.0}, ({0: y[0], 1: y[1]}, {0: -y[0], 1: -y[1]}))
    assert estimate(gap).third == pytest.approx(0, abs=1e-15)


def test_skewness_stays_that_of_the_items_where_the_seeds_look_alike_by_chance() -> None:
    """Squared errors of models that share nothing: no mean lies outside its interval."""
    rng = np.random.default_rng(6)
    hits, studies = 0, 400
    for _ in range(studies):
        found = estimate(sample(rng.normal(size=(2, 100)) ** 2))
        ends = found.interval(2, (0.0, np.inf))
        assert ends.low is not None
        assert ends.high is not None
        assert ends.low < float(found.mean) < ends.high
        hits += ends.low <= 1 <= ends.high
    assert hits / studies >= 0.93


def test_average_adds_variances_and_degrees_of_freedom_of_equal_tasks() -> None:
    """Four equal tasks have a quarter of the variance, and four times the degrees of freedom."""
    one = made(0.5, 0.04, 0.01, seed_df=2, item_df=99)
    found = averaged([one] * 4)
    assert (found.seed_variance, found.item_variance) == pytest.approx((0.01, 0.0025))
    assert found.mean == 0.5
    assert (found.seed_df, found.item_df) == pytest.approx((8, 396))


def test_average_with_a_task_of_one_seed_has_no_interval() -> None:
    """What is unknown of one task is unknown of the mean."""
    found = averaged([made(0.5, 0.04, 0.01), estimate(Sample({0: 0.7}))])
    assert found.mean == pytest.approx(0.6)
    assert np.isnan(found.ends()).all()


def test_average_with_a_task_that_never_varies_keeps_what_the_others_say() -> None:
    """It adds no variance: the error is that of the other task over two, with its own t."""
    still = estimate(Sample({0: 0.5, 1: 0.5, 2: 0.5}))
    found = averaged([made(0.1, 0.04, 0.0, seed_df=2, item_df=np.inf), still])
    assert found.mean == pytest.approx(0.3)
    assert found.error == pytest.approx(0.1)


def test_average_of_tasks_that_never_vary_has_no_interval() -> None:
    """Where nothing varies anywhere, nothing is certain either."""
    still = estimate(Sample({0: 0.5, 1: 0.5}))
    found = averaged([still, still])
    assert np.isnan(found.ends()).all()


def test_average_of_one_task_is_that_task() -> None:
    """A stratum alone changes nothing."""
    one = made(0.5, 0.04, 0.0, seed_df=2, item_df=np.inf)
    assert averaged([one]).ends() == pytest.approx(one.ends())
