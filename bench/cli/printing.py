"""Printing of tables and sentences by commands."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from gapbench.bench.core.errors import printable

_SHORTEST = 8


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print rows as an aligned table, its headings in words, or as JSON with names of fields."""
    if as_json:
        print(json.dumps(list(rows)))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        headings = [name.replace("_", " ").replace("mib", "MiB") for name in names]
        cells = [headings] + [[_cell(row.get(name)) for name in names] for row in rows]
        if sys.stdout.isatty():  # a pipe gets all of it
            cells = _fit(cells, get_terminal_size().columns)
        for line in cells:
            padded = (text.ljust(width) for text, width in zip(line, _widths(cells), strict=True))
            print("  ".join(padded).rstrip())


def _widths(cells: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _fit(cells: list[list[str]], columns: int) -> list[list[str]]:
    """Return a table that fits a terminal, if it can be made to.

    Columns that say the same in all rows are printed as a sentence above; then the longest texts
    are shortened, those of the first column last, since they name the rows.
    """
    widths = _widths(cells)
    if sum(widths) + 2 * (len(widths) - 1) > columns and len(cells) > 2:
        turned = [*zip(*cells, strict=True)]
        same = [column for column in turned if len(set(column[1:])) == 1]
        if same and len(same) < len(turned):
            told = ", ".join(f"{name} {value}" for name, value, *_ in same)
            print("\n".join(wrap(f"in all rows: {told}", columns, break_on_hyphens=False)))
            cells = [list(line) for line in zip(*(c for c in turned if c not in same), strict=True)]
            widths = _widths(cells)
    room = columns - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _SHORTEST:
        longest = max(widths[1:], default=0)
        column = widths.index(longest, 1) if longest > _SHORTEST else 0
        widths[column] -= 1
        for line in cells:
            if len(line[column]) > widths[column]:
                line[column] = line[column].removesuffix("~")[: widths[column] - 1] + "~"
    return cells


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences to stderr, one per line."""
    for note in notes:
        print(note, file=sys.stderr)


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))
