"""How the files of a report are written: as new ones, and as tables that hold no formulas.

A link that stands in a file's place is replaced, not followed. Names are data: a spreadsheet would
run some of them as formulas, were they not marked as text.
"""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gapbench.bench.core.files import new_file

_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


def put(path: Path, content: str | bytes) -> None:
    """Write a file, in place of what is there.

    Raises:
        OSError: if it cannot be written.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def put_table(path: Path, table: pd.DataFrame, counts: Iterable[str] = ()) -> None:
    """Write a table as CSV, in place of what is there.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Numbers have 12
    significant digits, beyond which is but rounding.

    Args:
        path: the file.
        table: to be written.
        counts: columns to be written as whole numbers in all their digits.

    Raises:
        OSError: if it cannot be written.
    """
    whole, text = set(counts), io.StringIO()
    # Not `to_csv`, which takes twice as long on the points of many curves.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_inert, table.columns))
    columns = [_cells(column, whole=name in whole) for name, column in table.items()]
    writer.writerows(zip(*columns, strict=True))
    put(path, text.getvalue())


def _cells(column: "pd.Series[Any]", *, whole: bool) -> list[Any]:
    """Return what stands in each row of a column, "" where it has no value."""
    if column.dtype == "float64":
        # Operations of training may be more than 64 bits hold.
        shown = round if whole else "{:.12g}".format
        values, known = column.tolist(), (np.isfinite(column) if whole else column.notna()).tolist()
        return [shown(v) if is_known else "" for v, is_known in zip(values, known, strict=True)]
    cells = column.astype(object).where(column.notna(), "").tolist()
    # Texts are looked at once each: a long table repeats few of them.
    texts = column.unique() if column.dtype.kind == "O" else ()
    return [*map(_inert, cells)] if any(_inert(each) is not each for each in texts) else cells


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # it would end a row unquoted
    formula = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{text}" if formula else text
