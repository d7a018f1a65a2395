"""Names and numbers in a sentence."""

from typing import Any

import pandas as pd

from reports.text import number

NAMED = 8
"""Up to so many methods are named in a sentence."""


def listed(names: list[str]) -> str:
    """Return names as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def named(names: list[str]) -> str:
    """Return names as "a, b and c", or how many there are, if they are many."""
    return listed(names) if len(names) <= NAMED else f"{len(names)} others"


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval as text; "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"
