"""Names and numbers in a sentence."""

import math
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.terminal import signed as signed

NAMED = 8
"""Up to so many methods are named in a sentence."""
FEW = 4
"""Up to so many are named by `few` before two or more others are counted."""


def listed(names: list[str]) -> str:
    """Return names as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def named(names: list[str]) -> str:
    """Return names as "a, b and c"; if they are many, as `few` does."""
    return listed(names) if len(names) <= NAMED else few(names)


def few(names: list[str]) -> str:
    """Return names as "a, b and c"; of many the first ones, and how many others there are."""
    others = len(names) - FEW
    return listed([*names[:FEW], f"{others} others"] if others > 1 else names)


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval as text; "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def telling(low: float, high: float) -> int:
    """Return the decimals with which an interval that excludes zero is seen to do so."""
    if low * high <= 0:
        return 3
    nearest = min(abs(low), abs(high))
    return next((n for n in range(3, 6) if round(nearest, n) > 0), 6)


def at_most(bound: float) -> str:
    """Return a bound, rounded up: a smaller one would claim more than is known."""
    return number(math.ceil(round(bound * 1000, 6)) / 1000)


def decimal(value: float) -> str:
    """Return a setting, such as 0.00005, rounded to six digits, and never as a power of ten."""
    text = f"{value:g}"
    if "e" not in text:
        return text
    return np.format_float_positional(float(text), trim="-")


def times(multiple: Any) -> str:
    """Return a multiple, such as "1.2 x"; "" if none."""
    if multiple is None or pd.isna(multiple):
        return ""
    small = decimal(float(f"{multiple:.1g}"))
    text = small if multiple < 0.095 else f"{multiple:.{0 if multiple >= 9.95 else 1}f}"
    return f"{text}\N{MULTIPLICATION SIGN}"
