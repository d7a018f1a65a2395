"""Which methods a figure with room for a few shows: never by chance, and said beside it."""

import pandas as pd

from reports.figures.block import REFERENCE
from reports.leaderboard import rows

DETAILED = 6
"""How many tasks have figures of their own; overviews and tables hold all."""


def chosen(table: pd.DataFrame, by: str, most: int) -> pd.DataFrame:
    """Return at most so many rows: the leader, the reference, then the extremes by turns.

    Args:
        table: rows that may be compared, best first.
        by: the column whose largest and smallest values are wanted.
        most: number of rows, at least 1.

    Returns:
        The rows in their order.
    """
    if len(table) <= most:
        return table
    places = [0]
    reference = [
        (row.variant != "default", place)
        for place, row in enumerate(rows(table))
        if row.method == REFERENCE
    ]
    places += [place for _, place in sorted(reference)[:1]]
    order = [int(place) for place in table[by].reset_index(drop=True).sort_values().index]
    ends = [end for pair in zip(reversed(order), order, strict=True) for end in pair]
    picked = list(dict.fromkeys([*places, *ends]))[:most]
    return table.iloc[sorted(picked)]


def left_out(drawn: int, of: int, extremes: str) -> str:
    """Say which methods are drawn where not all are, as a sentence with a space before it.

    Args:
        drawn: number of methods in the figure.
        of: number that could be.
        extremes: what the extremes are in, such as "gap".
    """
    if drawn == of:
        return ""
    return (
        f" {drawn} of {of} methods are drawn: the leader, {REFERENCE}, and those with the largest "
        f"and the smallest {extremes}; the tables and runs.csv hold all."
    )
