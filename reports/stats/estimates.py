"""Means over seeds and test items at once: how sure they are, and of what.

A score is the mean of values `y[s, i]`, one for each training seed s and test item i. Both are
drawn from what they stand for: another training has another seed, another test set other items.
The mean estimates the expected score of a newly trained model on new items of the task, and its
variance is

    between seeds / S  +  between items / N  +  rest / (S N).

The first and the last together are what the variance of the seeds' scores shows, with S - 1 degrees
of freedom. The second is the mean covariance of two seeds' values on one item, over N: what two
trainings have in common on an item is the item's. This is the analysis of variance of two crossed
random factors (Searle, Casella and McCulloch, "Variance Components", 1992, section 4.3). Where the
scores of different trainings happen to be equal, as shares of few items may be, the rest over S N
stands for the first and the last, which are no less.

A score may be a sum of means over several sets of items, each drawn by itself: the generalization
gap is the mean over train items minus that over test items. Their item variances add.

Losses of items are skewed: of a classifier that is mostly right, a few confident errors make most
of the loss. A sample with few of them has a small mean and a small variance too, so that an
interval of equal arms would miss the truth above it. Intervals of losses take that in by the
skewness of the items (`Estimate.interval`).

Seeds whose training rows are parts of one set are not independent: `reports.stats.resampling` says
by how much the variance between them falls short.

Where values of single items are unknown, nothing tells how sure a mean is: seeds alone say nothing
of other items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

from gapbench.reports.stats.intervals import Floats, Interval
from gapbench.reports.stats.resampling import Resampling


@dataclass(frozen=True)
class Sample:
    """Runs of one method on one task.

    Attributes:
        scores: finite score by seed.
        strata: for each set of items, `(N,)` by seed: the sum over sets of the means over items is
            the score. A score has one set, the test items; a gap has two, and the values of the
            one that is subtracted have their sign flipped. All samples of a task have the same
            items in the same order. Empty where the values of items are unknown.
        possible: lowest and highest possible score.
        resampling: how seeds share training rows; None where all train on the same rows.
        unknown: whether its items vary apart from the seeds and their values are unknown, so that
            nothing tells what other items would change.
    """

    scores: Mapping[int, float]
    strata: tuple[Mapping[int, Floats], ...] = ()
    possible: tuple[float, float] = (-np.inf, np.inf)
    resampling: Resampling | None = None
    unknown: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Items of each set."""
        return tuple(len(next(iter(each.values()))) for each in self.strata)

    @property
    def n_items(self) -> int:
        """Items of the smallest set, 0 where they are unknown."""
        return min(self.sizes, default=0)

    def excess(self, seeds: Collection[int]) -> float:
        """Return the variance that more seeds do not lessen, per variance of one seed's score."""
        return self.resampling.excess(seeds) if self.resampling else 0.0

    @property
    def width(self) -> float:
        """Largest possible difference of two scores."""
        return self.possible[1] - self.possible[0]


@dataclass(frozen=True)
class Estimate:
    """Means and what is known of their variance; every field has the same shape.

    Attributes:
        mean: the mean over seeds and items; NaN where there is none.
        seed_variance: part of its variance that is seen between seeds; NaN where there are too few
            of them to see how much.
        item_variance: part that only more test items would lessen; 0 where items are unknown.
        seed_df: degrees of freedom of the former.
        item_df: of the latter, infinite where items are unknown.
        third: third central moment of the mean, as far as its items show it and its variance has
            room for it; 0 where it is not asked.
    """

    mean: Floats
    seed_variance: Floats
    item_variance: Floats
    seed_df: Floats
    item_df: Floats
    third: Floats

    def __getitem__(self, index: Any) -> "Estimate":
        return Estimate(*(np.asarray(part)[index] for part in vars(self).values()))

    def scaled(self, factor: float) -> "Estimate":
        """Return what is known of the mean in another unit, of which one is ``1 / factor``."""
        return replace(
            self,
            mean=self.mean * factor,
            seed_variance=self.seed_variance * factor**2,
            item_variance=self.item_variance * factor**2,
            third=self.third * factor**3,
        )

    @property
    def bare(self) -> "Estimate":
        """The mean alone, so that it and every mean over tasks with it have no interval."""
        return replace(self, seed_variance=np.full_like(self.seed_variance, np.nan))

    @property
    def error(self) -> Floats:
        """Standard error of the mean, NaN where nothing varies: that is no certainty."""
        variance = self.seed_variance + self.item_variance
        return np.sqrt(np.where(variance > 0, variance, np.nan))

    def ends(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the ends of the confidence interval, NaN where there is none.

        It reaches as many standard errors as Student's t of the items, and towards that of the
        seeds by the seeds' share of the variance to the power of 5/4. That is exact where one of
        them is all; between them the coverage of 95 % intervals of normal values is 93.0 to 97.1 %
        with two seeds, 94.7 to 96.5 % with three, and closer with more. With three seeds
        Satterthwaite's approximation falls to 92.2 %.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            share = self.seed_variance / (self.seed_variance + self.item_variance)
        seeds, items = (student(df, 1 - level) for df in (self.seed_df, self.item_df))
        half = (items + (seeds - items) * share**1.25) * self.error
        return self.mean - half, self.mean + half

    def interval(self, n: int, possible: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
        """Return a single mean with its 95 % interval.

        Where a mean has both a lowest and a highest possible value, the interval is symmetric in
        its log odds between the two, to first order. Near a bound it is skewed as the mean is, and
        it never exceeds the bound (`_log_odds`). Of a loss, which has only one of them, it is
        skewed as the items are. All others have equal arms: what differences of losses are skewed
        by is mostly chance.

        Args:
            n: seeds seen.
            possible: lowest and highest possible mean, which the interval does not exceed.
        """
        ends = self.ends()
        least, width = possible[0], possible[1] - possible[0]
        share = (self.mean - least) / width if np.isfinite(width) else np.nan
        if 0 < share < 1:
            half = _log_odds((ends[1] - self.mean) / (width * share * (1 - share)))
            low, high = (expit(logit(share) + way * half) for way in (-1, 1))
            ends = least + width * low, least + width * high
        elif np.isfinite(possible).sum() == 1:
            ends = self._skewed(ends[1] - self.mean)
        first, last = (None if np.isnan(end) else float(end) for end in np.clip(ends, *possible))
        return Interval(n, None if np.isnan(self.mean) else float(self.mean), first, last)

    def _skewed(self, half: Floats) -> tuple[Floats, Floats]:
        """Return the ends of an interval whose arms differ as the skewness of the mean asks.

        Student's ratio of a skewed mean is skewed the other way. Its cubic transform is not, to
        first order, and always increases: the ends are where that reaches the bounds of the ratio.

        Args:
            half: of the interval of equal arms.

        Source: Hall, "On the removal of skewness by transformation", 1992, equation for g of a
        mean, with the skewness that seeds and items together leave.
        """
        skewness = np.asarray(self.third / self.error**3)
        if np.isnan(half) or abs(skewness) < 1e-9:
            return self.mean - half, self.mean + half
        bounds = np.array([1, -1]) * half / self.error
        ratios = 3 / skewness * (np.cbrt(1 + skewness * (bounds - skewness / 6)) - 1)
        low, high = self.mean - self.error * ratios
        return low, high


def _log_odds(half: Floats) -> Floats:
    """Return half an interval of log odds: as given up to 3, Wilson's score interval where wider.

    To first order alone, the interval of a mean that is small beside its error is nearly all that
    is possible: a mean of .002 with an error of .010 would end at .94. Wilson's takes the variance
    at each end, not at the mean. It too is symmetric in log odds, and narrower than the first.
    Where that is wider than 3, a factor of 20 in odds, both cover as often in simulations.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927,
    with half an interval of log odds in place of z / sqrt(n p (1 - p)).
    """
    wilson: Floats = 2 * np.arcsinh(half / 2)
    return np.maximum(np.minimum(half, 3.0), wilson)


def student(df: Any, alpha: Any) -> Floats:
    """Return the two-sided critical value of Student's t; that of the normal for infinite df."""
    return np.asarray(-stdtrit(df, np.asarray(alpha) / 2), dtype=np.float64)


def estimate(sample: Sample) -> Estimate:
    """Return the mean of a sample over its seeds and, where they are known, its items."""
    scores = np.array(list(sample.scores.values()))
    shared = [covariance([values[seed] for seed in sample.scores]) for values in sample.strata]
    found = two_level(scores, shared, sample.sizes, excess=sample.excess(sample.scores))
    if sample.unknown:
        return found.bare
    return replace(found, third=np.asarray(_third(sample, float(found.error) ** 2)))


def _third(sample: Sample, variance: float) -> float:
    """Return the third central moment of a mean: of its items, unbiased; 0 of fewer than three.

    Where seeds have little in common, the variance of the mean may look smaller by chance than its
    items make it, and a moment that does not shrink with it would skew the interval without bound.

    Args:
        sample: seeds and items.
        variance: of the mean, as it is seen.
    """
    if sample.n_items < 3 or not sample.scores:
        return 0.0
    third = seen = 0.0
    for stratum in sample.strata:
        items = np.mean([stratum[seed] for seed in sample.scores], axis=0)
        n, rest = len(items), items - items.mean()
        third += n / ((n - 1) * (n - 2)) * float(np.sum(rest**3)) / n**2
        seen += float(np.sum(rest**2)) / (n - 1) / n
    return third * min(1.0, variance / seen) ** 1.5 if seen > 0 and variance > 0 else 0.0


def covariance(values: Sequence[Floats]) -> Floats:
    """Return the unbiased covariance of runs over items, `(R, R)`; 0 of fewer than two items.

    Args:
        values: of the items of each run, `(N,)` each.
    """
    if not len(values) or len(values[0]) < 2:
        return np.zeros((len(values), len(values)))
    return np.atleast_2d(np.cov(values))


def two_level(
    scores: Floats,
    shared: Sequence[Floats],
    sizes: Sequence[int],
    scale: Floats | None = None,
    excess: float = 0.0,
) -> Estimate:
    """Return means over seeds and items.

    Args:
        scores: of every seed, `(..., S)`.
        shared: for each set of items, covariance of the seeds' values over them, `(..., S, S)`.
        sizes: items N of each set.
        scale: size of the numbers that scores were computed from, `(...)`; spreads that rounding
            may have made are measured against it. The largest score if None.
        excess: variance of the mean that more seeds do not lessen, per variance of one score.

    Returns:
        Fields `(...)`.
    """
    n, size = scores.shape[-1], scores.shape[:-1]
    scale = np.abs(scores).max(axis=-1, initial=0.0) if scale is None else scale
    seeds, unseen, weighted = np.zeros(size), np.zeros(size), np.zeros(size)
    items = np.zeros(size)
    if n > 1:
        varies = np.ptp(scores, axis=-1) > 1e-12 * scale
        seeds = np.where(varies, np.var(scores, axis=-1, ddof=1) / n, 0.0)
    known = [pair for pair in zip(shared, sizes, strict=True) if n > 1 and pair[1] > 1]
    for covariances, n_items in known:
        trace = np.trace(covariances, axis1=-2, axis2=-1)
        common = (covariances.sum(axis=(-2, -1)) - trace) / (n * (n - 1))
        rest = trace / n - common
        own = np.where(common > 1e-12 * scale**2, common / n_items, 0.0)
        items = items + own
        weighted = weighted + own**2 / (n_items - 1)
        unseen = unseen + np.where(rest > 1e-12 * scale**2, rest / (n * n_items), 0.0)
    least = min((n_items - 1.0 for _, n_items in known), default=np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        item_df = np.where(items > 0, items**2 / weighted, least)
    return Estimate(
        mean=np.asarray(scores.mean(axis=-1)) if n else np.full(size, np.nan),
        seed_variance=np.where(seeds > 0, seeds, unseen) * (1 + n * excess)
        if n > 1
        else np.full(size, np.nan),
        item_variance=items,
        seed_df=np.full(size, max(n - 1.0, 1.0)),
        item_df=item_df,
        third=np.zeros(size),
    )


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean over tasks of independent estimates, each a stratum of its own.

    Variances add, and a task that does not vary adds none: that two methods never differ on one
    task hides nothing of the others. Only where no task varies is there no variance. The degrees of
    freedom of each kind of variance are Satterthwaite's, which serve well here because all tasks
    have about the same number of seeds.

    Args:
        estimates: one for each task, of one shape; at least one.

    Source: Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
    """
    count = len(estimates)

    def stacked(part: str) -> Floats:
        return np.stack([getattr(each, part) for each in estimates])

    def total(part: str) -> tuple[Floats, Floats]:
        variances = stacked(f"{part}_variance") / count**2
        whole, df = variances.sum(axis=0), stacked(f"{part}_df")
        with np.errstate(invalid="ignore", divide="ignore"):
            pooled = whole**2 / (variances**2 / df).sum(axis=0)
        return whole, np.where(whole > 0, pooled, df.min(axis=0))

    seed_variance, seed_df = total("seed")
    item_variance, item_df = total("item")
    mean, third = stacked("mean").mean(axis=0), stacked("third").sum(axis=0) / count**3
    return Estimate(mean, seed_variance, item_variance, seed_df, item_df, third)
