"""What the final runs say on the sealed test rows."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.model import Verdict


def verdict_of(folder: Path, cells: Collection[str], reference: str, matters: float) -> Verdict:
    """Return the verdict of final runs on their test rows.

    Args:
        folder: results folder; what else it holds does not count.
        cells: hashes of the cells that were scored.
        reference: name of the row that others are compared with first.
        matters: least difference in score that matters.
    """
    results = load(Store(folder))
    own = results.runs[results.runs["config_hash"].isin(cells)].reset_index(drop=True)
    part = replace(results, runs=own)
    return verdicts(part, summarise(part, reference), matters)[0]
