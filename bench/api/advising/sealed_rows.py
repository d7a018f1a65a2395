"""What the final runs say on the sealed test rows."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.model import Verdict


def verdict_of(
    folder: Path, suite: str, runs: Collection[str], reference: str, matters: float
) -> Verdict:
    """Return the verdict of final runs on their test rows.

    Args:
        folder: results folder; what else it holds does not count.
        suite: name of the suite that the runs were planned in.
        runs: their hashes.
        reference: name of the row that others are compared with first.
        matters: least difference in score that matters.
    """
    results = load(Store(folder))
    own = results.runs[(results.runs["suite"] == suite) & results.runs["run_hash"].isin(runs)]
    part = replace(results, runs=own.reset_index(drop=True))
    return verdicts(part, summarise(part, reference), matters)[0]
