"""Which methods and tasks are drawn where there is no room for all: never by chance, and said."""

import pandas as pd

from gapbench.reports.document.model import Text
from gapbench.reports.tables.leaderboard import rows

_ALL, _FIRST = 8, 2


def chosen(table: pd.DataFrame, by: str, most: int, reference: str) -> pd.DataFrame:
    """Return at most so many rows: the leader, the reference, then the extremes by turns.

    Args:
        table: rows that may be compared, best first.
        by: the column whose largest and smallest values are wanted.
        most: number of rows, at least 1.
        reference: name of the row that others are compared with.

    Returns:
        The rows in their order.
    """
    if len(table) <= most:
        return table
    places = [0]
    names = [row.name for row in rows(table)]
    places += [names.index(reference)] if reference in names else []
    order = [int(place) for place in table[by].reset_index(drop=True).sort_values().index]
    ends = [end for pair in zip(reversed(order), order, strict=True) for end in pair]
    picked = list(dict.fromkeys([*places, *ends]))[:most]
    return table.iloc[sorted(picked)]


def left_out(drawn: int, of: int, extremes: str, reference: str) -> str:
    """Say which methods are drawn where not all are, as a sentence with a space before it.

    Args:
        drawn: number of methods in the figure.
        of: number that could be.
        extremes: what the extremes are in, such as "gap".
        reference: name of the row that others are compared with, "" if there is none.
    """
    if drawn == of:
        return ""
    leaders = " and ".join(filter(None, ("the leader", reference)))
    return (
        f" {drawn} of {of} methods are drawn: {leaders}, and those with the largest and the "
        f"smallest {extremes}; the tables hold all."
    )


def detailed(of: int) -> int:
    """Return how many of so many tasks have figures of their own: all, or the first few of many."""
    return of if of <= _ALL else _FIRST


def undrawn(of: int) -> list[Text]:
    """Say how many tasks have figures of their own, and how to get those of others.

    Args:
        of: number of tasks and backbones that could have some.

    Returns:
        A paragraph, none where all are drawn.
    """
    if detailed(of) == of:
        return []
    text = (
        f"The first {detailed(of)} of {of} tasks and backbones have figures of their own here. "
        "Tables and overviews hold all; gapbench report --tasks NAME --backbones NAME draws the "
        "figures of others."
    )
    return [Text(text, quiet=True)]
