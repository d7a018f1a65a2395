"""Second tests of trained methods: their scores, differences, and what training changed.

Rows are compared as in their main score: on common seeds and items, with intervals that hold
together. All second tests of a board share one level. Their calibration errors and the scores of
groups of parts, calibration errors too, are means over seeds without intervals.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from gapbench.bench.config.run import SecondTest
from gapbench.bench.metrics.base import Metric
from gapbench.bench.store.record_io import BARE
from gapbench.reports.results.frames import typed
from gapbench.reports.results.items import Quantity, ScoredCell, samples
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.outcomes import level_of
from gapbench.reports.tables.row_samples import comparable, mean_columns
from gapbench.reports.tables.standing import Standing, compared, to_reference

COLUMNS = (
    *("suite", "task", "backbone", "start", "method", "variant", "test"),
    *("metric", "higher_is_better", "n_seeds", "n_items", "own_test"),
    *("score", "score_ci_low", "score_ci_high"),
    *("reference", "vs_reference", "vs_reference_low", "vs_reference_high", "vs_reference_claim"),
    *("bare", "change", "change_ci_low", "change_ci_high"),
    *("ece", "missing", "setting", "config_hash"),
)
_TEXT = {
    *("suite", "task", "backbone", "start", "method", "variant", "test", "metric"),
    *("reference", "vs_reference_claim", "missing", "setting", "config_hash", "name"),
}


def second_tests(results: LoadedResults, summary: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each cell and second test that was scored, in the leaderboard's order.

    Args:
        results: where records and predictions are.
        summary: the table of `reports.tables.summary.summarise`.

    Returns:
        `COLUMNS`, of which the data dictionary says what they mean; `name`, that of the row in
        `standing`; and by name, of each group of parts that has them, the mean score in `groups`
        and the mean calibration error in `group_eces`. `change` is the score minus that of the
        bare backbone, empty where that has no head of its own.
    """
    content: list[dict[str, Any]] = []
    for _, board in summary.groupby(BOARD, sort=False):
        for found in tested(results, board):
            content += found.lines(list(rows(board)))
    frame = pd.DataFrame(content, columns=[*COLUMNS, "name", "groups", "group_eces"])
    return typed(frame, _TEXT, {"n_seeds", "n_items"}, {"groups", "group_eces"})


def tested(results: LoadedResults, board: pd.DataFrame) -> list["Tested"]:
    """Return the second tests of a board on which any row has a score.

    Args:
        results: where records and predictions are.
        board: rows of `reports.tables.summary.summarise` that are compared.
    """
    whole = results.whole or results
    runs = whole.runs.drop_duplicates("run_hash").set_index("run_hash")
    records = [whole.cells[key] for key in board["config_hash"] if key in whole.cells]
    tests = records[0].cell.also_test if records else ()
    standing: Standing = board["standing"].iloc[0]
    found = [Tested(whole, runs, standing, test, len(tests)) for test in tests]
    return [each for each in found if each.scores]


class Tested:
    """All rows of a board on one second test.

    Attributes:
        name: of the test.
        metric: of its scores.
        scores: of each row that has any, by name.
        family: of the rows that are compared.
    """

    def __init__(
        self,
        results: LoadedResults,
        runs: pd.DataFrame,
        standing: Standing,
        test: SecondTest,
        tests: int,
    ) -> None:
        self.name = test.name
        self.metric: Metric = test.task.metric
        self._results, self._runs, self._standing = results, runs, standing
        self._column = f"{test.name}/{self.metric.name}"
        self._bare = f"{test.name}/{BARE}{self.metric.name}"
        self._groups = list(test.task.part_groups)
        self.scores = self._samples([self._column], "score")
        alpha = standing.alpha * level_of("score", self.metric.range) / tests
        ranked = {
            name: Sample(standing.scores[name]) for name in standing.ranked if name in self.scores
        }
        self.family = compared(
            standing.rows, comparable(self.scores, ranked), alpha, standing.reference
        )

    def lines(self, shown: list[Any]) -> Iterator[dict[str, Any]]:
        """Yield a line for each row of the board, as far as it is shown."""
        status = self._standing.status
        changes = self._samples([self._column, self._bare], "change")
        for row in shown:
            line = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
            yield line | {
                "name": row.name,
                "test": self.name,
                "metric": self.metric.name,
                "higher_is_better": self.metric.higher_is_better,
                "n_seeds": len(self.scores[row.name].scores) if row.name in self.scores else 0,
                "n_items": self.scores[row.name].n_items if row.name in self.scores else 0,
                "own_test": self._own_test(row),
                "reference": self._standing.reference,
                "bare": self._mean(row, self._bare),
                **mean_columns(self.scores.get(row.name), "score", status[row.name]),
                **mean_columns(changes.get(row.name), "change", status[row.name]),
                **to_reference(
                    self.family,
                    row.name,
                    self._standing.reference,
                    upward=self.metric.higher_is_better,
                ),
                "ece": self._mean(row, f"{self.name}/ece"),
                "missing": self._missing(row),
                "groups": self._of_groups(row, self._column),
                "group_eces": self._of_groups(row, f"{self.name}/ece"),
            }

    def _samples(self, columns: list[str], outcome: Quantity) -> dict[str, Sample]:
        """Return the samples of the rows that have any value."""
        found = {name: self._scored(row, columns) for name, row in self._standing.rows.items()}
        known = {name: each for name, each in found.items() if each.scores}
        return samples(self._results, known, outcome)

    def _scored(self, row: Any, columns: list[str]) -> ScoredCell:
        """Return the recorded values of a row's runs, of those that have all of them."""
        known: dict[str, dict[Any, Any]] = {
            name: self._runs[name].dropna().to_dict() for name in columns if name in self._runs
        }
        found = {
            seed: {name: float(known[name][run]) for name in columns}
            for seed, run in row.ok_runs.items()
            if all(run in known.get(name, ()) for name in columns)
        }
        return ScoredCell(row.config_hash, found)

    def _of_groups(self, row: Any, column: str) -> dict[str, float]:
        """Return the mean of a column of each group of parts that has it."""
        found = {name: self._mean(row, f"{column}/{name}") for name in self._groups}
        return {name: mean for name, mean in found.items() if mean is not None}

    def _mean(self, row: Any, column: str) -> float | None:
        values = self._scored(row, [column]).scores.values()
        return math.fsum(each[column] for each in values) / len(values) if values else None

    def _missing(self, row: Any) -> str:
        """Return why runs of a row, or the bare backbone, have no score; "" if all have."""
        runs = [self._results.untested.get(run, {}) for run in row.ok_runs.values()]
        own = Counter(each[self.name] for each in runs if self.name in each)
        bare = {each[name] for each in runs if (name := f"{self.name}, {BARE}") in each}
        return "; ".join(
            [
                *(f"{n} of {len(runs)} runs without a score: {why}" for why, n in own.items()),
                *(f"the bare backbone has no score: {why}" for why in sorted(bare)),
            ]
        )

    def _own_test(self, row: Any) -> float | None:
        """Return the same metric on the task's own test split, where it is recorded."""
        if self.metric.name == row.metric:
            return None if pd.isna(row.score) else float(row.score)
        return self._mean(row, f"test/{self.metric.name}")
