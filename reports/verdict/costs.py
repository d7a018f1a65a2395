"""What a row costs, and as a multiple of what another does."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

COSTS = ("train_flops", "evaluation_seconds", "peak_memory_bytes")
_ALIKE = (1.01, 1.25, 1.25)
"""Factors up to which costs count as alike: operations are counted, seconds and bytes measured."""


def costs_of(row: Any) -> tuple[float, ...]:
    """Return the costs of a row of `summarise`, infinite where unknown, in the order of `COSTS`."""
    values = (getattr(row, name) for name in COSTS)
    return tuple(math.inf if pd.isna(value) else float(value) for value in values)


def cheapest(
    names: Sequence[str], costs: Mapping[str, tuple[float, ...]], machines: Mapping[str, str]
) -> str:
    """Return the first of the rows that train, then score, then take memory for least.

    Costs that are alike are equal, and what was measured counts on one machine alone.
    """
    left = list(names)
    for place, alike in enumerate(_ALIKE):
        where = {machines[name] for name in left}
        if place and (len(where) > 1 or "" in where):
            break
        least = min(costs[name][place] for name in left)
        left = [name for name in left if costs[name][place] <= alike * least]
    return left[0]


def multiples_of(
    name: str, reference: str, costs: Mapping[str, tuple[float, ...]], machines: Mapping[str, str]
) -> dict[str, float | None]:
    """Return costs as multiples of the reference's; seconds and memory on one machine alone."""
    fields = ("training", "scoring", "memory")
    if name not in costs or reference not in costs:
        return dict.fromkeys(fields)
    same = machines[name] == machines[reference] != ""
    found: dict[str, float | None] = {}
    for field, own, other in zip(fields, costs[name], costs[reference], strict=True):
        known = math.isfinite(own) and math.isfinite(other) and other > 0
        found[field] = own / other if known and (same or field == "training") else None
    return found
