"""Verdicts of a results folder: on every task, and on all tasks of a suite together."""

from collections.abc import Sequence

import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import BOARD
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.verdict.model import Verdict
from gapbench.reports.verdict.one_task import task_verdict
from gapbench.reports.verdict.over_tasks import suite_verdict


def verdicts(
    results: LoadedResults,
    summary: pd.DataFrame,
    matters: float | None = None,
    together: Sequence[SuiteSummary] | None = None,
) -> list[Verdict]:
    """Return what a results folder says: of suites of several tasks, then of other single tasks.

    Args:
        results: the folder.
        summary: the table of `reports.tables.summary.summarise`, which also holds the reference.
        matters: least difference in score that matters; None for a default by metric.
        together: what `suite_summaries` returns, if it is known.
    """
    boards = [board for _, board in summary.groupby(BOARD, sort=False)]
    tasks = {tuple(board[BOARD].iloc[0]): task_verdict(results, board, matters) for board in boards}
    found = []
    for suite in suite_summaries(results, summary) if together is None else together:
        own = [key for key, each in tasks.items() if _belongs(each, suite)]
        parts = tuple(tasks.pop(key) for key in own)
        found.append(suite_verdict(suite, parts, matters))
    return [*found, *tasks.values()]


def _belongs(task: Verdict, suite: SuiteSummary) -> bool:
    return (task.suite, task.start, task.protocol) == (
        suite.suite,
        suite.start,
        suite.protocol,
    ) and (suite.backbone in ("", task.backbone))
