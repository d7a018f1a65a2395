"""Differences of rows as contrasts of a verdict, from the families that a study was compared by."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from gapbench.reports.stats.pairwise import Family
from gapbench.reports.tables.outcomes import Outcome, claim
from gapbench.reports.verdict.model import IDENTICAL, SAME, Contrast

Items = Callable[[str], int]
"""Items of a row, 0 where they are unknown."""


def contrast(
    family: Family[str], pair: tuple[str, str], outcome: Outcome, *, upward: bool, items: Items
) -> Contrast:
    """Return how the first row of a pair differs from the second: first minus second.

    Args:
        family: all differences that are compared together, this one among them.
        pair: names of the two rows.
        outcome: outcome that is compared.
        upward: whether higher values are better.
        items: number of test items of each row, by name.
    """
    found = family.pair(*pair)
    why = withheld(family, pair)
    known = not why
    return Contrast(
        first=pair[0],
        second=pair[1],
        outcome=outcome,
        difference=found.difference,
        low=found.low if known else None,
        high=found.high if known else None,
        claim=claim(found, upward=upward) if known else "",
        n_seeds=found.n_seeds,
        n_items=min(map(items, pair)) if found.items else 0,
        confidence=1 - found.alpha,
        withheld=why,
    )


def every(
    family: Family[str], names: Sequence[str], outcome: Outcome, *, upward: bool, items: Items
) -> dict[tuple[str, str], Contrast]:
    """Return all pairs of rows that a family holds, in the order of their names."""
    known = [name for name in names if name in family.places]
    return {
        pair: contrast(family, pair, outcome, upward=upward, items=items)
        for pair in combinations(known, 2)
    }


def to_best(
    name: str, ranked: Sequence[str], pairs: Mapping[tuple[str, str], Contrast], *, upward: bool
) -> Contrast | None:
    """Return a row minus the best of the others, whichever that truly is.

    It is least of the differences to all others, or the largest where lower is better, and so are
    the ends of its interval; all such intervals hold where those of the pairs do.

    Args:
        name: of the row.
        ranked: all rows, best first.
        pairs: all pairs of them.
        upward: whether higher scores are better.

    Returns:
        None if it is the only row, or some pair has no interval.

    Source: Hsu, "Multiple Comparisons", 1996, section 4.2, from intervals of all pairs.
    """
    others = [each for each in ranked if each != name]
    found = [
        pairs[name, other] if (name, other) in pairs else pairs[other, name].reversed()
        for other in others
    ]
    found = [each for each in found if each.withheld != SAME]
    if not found or any(each.low is None for each in found):
        return None
    pick = np.min if upward else np.max
    low, high = (float(pick([getattr(each, end) for each in found])) for end in ("low", "high"))
    best = found[0]
    return Contrast(
        first=name,
        second=best.second,
        outcome="score",
        difference=best.difference,
        low=low,
        high=high,
        claim="" if low <= 0 <= high else "better" if (low > 0) == upward else "worse",
        n_seeds=best.n_seeds,
        n_items=best.n_items,
        confidence=min(each.confidence for each in found),
    )


def withheld(family: Family[str], pair: tuple[str, str]) -> str:
    """Return why two rows have no interval; "" if they have one."""
    place = family.places[pair[0]], family.places[pair[1]]
    own, n = family.estimate[place], int(family.n_seeds[place])
    if place[0] == place[1]:
        return SAME
    if n < 2:
        return "one common seed" if n else "no common seed"
    if own.seed_variance + own.item_variance == 0:
        if own.mean == 0:
            return IDENTICAL
        if np.isnan(family.bounds.half[place]):
            return "apart by the same on every seed, which no test can judge"
    return "" if np.isfinite(family.bounds.half[place]) else "nothing is known to vary"
