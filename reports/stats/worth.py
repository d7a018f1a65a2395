"""What a score is worth in training examples, read off how another method's score rises with them.

The score of the reference at several sizes of the training set, joined by straight lines over the
logarithm of the size, is a curve f. A score y is worth the size m with f(m) = y. Its interval is
all sizes at which the mean over seeds of f(m) - y does not differ from zero by Student's t test
(Fieller 1954): seeds are paired, so what they have in common cancels, and where the curve is too
flat to tell, the interval says so by its width. Seeds that share training rows widen it as they do
other intervals (`reports.stats.resampling`). Nothing is said beyond the sizes that were run, nor
where the mean curve falls anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gapbench.reports.stats.intervals import Floats, mean_interval
from gapbench.reports.stats.resampling import Resampling

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


def worth(
    curve: Mapping[int, Mapping[int, float]],
    scores: Mapping[int, float],
    *,
    upward: bool,
    resampling: Resampling | None = None,
) -> Worth | None:
    """Return what scores are worth in training examples of the reference.

    Args:
        curve: score of the reference by seed, by size of the training set.
        scores: scores to be told, by seed.
        upward: whether higher scores are better.
        resampling: how runs share training rows, at the size where they share most; None if all
            runs of a size train on the same.

    Returns:
        None where it cannot be told: with one size, fewer than `LEAST_SEEDS` common seeds, a mean
        curve that does not rise from size to size, or an interval that spans all sizes.
    """
    sizes = sorted(curve)
    seeds = sorted(set(scores).intersection(*(set(each) for each in curve.values())))
    if len(sizes) < 2 or len(seeds) < LEAST_SEEDS:
        return None
    sign = 1 if upward else -1
    reached = sign * np.array([[curve[size][seed] for size in sizes] for seed in seeds])
    if (np.diff(reached.mean(axis=0)) <= 0).any():
        return None
    places = np.log(sizes)
    between = [np.linspace(*ends, _STEPS) for ends in pairwise(places.tolist())]
    tried = np.unique(np.concatenate(between))
    own = sign * np.array([scores[seed] for seed in seeds])
    beyond = np.array([np.interp(tried, places, row) for row in reached]).T - own
    excess = resampling.excess(seeds) if resampling else 0.0
    fits = [place for place, row in zip(tried, beyond, strict=True) if _zero(row, excess)]
    means = beyond.mean(axis=1)
    above, below = bool(means[-1] < 0), bool(means[0] > 0)
    size = None if above or below else float(np.exp(np.interp(0.0, means, tried)))
    if fits:
        low = None if fits[0] == tried[0] else float(np.exp(fits[0]))
        high = None if fits[-1] == tried[-1] else float(np.exp(fits[-1]))
    else:  # beyond all sizes, or between two that were tried
        low, high = (sizes[-1], sizes[0]) if size is None else (size, size)
    ends = None if below else low, None if above else high
    return None if ends == (None, None) else Worth(size, *ends)


def _zero(values: Floats, excess: float) -> bool:
    """Whether zero is in the 95 % interval of a mean, or equal values tell no interval."""
    found = mean_interval(values.tolist(), excess=excess)
    return found.low is None or found.high is None or found.low <= 0 <= found.high
