"""Second tests of trained methods: their scores, differences, and what training changed.

Rows are compared as in their main score: on common seeds and items, with intervals that hold
together. All second tests of a board share one level. Calibration on them is not measured.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gapbench.bench.config.run import SecondTest
from gapbench.bench.metrics.base import Metric
from gapbench.bench.store.record_io import BARE
from gapbench.reports.results.frames import typed
from gapbench.reports.results.items import Quantity, Scored, samples
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.tables.leaderboard import BOARD, rows
from gapbench.reports.tables.standing import (
    Standing,
    comparable,
    compared,
    level_of,
    mean_columns,
    to_reference,
)

COLUMNS = (
    *("suite", "task", "backbone", "start", "method", "variant", "test"),
    *("metric", "higher_is_better", "n_seeds", "own_test"),
    *("score", "score_ci_low", "score_ci_high"),
    *("reference", "vs_reference", "vs_reference_low", "vs_reference_high", "vs_reference_claim"),
    *("bare", "change", "change_ci_low", "change_ci_high"),
    *("missing", "setting", "config_hash"),
)
_TEXT = {
    *("suite", "task", "backbone", "start", "method", "variant", "test", "metric"),
    *("reference", "vs_reference_claim", "missing", "setting", "config_hash", "name"),
}


def second_tests(results: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each cell and second test that was scored, in the leaderboard's order.

    Args:
        results: where records and predictions are.
        summary: the table of `reports.tables.summary.summarise`.

    Returns:
        `COLUMNS`, of which the data dictionary says what they mean, and `name`, that of the row in
        `standing`. `change` is the score minus that of the bare backbone, empty where that has no
        head of its own.
    """
    whole = results.whole or results
    runs = whole.runs.drop_duplicates("run_hash").set_index("run_hash")
    content: list[dict[str, Any]] = []
    for _, board in summary.groupby(BOARD, sort=False):
        shown = list(rows(board))
        record = next(
            (whole.cells[r.config_hash] for r in shown if r.config_hash in whole.cells), None
        )
        tests = record.cell.also_test if record else ()
        for test in tests:
            found = _Tested(whole, runs, shown[0].standing, test, len(tests))
            content += found.lines(shown) if found.known else ()
    frame = pd.DataFrame(content, columns=[*COLUMNS, "name"])
    return typed(frame, _TEXT, {"n_seeds"})


class _Tested:
    """All rows of a board on one second test."""

    def __init__(
        self,
        results: Results,
        runs: pd.DataFrame,
        standing: Standing,
        test: SecondTest,
        tests: int,
    ) -> None:
        self._runs, self._standing, self._test = runs, standing, test
        self._untested = results.untested
        self._metric: Metric = test.task.metric
        self._column = f"{test.name}/{self._metric.name}"
        self._bare = f"{test.name}/{BARE}{self._metric.name}"
        own = {name: self._scored(row, [self._column]) for name, row in standing.rows.items()}
        both = {
            name: self._scored(row, [self._column, self._bare])
            for name, row in standing.rows.items()
        }
        self._scores = _known(results, own, "score")
        self._changes = _known(results, both, "change")
        alpha = standing.alpha * level_of("score", self._metric.range) / tests
        ranked = {
            name: Sample(standing.scores[name]) for name in standing.ranked if name in self._scores
        }
        self._family = compared(
            standing.rows, comparable(self._scores, ranked), alpha, standing.reference
        )

    @property
    def known(self) -> bool:
        """Whether any row has a score."""
        return bool(self._scores)

    def lines(self, shown: list[Any]) -> Iterator[dict[str, Any]]:
        """Yield a line for each row of the board, as far as it is shown."""
        status = self._standing.status
        for row in shown:
            line = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
            yield line | {
                "name": row.name,
                "test": self._test.name,
                "metric": self._metric.name,
                "higher_is_better": self._metric.higher_is_better,
                "n_seeds": len(self._scores[row.name].scores) if row.name in self._scores else 0,
                "own_test": self._own_test(row),
                "reference": self._standing.reference,
                "bare": self._mean(row, self._bare),
                **mean_columns(self._scores.get(row.name), "score", status[row.name]),
                **mean_columns(self._changes.get(row.name), "change", status[row.name]),
                **to_reference(
                    self._family,
                    row.name,
                    self._standing.reference,
                    upward=self._metric.higher_is_better,
                ),
                "missing": self._missing(row),
            }

    def _scored(self, row: Any, columns: list[str]) -> Scored:
        """Return the recorded values of a row's runs, of those that have all of them."""
        known: dict[str, dict[Any, Any]] = {
            name: self._runs[name].dropna().to_dict() for name in columns if name in self._runs
        }
        found = {
            seed: {name: float(known[name][run]) for name in columns}
            for seed, run in row.ok_runs.items()
            if all(run in known.get(name, ()) for name in columns)
        }
        return Scored(row.config_hash, found)

    def _mean(self, row: Any, column: str) -> float | None:
        values = self._scored(row, [column]).scores.values()
        return math.fsum(each[column] for each in values) / len(values) if values else None

    def _missing(self, row: Any) -> str:
        """Return why runs of a row, or the bare backbone, have no score; "" if all have."""
        runs = [self._untested.get(run, {}) for run in row.ok_runs.values()]
        own = Counter(each[self._test.name] for each in runs if self._test.name in each)
        bare = {each[name] for each in runs if (name := f"{self._test.name}, {BARE}") in each}
        return "; ".join(
            [
                *(f"{n} of {len(runs)} runs without a score: {why}" for why, n in own.items()),
                *(f"the bare backbone has no score: {why}" for why in sorted(bare)),
            ]
        )

    def _own_test(self, row: Any) -> float | None:
        """Return the same metric on the task's own test split, where it is recorded."""
        if self._metric.name == row.metric:
            return None if pd.isna(row.score) else float(row.score)
        return self._mean(row, f"test/{self._metric.name}")


def _known(results: Results, cells: Mapping[str, Scored], outcome: Quantity) -> dict[str, Sample]:
    """Return the samples of those cells that have any value."""
    known = {name: each for name, each in cells.items() if each.scores}
    return samples(results, known, outcome)
