"""Names and numbers in a sentence."""

from typing import Any

import pandas as pd

from gapbench.reports.tables.terminal import number

NAMED = 8
"""Up to so many methods are named in a sentence."""


PRACTICABLE = 100
"""Nobody runs more seeds than these to tell two methods apart."""


def more_seeds(needed: float) -> str:
    """Return a number of seeds to add, in two figures, as its estimate has no more."""
    digits = max(0, len(f"{needed:.0f}") - 2)
    rough = round(needed, -digits)
    said = f"{needed:.0f}" if rough == needed and not digits else f"about {rough:,.0f}"
    return f"{said} more seed{'' if needed == 1 else 's'}"


def listed(names: list[str]) -> str:
    """Return names as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def named(names: list[str]) -> str:
    """Return names as "a, b and c", or how many there are, if they are many."""
    return listed(names) if len(names) <= NAMED else f"{len(names)} others"


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval as text; "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def signed(value: Any) -> str:
    """Return a difference with its sign; "" if none."""
    text = number(value)
    return f"+{text}" if text.strip("-0.,") and not text.startswith("-") else text


def times(multiple: Any) -> str:
    """Return a multiple, such as "1.2 x"; "" if none."""
    if multiple is None or pd.isna(multiple):
        return ""
    digits = 0 if multiple >= 10 else 1
    return f"{multiple:.{digits}f}\N{MULTIPLICATION SIGN}"
