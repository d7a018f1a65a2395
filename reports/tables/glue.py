"""What counts of GLUE's nine tasks in that benchmark's average (Wang et al. 2019, section 3.4).

A task that has several metrics, or two test sets, counts as their plain mean; the average is the
mean over tasks. The test sets are the development sets, as GLUE's own test labels are private.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from gapbench.reports.results.items import ScoredCell, samples
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.row_samples import estimates_of, with_lost
from gapbench.reports.tables.standing import Standing, compared, over_untrained

GLUE: Mapping[str, tuple[str, ...]] = {
    "cola": ("test/matthews_correlation",),
    "sst2": ("test/accuracy",),
    "mrpc": ("test/f1", "test/accuracy"),
    "stsb": ("test/pearson", "test/spearman"),
    "qqp": ("test/f1", "test/accuracy"),
    "mnli": ("test/accuracy", "mismatched/accuracy"),
    "qnli": ("test/accuracy",),
    "rte": ("test/accuracy",),
    "wnli": ("test/accuracy",),
}
"""What counts of each task."""


def counted(results: LoadedResults, found: Standing) -> Standing:
    """Return a board with what its rows are in the GLUE average, where the score alone is not.

    Done with each board, since the predictions of its runs are in memory then.
    """
    known = {name: row for name, row in found.rows.items() if found.scores[name]}
    first = next(iter(known.values()), None)
    runs = results.runs
    if first is None or len(GLUE.get(first.task, ())) < 2:
        return found
    if not set(GLUE) <= set(runs.loc[runs["suite"] == first.suite, "task"]):
        return found
    parts = recorded(runs, first.task, first.metric)
    several = samples(results, {name: scored(row, parts) for name, row in known.items()})
    several = {name: sample for name, sample in several.items() if sample.scores}
    several = with_lost(several, {name: known[name] for name in several}, up=found.upward)
    ranked = {n: several[n] for n in found.ranked if n in several and not several[n].unknown}
    bare = {n: each for n, each in several.items() if found.status[n] == "untrained"}
    alpha = found.alpha_of("score")
    own = replace(
        found,
        scores={name: sample.scores for name, sample in several.items()},
        estimates={"score": estimates_of(several, found.status)},
        families={
            **found.families,
            "score": compared(found.rows, ranked, alpha, found.reference),
        },
        untrained=over_untrained(found.rows, ranked, bare, alpha),
    )
    return replace(found, in_glue=own)


def recorded(runs: pd.DataFrame, task: str, main: str) -> dict[str, dict[str, float]]:
    """Return what counts of each run of a task by its hash; runs that lack a part are absent.

    Args:
        runs: the table of `reports.results.load`.
        task: one of the nine.
        main: its main metric.
    """
    columns = {
        part.removeprefix("test/"): "test_score" if part == f"test/{main}" else part
        for part in GLUE[task]
    }
    if not set(columns.values()) <= set(runs.columns):
        return {}
    own = runs.loc[runs["task"] == task, ["run_hash", *columns.values()]].dropna()
    return {
        str(run_hash): dict(zip(columns, map(float, parts), strict=True))
        for run_hash, *parts in own.itertuples(index=False)
    }


def scored(row: Any, known: Mapping[str, Mapping[str, float]]) -> ScoredCell:
    """Return the runs of a row that have all that counts.

    Args:
        row: of the table of `reports.tables.summary.summarise`.
        known: as `recorded` returns it, of the row's task.
    """
    runs = row.ok_runs.items()
    return ScoredCell(row.config_hash, {seed: known[run] for seed, run in runs if run in known})
