"""What all seeds of a run's cell say, for the model card of its adapter."""

from pathlib import Path

import pandas as pd

from gapbench.bench.api.results import Results
from gapbench.bench.core.errors import BenchError
from gapbench.bench.execution.model_card import SeedMeans
from gapbench.bench.store.record import Record

_COLUMNS = {"gap": "generalization_gap", "ece": "ece", "nll": "nll"}
"""Columns of the leaderboard by the beginning of the names of their intervals."""


def seed_means(results: Path, record: Record) -> SeedMeans | None:
    """Return the row of the leaderboard that a record belongs to.

    Returns:
        None if the folder has none, as where a record file from elsewhere was given.
    """
    try:
        table = Results(results).leaderboard(tasks=[record.cell.task.name])
    except BenchError:
        return None
    found = table[table["config_hash"] == record.cell_hash]
    if found.empty:
        return None
    row = found.iloc[0]
    columns = {row["metric"]: ("score", "score")}
    columns |= {name: (name, column) for name, column in _COLUMNS.items()}
    means = {
        name: (float(row[column]), _known(row[f"{ends}_ci_low"]), _known(row[f"{ends}_ci_high"]))
        for name, (ends, column) in columns.items()
        if pd.notna(row[column])
    }
    return SeedMeans(str(row["variant"]), int(row["n_seeds"]), int(row["n_failed"]), means)


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
