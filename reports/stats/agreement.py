"""How far judges agree, and whether they prefer what is shown first."""

from collections.abc import Hashable, Sequence

import numpy as np

from gapbench.reports.stats.intervals import Floats, Interval


def krippendorff_alpha(units: Sequence[Sequence[float]]) -> float | None:
    """Return Krippendorff's alpha of numbers, with squared differences; None where undefined.

    1 is perfect agreement, 0 that of chance. Values may be missing, and units with one are left
    out. It is undefined if no unit has two values, or all values are equal.

    Args:
        units: values that judges gave to each thing.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.
    """
    return _alpha([np.asarray(unit, dtype=np.float64)[:, None] for unit in units])


def nominal_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Return Krippendorff's alpha of names, which are equal or not; None where undefined."""
    names = {name: place for place, name in enumerate({n: None for unit in units for n in unit})}
    corners = np.eye(len(names))  # all as far apart from each other
    return _alpha([corners[[names[name] for name in unit]] for unit in units])


def _alpha(units: Sequence[Floats]) -> float | None:
    """Return alpha of points, `(judges, dimensions)` for each unit."""
    paired = [unit for unit in units if len(unit) > 1]
    if not paired:
        return None
    every = np.concatenate(paired)
    expected = _distances(every) / (len(every) - 1)
    if expected <= 0:
        return None
    return 1 - sum(_distances(unit) / (len(unit) - 1) for unit in paired) / expected


def _distances(points: Floats) -> float:
    """Return the sum of squared distances over all ordered pairs."""
    return 2 * len(points) * float(np.square(points - points.mean(axis=0)).sum())


def first_shown(preferences: Sequence[str]) -> Interval:
    """Return the share of decided pairs of which the first was preferred, with its 95 % interval.

    The order of each pair was drawn at random, so that a judge without a preference for a place has
    1/2, whatever the answers are. The interval is that of Clopper and Pearson.

    Args:
        preferences: of one judge, "A" (the first), "B" or "tie", one for each pair.
    """
    from scipy.stats import binomtest  # imported here: it loads slowly and few folders need it

    decided = [each for each in preferences if each != "tie"]
    if not decided:
        return Interval(0, None)
    found = binomtest(decided.count("A"), len(decided))
    low, high = found.proportion_ci()
    return Interval(len(decided), float(found.statistic), float(low), float(high))
