"""Statistics over seeds: intervals, paired tests, tie groups and reliability bins; pure functions.

A question that the data cannot answer gets None, never a number: an interval from one seed, a test
on differences that do not vary. Nothing here knows records, tables or files.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        n: values seen.
        mean: their mean, None where there are none.
        low: lower end, None where the values cannot tell their spread.
        high: upper end, likewise.
    """

    n: int
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two methods compared on the seeds that both have.

    Attributes:
        difference: mean of first minus second, with its interval.
        p_value: two-sided, of the hypothesis that the true difference is zero; None where there
            are fewer than two common seeds, or where all differences are equal.
    """

    difference: Interval
    p_value: float | None


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of finite values with Student's t interval.

    The interval is None with fewer than two values, and with values that are all equal: a spread
    of zero over a few seeds is no evidence of certainty.

    Args:
        values: one finite value per seed.
        level: coverage of the interval, in (0, 1).
    """
    n = len(values)
    if n == 0:
        return Interval(0, None)
    mean = float(np.mean(values))
    if _constant(values):
        return Interval(n, mean)
    half = float(stdtrit(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(n, mean, mean - half, mean + half)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Comparison:
    """Compare two methods seed by seed with Student's paired t test.

    Args:
        first: finite score by seed.
        second: likewise; seeds that only one side has are left out.
    """
    seeds = sorted(first.keys() & second.keys())
    ours = np.array([first[seed] for seed in seeds])
    theirs = np.array([second[seed] for seed in seeds])
    differences = ours - theirs
    # Rounding may spread differences that are equal in truth; it is measured against the scores.
    if _constant(differences, scale=np.abs(np.concatenate([ours, theirs]))):
        return Comparison(Interval(len(seeds), float(differences.mean()) if seeds else None), None)
    standard_error = np.std(differences, ddof=1) / np.sqrt(len(seeds))
    statistic = abs(differences.mean()) / standard_error
    p_value = float(2 * stdtr(len(seeds) - 1, -statistic))
    return Comparison(mean_interval(differences.tolist()), p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for testing all of them at once; None stays None and counts as no test.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for done, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - done) * p))
        adjusted[place] = largest
    return adjusted


def tie_groups(
    scores: Mapping[Key, Mapping[int, float]], *, higher_is_better: bool, alpha: float = 0.05
) -> dict[Key, int | None]:
    """Sort methods into groups that the data can tell apart.

    All pairs are compared by `paired` and corrected by `holm` as one family, once. Then, from the
    top: the method with the best mean leads group 1, and takes in every method that is not
    significantly worse than it; the best of the others leads group 2, and so on. A pair that
    cannot be tested counts as not told apart. A method with fewer than two seeds takes part in
    nothing and gets None.

    The family is all pairs, and not the leader's pairs alone, because the leader is chosen by
    looking at the data: with seven equal methods on five seeds the smaller family separates some
    method from the leader in 10 % of all cases, this one in 3 %.

    Args:
        scores: for each method its finite score by seed.
        higher_is_better: direction of the score.
        alpha: family-wise error rate.

    Returns:
        Group number of each method, in the order given.
    """
    ranked = [key for key, by_seed in scores.items() if len(by_seed) >= 2]
    pairs = list(combinations(ranked, 2))
    p_values = holm([paired(scores[a], scores[b]).p_value for a, b in pairs])
    apart = {
        frozenset(pair)
        for pair, p in zip(pairs, p_values, strict=True)
        if p is not None and p < alpha
    }
    means = {key: float(np.mean(list(scores[key].values()))) for key in ranked}
    remaining = sorted(ranked, key=means.__getitem__, reverse=higher_is_better)
    groups: dict[Key, int | None] = dict.fromkeys(scores)
    number = 0
    while remaining:
        number += 1
        leader = remaining[0]
        tied = [key for key in remaining if frozenset((leader, key)) not in apart]
        groups.update(dict.fromkeys(tied, number))
        remaining = [key for key in remaining if key not in tied]
    return groups


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness in bins of equal width; empty bins hold NaN.

    Attributes:
        counts: examples of each bin, `(bins,)`.
        confidence: their mean probability of the predicted class, `(bins,)`.
        accuracy: share of them that are right, `(bins,)`.
        expected: mean true probability of the predicted class, `(bins,)`, None where unknown.
    """

    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    expected: Floats | None


def reliability(
    logits: NDArray[Any], labels: NDArray[Any], truth: NDArray[Any] | None = None, bins: int = 15
) -> Reliability:
    """Bin test predictions by confidence, a value on an edge belonging to the bin above it.

    Args:
        logits: finite, `(n, n_classes)`.
        labels: true classes, `(n,)`.
        truth: true class probabilities, `(n, n_classes)`, where they are known.
        bins: number of bins; confidence 1 falls into the last.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted.astype(np.float64))
    predicted = logits.argmax(axis=1)
    confidence = weights.max(axis=1) / weights.sum(axis=1)
    inner_edges = np.arange(1, bins) / bins
    index = np.searchsorted(inner_edges, confidence, side="right")
    counts = np.bincount(index, minlength=bins)
    size = np.where(counts > 0, counts, np.nan)

    def binned(values: Floats) -> Floats:
        return np.bincount(index, values, bins) / size

    expected = None if truth is None else binned(truth[np.arange(len(labels)), predicted])
    correct = (predicted == labels).astype(np.float64)
    return Reliability(counts, binned(confidence), binned(correct), expected)


def _constant(values: Sequence[float] | Floats, scale: Floats | None = None) -> bool:
    """Whether values are too few or too equal, up to rounding, to have a spread."""
    if len(values) < 2:
        return True
    scale = np.abs(values) if scale is None else scale
    return bool(np.ptp(values) <= 1e-12 * scale.max())
