"""What CSV files hold beside scores: settings, paths of predictions, and curves."""

from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.results.rows import CURVE, SPLITS

_CELL = ["task", "backbone", "method", "variant", "seed"]


def with_settings(table: pd.DataFrame, results: LoadedResults) -> pd.DataFrame:
    """Return a table whose rows say how their method was set.

    Args:
        table: with a column `config_hash`.
        results: where the cells are.
    """
    if not results.cells:
        return table
    # Columns are those of the whole folder, whatever part of it the table is about.
    known = pd.DataFrame({name: _settings(results, name) for name in results.cells}).T
    known = known.apply(lambda column: column.astype("Int64") if _counts(column) else column)
    names = sorted(str(name) for name in known.columns)
    return table.join(known[names].infer_objects(), on="config_hash")


def with_predictions(runs: pd.DataFrame, results: LoadedResults) -> pd.DataFrame:
    """Return runs with the path of their stored predictions, "" where there are none."""
    paths = [path.removesuffix(".json") + ".parquet" if path else "" for path in runs["path"]]
    root = results.store.root
    known = [path if path and (root / path).exists() else "" for path in paths]
    place = runs.columns.get_loc("path")
    runs = runs.copy()
    runs.insert(int(place) + 1, "predictions", known)  # type: ignore[arg-type]
    return runs


def _settings(results: LoadedResults, config_hash: str) -> dict[str, Any]:
    record = results.cells[config_hash]
    training = record.cell.training.model_dump(mode="json", exclude_none=True)
    found = {f"config.{name}": value for name, value in record.cell.config.items()}
    found |= {f"training.{name}": value for name, value in training.items()}
    found |= {f"drop.{drop.position}": drop.rate for drop in results.drops.get(config_hash, ())}
    return {name: v for name, v in found.items() if isinstance(v, bool | int | float | str)}


def _counts(values: "pd.Series[Any]") -> bool:
    known = values.dropna()
    return len(known) > 0 and all(isinstance(v, int) and not isinstance(v, bool) for v in known)


def curves(results: LoadedResults) -> pd.DataFrame:
    """Return scores and losses along training, one row for each run, step and scored split."""
    runs = results.runs.drop_duplicates("run_hash").set_index("run_hash")
    whole = {run: points for run, points in results.curves.items() if run in runs.index}
    columns = ["run_hash", *_CELL, "step", "split", "score", "loss"]
    if not whole:
        return pd.DataFrame(columns=columns)
    hashes = np.repeat(list(whole), list(map(len, whole.values())))
    wide = pd.DataFrame(np.concatenate(list(whole.values())), columns=list(CURVE))
    wide = wide.assign(run_hash=hashes).join(runs[_CELL], on="run_hash")
    parts = [
        wide.assign(split=split, score=wide[f"{split}_score"], loss=wide[f"{split}_loss"])
        for split in SPLITS
    ]
    table = pd.concat(parts)[columns].astype({"step": "int64"})
    table = table.dropna(subset=["score", "loss"], how="all")
    return table.sort_values(["run_hash", "step"], kind="stable", ignore_index=True)
