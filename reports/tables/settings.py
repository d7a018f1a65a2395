"""What tells two settings of one task apart: budget, data, protocol, precision, code."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import BOARD
from gapbench.reports.tables.words import decimal

_PLACE = ["task", "backbone", "start"]


def with_differences(table: pd.DataFrame, results: LoadedResults) -> pd.DataFrame:
    """Add the column `differs`: what the setting of a row has that others of its task have not.

    It holds fields and values, such as "budget.epochs 6", and says so too where runs that are
    compared were made by several versions of the code. It is empty where there is one setting.
    Suites make no difference here: an edited suite leaves its earlier runs in none.

    Args:
        table: rows with a `BOARD` and a `config_hash`.
        results: that holds the terms of each setting.
    """
    table["differs"] = ""
    for _, part in table.groupby(_PLACE, sort=False):
        terms = {name: results.terms.get(name, {}) for name in part["setting"] if name}
        for name, own in terms.items():
            others = [each for other, each in terms.items() if other != name]
            said = ", ".join(f"{key} {value}" for key, value in told_apart(own, others).items())
            table.loc[part.index[part["setting"] == name], "differs"] = said
    for _, board in table.groupby(BOARD, sort=False):
        if versions := _versions(results, board):
            said = f"{versions} versions of the code"
            own = table.loc[board.index, "differs"]
            table.loc[board.index, "differs"] = own.where(own == "", own + ", ") + said
    return table


def told_apart(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the terms of a setting that differ from those of any other one."""
    names = dict.fromkeys([*own, *(name for other in others for name in other)])
    return {
        name: _text(own.get(name))
        for name in names
        if any(other.get(name) != own.get(name) for other in others)
    }


def _versions(results: LoadedResults, board: pd.DataFrame) -> int:
    """Count the versions of the code that made the runs of a board; 0 if there is but one."""
    runs = results.runs
    own = runs[runs["config_hash"].isin(board["config_hash"]) & (runs["code_hash"] != "")]
    versions = own["code_hash"].nunique()
    return versions if versions > 1 else 0


def _text(value: Any) -> str:
    if isinstance(value, float) and "e" in repr(value):
        return decimal(value)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else f"{text[:37]}..."
