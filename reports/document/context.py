"""All that a report is made from, read once and handed to every section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.judgements import Judgements, judged_answers
from gapbench.reports.tables.leaderboard import BOARD
from gapbench.reports.tables.published_comparison import PublishedPair
from gapbench.reports.tables.second_tests import second_tests
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.tables.tuning import Tuned
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.model import Verdict


@dataclass(frozen=True, eq=False)
class Evidence:
    """A results folder and what was worked out from it.

    Attributes:
        results: its runs.
        summary: a row per cell, as `reports.tables.summary.summarise` returns it.
        published: figures of papers beside its rows.
        studies: what was tuned.
        colours: placeholder colour of each method.
        matters: least difference in score that matters; None for a default by metric.
    """

    results: LoadedResults
    summary: pd.DataFrame
    published: Sequence[PublishedPair]
    studies: Sequence[Tuned]
    colours: Mapping[str, str]
    matters: float | None = None

    @cached_property
    def boards(self) -> list[pd.DataFrame]:
        """The rows of `summary` that may be compared with each other, board by board."""
        return [board for _, board in self.summary.groupby(BOARD, sort=False)]

    @cached_property
    def second_tests(self) -> pd.DataFrame:
        """What rows reach on second tests; see `reports.tables.second_tests`."""
        return second_tests(self.results, self.summary)

    @cached_property
    def judgements(self) -> Judgements:
        """What judges say of answers; see `reports.tables.judgements`."""
        return judged_answers(self.results, self.summary)

    @cached_property
    def suite_summaries(self) -> list[SuiteSummary]:
        """What the tasks of each suite say together."""
        return suite_summaries(self.results, self.summary)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the data say: of suites of several tasks, then of other single tasks."""
        return verdicts(self.results, self.summary, self.matters, self.suite_summaries)

    @cached_property
    def by_board(self) -> list[Verdict]:
        """The verdict on each of `boards`."""
        single = [one for each in self.verdicts for one in each.everything if one.task]
        known = {tuple(getattr(one, name) for name in BOARD): one for one in single}
        return [known[tuple(board[BOARD].iloc[0])] for board in self.boards]
