"""Methods compared over several tasks: ranks, aggregates, profiles, probability of improvement.

`ranks` asks whether an order would hold on other tasks like these, and so needs many tasks. The
others are about these very tasks, each a stratum of its own: their intervals are over seeds and,
where it is said, over test items.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from gapbench.reports.stats.estimates import Estimate, averaged
from gapbench.reports.stats.intervals import Floats

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Ranks(Generic[Key]):
    """Average ranks over tasks.

    Attributes:
        average: rank of each method, 1 being the best, equal scores sharing theirs; best first.
        n_tasks: what it is an average over.
        p_value: of Friedman's test that all methods are equal; it is cautious with few tasks.
        critical_difference: of two average ranks, by Nemenyi's test at 5 % for all pairs.
        cliques: largest sets of neighbours that differ by less; only sets of two and more.
    """

    average: Mapping[Key, float]
    n_tasks: int
    p_value: float
    critical_difference: float
    cliques: tuple[tuple[Key, ...], ...]


@dataclass(frozen=True)
class Profile(Generic[Key]):
    """Shares of runs that come close to the best.

    Attributes:
        distances: how far below the best mean score of its task a run may lie, `(n,)`; below zero,
            it has to lie above.
        shares: of the runs of each method that do not lie further, mean over tasks, `(n,)`.
        ends: of the 95 % interval over seeds, `(2, n)`, NaN where all seeds of a task agree.
    """

    distances: Floats
    shares: Mapping[Key, Floats]
    ends: Mapping[Key, Floats]


def ranks(scores: Mapping[Key, Sequence[float]], alpha: float = 0.05) -> Ranks[Key] | None:
    """Rank methods on every task, and test whether their average ranks differ.

    Args:
        scores: of each method one a task, in the order of tasks; higher is better.
        alpha: level of Nemenyi's test.

    Returns:
        None with fewer than two tasks or three methods.

    Source: Demsar, "Statistical comparisons of classifiers over multiple data sets", 2006.
    """
    table = np.array(list(scores.values()), dtype=np.float64)
    if table.ndim < 2 or table.shape[0] < 3 or table.shape[1] < 2:
        return None
    from scipy import stats  # half a second to load, which only reports of suites have need for

    n_methods, n_tasks = table.shape
    means = stats.rankdata(-table, axis=0).mean(axis=1)
    with np.errstate(invalid="ignore"):  # where all methods are equal on every task
        p_value = float(stats.friedmanchisquare(*table).pvalue)
    quantile = stats.studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
    difference = float(quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_tasks)))
    order = np.argsort(means, kind="stable")
    names = [list(scores)[place] for place in order]
    return Ranks(
        average={name: float(means[place]) for name, place in zip(names, order, strict=True)},
        n_tasks=n_tasks,
        p_value=1.0 if np.isnan(p_value) else p_value,
        critical_difference=difference,
        cliques=_cliques(names, means[order], difference),
    )


def interquartile(scores: Sequence[Sequence[float]], estimates: Sequence[Estimate]) -> Estimate:
    """Return the interquartile mean over the runs of all tasks.

    Runs of a task that has fewer of them weigh more, so that all tasks weigh the same: it is that
    of as many copies of each run as make tasks equal, and the plain one where they are. What a run
    adds to it, to first order, is its score, no further out than the quartiles.

    Args:
        scores: of one method's runs, task by task.
        estimates: its mean on each task, for the variance from test items.

    Source: the influence of a trimmed mean, Huber, "Robust Statistics", 1981, section 3.3.
    """
    runs = np.concatenate([np.asarray(each, dtype=np.float64) for each in scores])
    counts = [len(each) for each in scores]
    copies = np.lcm.reduce(counts) // np.repeat(counts, counts)
    order = np.argsort(runs, kind="stable")
    upto, cut = np.cumsum(copies[order]), copies.sum() // 4
    kept = np.zeros(len(runs))
    inside = np.minimum(upto, copies.sum() - cut) - np.maximum(upto - copies[order], cut)
    kept[order] = np.maximum(inside, 0) / copies[order]  # share of a run that is not cut
    share = np.average(kept, weights=copies)
    mean = np.average(runs, weights=kept * copies)
    bounded = np.clip(runs, runs[kept > 0].min(), runs[kept > 0].max())
    values = mean + (bounded - np.average(bounded, weights=copies)) / share
    limits = np.cumsum([len(each) for each in scores])[:-1]
    parts = [
        replace(
            each,
            seed_variance=_over_seeds(own).seed_variance,
            item_variance=each.item_variance * (inside.mean() / share) ** 2,
        )
        for own, inside, each in zip(
            np.split(values, limits), np.split(kept, limits), estimates, strict=True
        )
    ]
    return replace(averaged(parts), mean=np.asarray(mean))


def improvement(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Estimate:
    """Return the probability that a run of the first method beats one of the second.

    It is a mean over tasks; equal scores count half. The interval is over seeds, and absent where
    one method always wins.

    Args:
        first: scores task by task, each on the seeds that both have, in their order; higher is
            better.
        second: likewise.

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
    2021, section 4.3.
    """
    parts = []
    for ours, theirs in zip(first, second, strict=True):
        gain = np.subtract.outer(np.asarray(ours), np.asarray(theirs))
        wins = (gain > 0) + 0.5 * (gain == 0)
        parts.append(_over_seeds(wins.mean(axis=1) + wins.mean(axis=0) - wins.mean()))
    return averaged(parts)


def profile(distances: Mapping[Key, Sequence[Sequence[float]]], points: int = 201) -> Profile[Key]:
    """Return for every distance the share of runs that lie within it of the best.

    Args:
        distances: of each method, task by task: best mean score of the task minus a run's score,
            sign flipped where lower is better.
        points: distances to look at, equally spaced over all that occur.

    Source: Dolan and More, "Benchmarking optimization software with performance profiles", 2002,
    with differences in place of ratios.
    """
    everything = np.concatenate([each for tasks in distances.values() for each in tasks])
    grid = np.linspace(everything.min(), everything.max(), points)
    shares, ends = {}, {}
    for key, tasks in distances.items():
        reached = [(np.asarray(each)[:, None] <= grid + 1e-12).astype(np.float64) for each in tasks]
        mean = averaged([_over_seeds(each) for each in reached])
        shares[key] = mean.mean
        ends[key] = np.clip(mean.ends(), 0.0, 1.0)
    return Profile(grid, shares, ends)


def _over_seeds(values: Floats) -> Estimate:
    """Return the mean over the first axis, the seeds."""
    n = len(values)
    spread = np.var(values, axis=0, ddof=1) / n if n > 1 else np.full(values.shape[1:], np.nan)
    zeros = np.zeros(values.shape[1:])
    return Estimate(
        values.mean(axis=0), np.asarray(spread), zeros, zeros + max(n - 1, 1), zeros + np.inf
    )


def _cliques(names: Sequence[Key], means: Floats, difference: float) -> tuple[tuple[Key, ...], ...]:
    """Return the largest runs of neighbours, best first, whose ends differ by less."""
    found: list[tuple[int, int]] = []
    for start in range(len(names)):
        end = int(np.searchsorted(means, means[start] + difference, side="left"))
        if end - start > 1 and (not found or end > found[-1][1]):
            found.append((start, end))
    return tuple(tuple(names[start:end]) for start, end in found)
