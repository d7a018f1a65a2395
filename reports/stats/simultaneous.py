"""Intervals of many differences that all hold together, however differently the methods vary.

With few seeds, the variance of a single difference is known badly: from three seeds, a difference
has to be 20 standard errors large to count among 21. But false claims come from variances that look
too small by chance, and the other methods of the study tell what is small. So the variance of each
difference between seeds is taken to be no less than half of what it is on average of all pairs
without the method that varies most,

    v = max(own, mean of the pairs of the other methods / 2).

One method that varies much more than the others thus changes nothing between them. Of three methods
none is left out, since one pair would tell too little. Methods need not vary alike:
`seed_threshold` supposes that k of M do and the others not at all, bounds the rate of false claims
by the union of their events, for k up to six, for all and for a few between, and takes the worst k.
It is Student's t where one pair is compared.

Items are many, so that their variance needs no such help. A difference with variances v of seeds
and w of items is told from zero if it exceeds sqrt(v c^2 + w z^2), c and z being the thresholds of
each alone (Banerjee, "Approximate confidence interval for linear functions of means of k
populations when the population variances are not equal", 1960).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr

from gapbench.reports.stats.estimates import Estimate, student
from gapbench.reports.stats.intervals import Floats

ALPHA = 0.05
"""Rate of studies with any false claim on one outcome."""

WITH_REFERENCE = 0.8
"""Share of it for comparisons with the reference; all other pairs have the rest."""

TOGETHER = 0.5
"""Share of it for the mean over tasks, where there are several; single tasks have the rest."""

FLOOR = 0.5
"""Share of the mean variance that every one has at least; see above."""

Pairs = Literal["reference", "all"]

_PLACES = (np.arange(120) + 0.5) / 120
_LOW, _WEIGHTS = _PLACES**4, _PLACES**3 / (_PLACES**3).sum()  # dense where variances look small
_FEW = 3
"""Methods of which none is left out: too few would be left to tell what is small."""

_EVEN = (np.arange(64) + 0.5) / 64
_DF = np.array([*range(1, 21), 25, 30, 40, 60, 100, 200, 500, 10_000], dtype=np.float64)


@dataclass(frozen=True)
class Bounds:
    """Simultaneous intervals of all pairs, `(M, M)`; NaN where a pair has none.

    Attributes:
        half: half the width of each interval; a larger difference is shown.
        alpha: level of each interval by itself.
    """

    half: Floats
    alpha: Floats


def bounds(
    differences: Estimate,
    n_seeds: NDArray[np.int64],
    alpha: float,
    reference: int | None,
    share: float = WITH_REFERENCE,
) -> Bounds:
    """Return simultaneous intervals of the differences of all pairs of M methods.

    Args:
        differences: of row minus column, `(M, M)`.
        n_seeds: seeds of each pair, `(M, M)`.
        alpha: level of all of them together.
        reference: place of the method whose pairs have their own share of it; None if there is
            none, so that all pairs share alike.
        share: of the pairs with the reference; with all of it, other pairs have no interval.
    """
    size = len(n_seeds)
    half, own = np.full((size, size), np.nan), np.full((size, size), np.nan)
    seeds = floored(differences, n_seeds)
    first = np.zeros((size, size), dtype=bool)
    if reference is not None:
        first[reference], first[:, reference] = True, True
    off = ~np.eye(size, dtype=bool)
    groups: Sequence[tuple[Pairs, NDArray[np.bool_], float]] = (
        ("reference", first & off, share),
        ("all", ~first & off, 1 - share),
    )
    groups = [group for group in groups if group[1].any() and group[2] > 0]
    for kind, chosen, part_of in groups:
        level = alpha * (part_of if len(groups) > 1 else 1.0)
        count = int(chosen.sum()) // 2
        part = differences[chosen]
        thresholds = seed_thresholds(level, part.seed_df, size, kind)
        items = student(part.item_df, level / count)
        half[chosen] = np.hypot(
            np.sqrt(seeds[chosen]) * thresholds, np.sqrt(part.item_variance) * items
        )
        own[chosen] = level / count
    half[half == 0] = np.nan
    return Bounds(half, own)


def floored(differences: Estimate, n_seeds: NDArray[np.int64]) -> Floats:
    """Return the variance of each difference between seeds, no less than the floor.

    That is half the mean over pairs, without those of the method that varies most if there are
    more than `_FEW`.
    """
    known = np.isfinite(differences.seed_variance) & ~np.eye(len(n_seeds), dtype=bool)
    per_seed = np.where(known, differences.seed_variance * n_seeds, 0.0)
    without = 2 if len(n_seeds) > _FEW else 0
    total, count = (each.sum() - without * each.sum(axis=0) for each in (per_seed, known))
    if not (count > 0).any():
        return differences.seed_variance
    least = FLOOR * float((total[count > 0] / count[count > 0]).min())
    return np.maximum(differences.seed_variance, least / np.maximum(n_seeds, 1))


def seed_thresholds(alpha: float, df: Floats, methods: int, kind: Pairs) -> Floats:
    """Return `seed_threshold` for many degrees of freedom, each rounded down."""
    places = np.searchsorted(_DF, np.maximum(df, 1.0) * (1 + 1e-9), side="right") - 1
    known = {
        place: seed_threshold(alpha, float(_DF[place]), methods, kind) for place in set(places.flat)
    }
    return np.asarray(np.vectorize(known.__getitem__, otypes=[np.float64])(places))


@lru_cache(maxsize=4096)
def seed_threshold(alpha: float, df: float, methods: int, kind: Pairs) -> float:
    """Return how many standard errors all differences stay within, if only seeds vary.

    Args:
        alpha: rate of studies where some difference does not.
        df: degrees of freedom of each variance.
        methods: M.
        kind: whether differences are to one reference or those of all other pairs.
    """
    if methods == 2:
        return float(student(df, alpha))

    def missed(threshold: float) -> float:
        return max(
            sum(count * 2 * rate for count, rate in case)
            for k in _tested(methods)
            for case in _cases(k, methods, kind, *_rates(threshold, k, df, methods))
        )

    high = 2.0  # half of it misses more than any level asked for
    while missed(high) > alpha:
        high *= 2
    found = brentq(lambda threshold: np.log(missed(threshold) / alpha), high / 2, high, xtol=1e-3)
    return float(found) + 1e-3


def _tested(methods: int) -> list[int]:
    """Return numbers of varying methods to look at: all up to six, then fewer."""
    many = np.geomspace(6, methods, 5).round().astype(int) if methods > 6 else ()
    return sorted({*range(1, min(methods, 6) + 1), *map(int, many)})


def _cases(
    varying: int, methods: int, kind: Pairs, one: float, both: float
) -> list[list[tuple[float, float]]]:
    """Return kinds of false claims if so many methods vary alike, the others not at all.

    Differences of a varying method to all that do not vary are one event; nearly so if these vary a
    little, which is worse, and so they are counted as two.

    Args:
        varying: how many do.
        methods: M.
        kind: of differences.
        one: rate of large differences of a varying method to one that does not vary.
        both: likewise of two varying ones.

    Returns:
        For each case how many claims of each kind there may be, and their rate.
    """
    rest = min(methods - varying, 2)
    if kind == "all":
        return [[(varying * (varying - 1) / 2, both), (varying * rest, one)]]
    # The reference is one of those that do not vary, or of those that do.
    return [[(varying * min(rest, 1), one)], [(varying - 1, both), (rest, one)]]


@lru_cache(maxsize=4096)  # every level is looked for between the same few thresholds
def _rates(threshold: float, varying: int, df: float, methods: int) -> tuple[float, float]:
    """Return how often differences exceed a threshold upwards; `one` and `both` of `_cases`."""
    one, both = (
        float(_WEIGHTS @ ndtr(-threshold * root).mean(axis=1))
        for root in _roots(varying, df, methods)
    )
    return one, both


@lru_cache(maxsize=128)  # of one number of seeds at several levels, some ten megabytes
def _roots(varying: int, df: float, methods: int) -> tuple[Floats, Floats]:
    """Return by what variances differences are divided, as standard deviations in true ones.

    Returns:
        Of a varying method to one that does not vary, and of two varying ones; `(own, others)`,
        over likely values of both.
    """
    own: Floats = np.asarray(chdtri(df, 1 - _LOW) / df)[:, None]
    places = np.tile(_EVEN, (varying - 1, 1))  # a Latin hypercube (McKay et al. 1979)
    others = chdtri(df, 1 - np.random.default_rng(0).permuted(places, axis=1)) / df
    one = _raised(own, [own, *others], 2 * FLOOR, methods)
    if varying == 1:
        return one, one
    half = (own + others[0]) / 2  # sum and difference of two methods vary independently
    return one, _raised(own, [half, half, *others[1:]], FLOOR, methods)


def _raised(own: Floats, rows: Sequence[Floats], share: float, methods: int) -> Floats:
    """Return the root of variances, no less than a share of the mean of rows and of those at 0."""
    every = np.stack(np.broadcast_arrays(*rows))
    total, count = every.sum(axis=0), methods
    if methods > _FEW:
        total, count = total - every.max(axis=0), methods - 1
    return np.asarray(np.sqrt(np.maximum(own, share * total / count)))
