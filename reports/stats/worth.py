"""What a score is worth in training examples, read off how another method's score rises with them.

The score of the reference at several sizes of the training set, joined by straight lines over the
logarithm of the size, is a curve f. A score y is worth the size m with f(m) = y. Its interval is
all sizes at which the interval of f(m) - y, over seeds and test items, holds zero (Fieller 1954).
Runs are paired by seed and by item, so what they have in common cancels, and where the curve is too
flat to tell, the interval says so by its width. Nothing is said beyond the sizes that were run, nor
where the mean curve falls anywhere, nor where values of items are unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gapbench.reports.stats.estimates import Estimate, Sample, covariance, two_level
from gapbench.reports.stats.intervals import Floats

LEAST_SEEDS = 3
_STEPS = 200  # sizes tried between two that were run


@dataclass(frozen=True)
class Worth:
    """A size of the training set, of which only parts may be known.

    Attributes:
        size: size at which the reference reaches the score; None beyond the sizes that were run.
        low: lower end of its 95 % interval; None if it is below the smallest size that was run.
        high: upper end; None if it is above the largest.
    """

    size: float | None
    low: float | None
    high: float | None


def worth(curve: Mapping[int, Sample], own: Sample, *, upward: bool) -> Worth | None:
    """Return what scores are worth in training examples of the reference.

    Args:
        curve: scores of the reference, by size of the training set.
        own: scores to be told, on the same items.
        upward: whether higher scores are better.

    Returns:
        None where it cannot be told: with one size, fewer than `LEAST_SEEDS` common seeds, items of
        unknown values, a mean curve that does not rise from size to size, or an interval that spans
        all sizes.
    """
    sizes = sorted(curve)
    every = [*(curve[size] for size in sizes), own]
    seeds = sorted(set.intersection(*(set(each.scores) for each in every)))
    if len(sizes) < 2 or len(seeds) < LEAST_SEEDS or any(each.unknown for each in every):
        return None
    reached = np.array([[each.scores[seed] for seed in seeds] for each in every])
    reached = reached if upward else -reached
    if (np.diff(reached[:-1].mean(axis=1)) <= 0).any():
        return None
    places = np.log(sizes)
    between = [np.linspace(*ends, _STEPS) for ends in pairwise(places.tolist())]
    tried = np.unique(np.concatenate(between))
    shares = [np.interp(tried, places, one) for one in np.eye(len(sizes))]
    found = _mixed(np.array([*shares, -np.ones_like(tried)]), reached, every, seeds)
    lows, highs = found.ends()
    fits = tried[~((lows > 0) | (highs < 0))]  # where nothing varies, nothing tells
    above, below = bool(found.mean[-1] < 0), bool(found.mean[0] > 0)
    size = None if above or below else float(np.exp(np.interp(0.0, found.mean, tried)))
    if len(fits):
        low = None if fits[0] == tried[0] else float(np.exp(fits[0]))
        high = None if fits[-1] == tried[-1] else float(np.exp(fits[-1]))
    else:  # beyond all sizes, or between two that were tried
        low, high = (sizes[-1], sizes[0]) if size is None else (size, size)
    ends = None if below else low, None if above else high
    return None if ends == (None, None) else Worth(size, *ends)


def _mixed(
    shares: Floats, scores: Floats, every: Sequence[Sample], seeds: Sequence[int]
) -> Estimate:
    """Return means of mixtures of samples over common seeds and items.

    Args:
        shares: of each sample in each mixture, `(samples, mixtures)`.
        scores: `(samples, S)`.
        every: the samples.
        seeds: the common ones.
    """
    n = len(seeds)
    sets = min(len(each.strata) for each in every)
    known = [
        covariance([each.strata[k][seed] for each in every for seed in seeds]) for k in range(sets)
    ]
    shared = [
        np.einsum("am,bm,aibj->mij", shares, shares, one.reshape(len(every), n, len(every), n))
        for one in known
    ]
    scale = np.full(shares.shape[1], np.abs(scores).max())
    excess = max(each.excess(seeds) for each in every)
    return two_level(shares.T @ scores, shared, every[0].sizes[:sets], scale, excess)
