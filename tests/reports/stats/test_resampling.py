"""Intervals of seeds that share training rows: counted rows, the jackknife, simulation."""

from itertools import combinations

import numpy as np
import pytest

from gapbench.bench.tasks.cuts import cut_nested, folds
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.pairwise import family
from gapbench.reports.stats.resampling import Resampling
from gapbench.reports.tables.tuning import optimism
from tests.benchmarks.drawing import rates
from tests.benchmarks.resampled_studies import Population, judged

N = 240
CLASSES = np.zeros(N, dtype=np.int64)


def blocks(count: int, repeats: int, size: int | None = None) -> list[set[int]]:
    """Return the training rows of every block, cut to a size if one is given."""
    made = []
    for repeat in range(repeats):
        fold_of = folds(CLASSES, np.arange(N), count, seed=100 * count + repeat)
        for fold in range(count):
            rows = np.flatnonzero(fold_of != fold)
            if size is not None:
                rows = rows[cut_nested(CLASSES[rows], size, seed=len(made))]
            made.append(set(rows.tolist()))
    return made


@pytest.mark.parametrize("size", [None, 60])
@pytest.mark.parametrize(("count", "repeats"), [(2, 5), (3, 3), (5, 1), (5, 2), (10, 2)])
def test_share_in_common_is_that_of_real_blocks(count: int, repeats: int, size: int | None) -> None:
    """Counted over all pairs of blocks, with and without a training size."""
    rows = blocks(count, repeats, size)
    counted = np.mean([len(a & b) / len(a) for a, b in combinations(rows, 2)])
    found = Resampling(len(rows[0]) / N, count).common(range(len(rows)))
    assert found == pytest.approx(counted, abs=0.03 if size else 0.004)


def test_some_seeds_of_a_repeat_count_as_they_are() -> None:
    """Seeds 0 and 4 are folds of one repeat, 0 and 5 are not."""
    five = Resampling(0.8, 5)
    assert five.common([0, 4]) == pytest.approx(0.75)
    assert five.common([0, 5]) == pytest.approx(0.8)
    assert five.common([0]) == 0.8
    assert Resampling(0.3).common([0, 1, 2]) == 0.3


def test_scores_on_held_out_rows_would_have_the_correction_of_nadeau_and_bengio() -> None:
    """With the share that test sets have in common it is their n_test / n_train."""
    assert Resampling(1 / 5).excess(range(10)) == pytest.approx(48 / 192)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_variance_of_one_repeat_is_that_of_the_jackknife(count: int) -> None:
    """Without items, of one cut: that which leaves out a group, (K - 1) / K sums of squares."""
    scores = np.random.default_rng(count).normal(size=count)
    sample = Sample(dict(enumerate(scores)), resampling=Resampling(1 - 1 / count, count))
    squares = ((scores - scores.mean()) ** 2).sum()
    assert estimate(sample).seed_variance == pytest.approx((count - 1) / count * squares)


def test_every_interval_over_seeds_is_widened_alike() -> None:
    """Rows, differences and the optimism of tuning; without resampling nothing changes."""
    rng = np.random.default_rng(0)
    scores = [dict(enumerate(rng.normal(size=10))) for _ in range(2)]
    shared = Resampling(0.8, 5)
    plain, wide = ([Sample(each, resampling=r) for each in scores] for r in (None, shared))
    factor = 1 + 10 * shared.excess(range(10))
    assert estimate(wide[0]).seed_variance == pytest.approx(
        factor * estimate(plain[0]).seed_variance
    )
    halves = [float(family(dict(enumerate(each))).bounds.half[0, 1]) for each in (plain, wide)]
    assert halves[1] == pytest.approx(np.sqrt(factor) * halves[0])
    alike = family(dict(enumerate(plain))).estimate[0, 0]
    losses = list(scores[0].values())
    means = [optimism(losses, alike, excess) for excess in (0.0, shared.excess(range(10)))]
    lengths = [(each.high or 0.0) - (each.low or 0.0) for each in means]
    assert lengths[1] == pytest.approx(np.sqrt(factor) * lengths[0])


def test_pair_of_unlike_samples_is_widened_as_the_one_that_shares_more() -> None:
    """Whichever comes first."""
    rng = np.random.default_rng(1)
    unlike = [Sample(dict(enumerate(rng.normal(size=10))), resampling=Resampling(share, 5))
              for share in (0.05, 0.8)]  # fmt: skip
    alike = [Sample(each.scores, resampling=Resampling(0.8, 5)) for each in unlike]
    halves = [
        float(family(dict(enumerate(each))).bounds.half[0, 1])
        for each in (unlike, unlike[::-1], alike)
    ]
    assert halves[:2] == pytest.approx([halves[2]] * 2)


def test_intervals_of_trained_models_hold_the_truth_where_plain_ones_do_not() -> None:
    """The short form of `tests/benchmarks/statistics.py --part resampling`."""
    world = Population(items=500)
    found = rates(100, lambda rng: judged(rng, world).ravel(), 6)
    plain, _, ours, *_ = found.reshape(len(world.outcomes), -1).T
    assert (plain[1:] < 0.85).all()  # gap and difference
    assert (ours > 0.9).all()
