"""What tells two settings of one task apart: budget, data, protocol, precision, code."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gapbench.reports.results.load import Results
from gapbench.reports.tables.leaderboard import BLOCK

_CODE = "code"


def differing(
    results: Results, blocks: Sequence[pd.DataFrame]
) -> dict[tuple[Any, ...], dict[str, str]]:
    """Return for blocks of one task and several settings what each has that others have not.

    Args:
        results: that holds the terms of each setting.
        blocks: of the table of `reports.tables.summary.summarise`.

    Returns:
        Field and value, such as {"budget.epochs": "6"}, by the `BLOCK` of those blocks alone; also
        of blocks whose runs were made by several versions of the code.
    """
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    places: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for block in blocks:
        key = tuple(block[BLOCK].iloc[0])
        places.setdefault(key[:-1], []).append(key)
        if versions := _versions(results, block):
            found[key] = {_CODE: f"{len(versions)} versions: {', '.join(versions)}"}
    for keys in places.values():
        terms = {key: results.terms.get(key[-1], {}) for key in keys}
        for key in keys if len(keys) > 1 else ():
            others = [each for other, each in terms.items() if other != key]
            found[key] = told_apart(terms[key], others) | found.get(key, {})
    return found


def told_apart(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the terms of a setting that differ from those of any other one."""
    names = dict.fromkeys([*own, *(name for other in others for name in other)])
    return {
        name: _text(own.get(name))
        for name in names
        if any(other.get(name) != own.get(name) for other in others)
    }


def _versions(results: Results, block: pd.DataFrame) -> list[str]:
    """Return the versions of the code that made the runs of a block, if there are several."""
    runs = results.runs
    own = runs[runs["config_hash"].isin(block["config_hash"]) & (runs["code_hash"] != "")]
    versions = [str(each)[:8] for each in dict.fromkeys(own["code_hash"])]
    return versions if len(versions) > 1 else []


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else f"{text[:37]}..."
