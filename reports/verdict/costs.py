"""What a row costs, and as a multiple of what another does."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

COSTS = ("train_flops", "evaluation_seconds", "peak_memory_bytes")


def costs_of(row: Any) -> tuple[float, ...]:
    """Return the costs of a row of `summarise`, infinite where unknown, in the order of `COSTS`."""
    values = (getattr(row, name) for name in COSTS)
    return tuple(math.inf if pd.isna(value) else float(value) for value in values)


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
