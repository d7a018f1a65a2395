"""Types of the columns of tables, so that an empty cell is empty and a count has no decimals."""

from collections.abc import Collection

import numpy as np
import pandas as pd

_TEXT = pd.StringDtype("python", na_value=np.nan)
"""Text as Python objects: rows are read one by one, which takes Arrow's texts far longer."""


def typed(
    table: pd.DataFrame,
    texts: Collection[str],
    counts: Collection[str],
    objects: Collection[str] = (),
) -> pd.DataFrame:
    """Return a table whose columns each have their type.

    Args:
        table: numbers and texts, or None. `higher_is_better` holds truth values, and what is not
            named below floats.
        texts: names of columns of text, "" where there is none.
        counts: names of columns of whole numbers; means of these are rounded.
        objects: names of columns that stay as they are.
    """
    for name in table.columns.drop(list(objects)):
        if name in texts:
            table[name] = table[name].astype(_TEXT).fillna("")
        elif name == "higher_is_better":
            table[name] = table[name].astype("boolean")
        elif name in counts:
            table[name] = pd.to_numeric(table[name]).round().astype("Int64")
        else:
            table[name] = pd.to_numeric(table[name]).astype("float64")
    return table.copy()  # in one block for each type, of which rows are read twice as fast
