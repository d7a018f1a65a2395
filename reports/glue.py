"""What counts of GLUE's nine tasks in that benchmark's average (Wang et al. 2019, section 3.4).

A task that has several metrics, or two test sets, counts as their plain mean; the average is the
mean over tasks. The test sets are the development sets, as GLUE's own test labels are private.
"""

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from reports.items import Scored

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


def scored(row: Any, runs: pd.DataFrame) -> Scored:
    """Return the runs of a row that have all that counts of their task.

    Args:
        row: of the table of `reports.leaderboard.summarise`, of one of the nine tasks.
        runs: the table of `reports.load`.
    """
    wanted = runs[runs["run_hash"].isin(row.ok_runs.values())].drop_duplicates("run_hash")
    main = f"test/{row.metric}"
    columns = {part: "test_score" if part == main else part for part in GLUE[row.task]}
    absent = [column for column in columns.values() if column not in wanted]
    known = wanted.dropna(subset=list(columns.values())) if not absent else wanted[:0]
    return Scored(
        row.config_hash,
        {
            int(run["seed"]): {
                part.removeprefix("test/"): float(run[column]) for part, column in columns.items()
            }
            for run in cast("list[dict[str, Any]]", known.to_dict("records"))
        },
    )
