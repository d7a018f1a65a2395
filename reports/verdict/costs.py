"""What a row costs, and as a multiple of what another does."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

COSTS = ("train_flops", "inference_passes", "evaluation_seconds", "peak_memory_bytes")
_ALIKE = (1.01, 1.0)
"""Factors up to which costs that are counted are alike; those that are measured choose nothing."""

Place = tuple[tuple[str, tuple[int, ...]], ...]
"""Where a row ran, on each task: the machine, "" if several, and how many runs trained together."""


def costs_of(row: Any) -> tuple[float, ...]:
    """Return the costs of a row of `summarise`, infinite where unknown, in the order of `COSTS`."""
    values = (getattr(row, name) for name in COSTS)
    return tuple(math.inf if pd.isna(value) else float(value) for value in values)


def cheapest(names: Sequence[str], costs: Mapping[str, tuple[float, ...]]) -> str:
    """Return the first of the rows that train for least and, of these, predict in fewest passes."""
    left = list(names)
    for place, alike in enumerate(_ALIKE):
        least = min(costs[name][place] for name in left)
        left = [name for name in left if costs[name][place] <= alike * least]
    return left[0]


def multiples_of(
    name: str, reference: str, costs: Mapping[str, tuple[float, ...]], places: Mapping[str, Place]
) -> dict[str, float | None]:
    """Return costs as multiples of the reference's, None where they do not compare.

    Seconds compare on one machine alone; memory, which is that of all runs that train together,
    where as many do.
    """
    fields = ("training", "passes", "scoring", "memory")
    if name not in costs or reference not in costs:
        return dict.fromkeys(fields)
    own, other = places[name], places[reference]
    machines = [machine for machine, _ in own]
    same = all(machines) and machines == [machine for machine, _ in other]
    comparable = (True, True, same, same and own == other)
    found = zip(fields, costs[name], costs[reference], comparable, strict=True)
    return {
        field: mine / theirs
        if known and math.isfinite(mine) and math.isfinite(theirs) and theirs > 0
        else None
        for field, mine, theirs, known in found
    }
