"""Stored test predictions of a leaderboard row, and their distance to the true probabilities."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.reports.results.load import LoadedResults
from gapbench.reports.stats.reliability import Reliability, reliability

Floats = NDArray[np.float64]

_READ = re.compile(r"label|(logit|true_probability)_\d+").fullmatch


@dataclass(frozen=True)
class Predicted:
    """The test predictions of a row that give probabilities, all seeds pooled.

    Attributes:
        logits: (n, n_classes), minus infinity for a choice that an item does not have.
        labels: the classes that were drawn, (n,).
        true_probabilities: of the classes, (n, n_classes); None where they are unknown.
        seeds: of the run of each prediction, (n,).
        temperatures: fitted on validation in the run of each prediction, (n,), NaN if none was.
    """

    logits: Floats
    labels: NDArray[np.int64]
    true_probabilities: Floats | None
    seeds: NDArray[np.int64]
    temperatures: Floats

    @property
    def reliability(self) -> dict[int, Reliability]:
        """The bins of each run, by seed; the mean over runs of their gaps is the printed ECE."""
        true, found = self.true_probabilities, {}
        for seed in dict.fromkeys(self.seeds.tolist()):
            own = self.seeds == seed
            known = None if true is None else true[own]
            found[seed] = reliability(self.logits[own], self.labels[own], known)
        return found

    def distance(self, *, calibrated: bool) -> float | None:
        """Return the mean total variation distance to the true probabilities.

        That is half the sum over classes of the absolute differences: 0 is equal, 1 is certain of
        what is impossible. Of two classes it is the difference in the probability of one of them.

        Args:
            calibrated: whether each run's temperature is applied.

        Returns:
            The mean over predictions; None where they or a temperature are unknown.
        """
        if self.true_probabilities is None or (calibrated and np.isnan(self.temperatures).any()):
            return None
        logits = self.logits / self.temperatures[:, None] if calibrated else self.logits
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        return float(np.abs(probabilities - self.true_probabilities).sum(axis=1).mean() / 2)


def predicted(results: LoadedResults, row: Any, temperatures: dict[str, float]) -> Predicted | None:
    """Return the test predictions of one row of a `summarise` table; None if there are none.

    Args:
        results: where they are stored.
        row: with its finished runs.
        temperatures: by run hash, of the runs that have one.
    """
    tables, seeds, fitted = [], [], []
    for seed, run in row.ok_runs.items():
        items = results.items(row.config_hash, seed)
        if items is not None:
            tables.append(items.table.select([n for n in items.table.column_names if _READ(n)]))
            seeds.append(np.full(items.table.num_rows, seed, np.int64))
            fitted.append(np.full(items.table.num_rows, temperatures.get(run, np.nan)))
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="permissive")
    logits = _numbered(table, "logit_")
    logits[np.isnan(logits)] = -np.inf  # null where a question has fewer choices than others
    known = (np.isfinite(logits).sum(axis=1) > 1) & (logits < np.inf).all(axis=1)
    if not known.any():
        return None
    true = np.nan_to_num(_numbered(table, "true_probability_"))
    return Predicted(
        logits=logits[known],
        labels=table["label"].to_numpy()[known],
        true_probabilities=true[known] if true.shape[1] else None,
        seeds=np.concatenate(seeds)[known],
        temperatures=np.concatenate(fitted)[known],
    )


def _numbered(table: pa.Table, prefix: str) -> Floats:
    """Return the columns ``prefix0``, ``prefix1``, ... in this order, (n, columns)."""
    width = sum(name.startswith(prefix) for name in table.column_names)
    found = np.empty((table.num_rows, width))
    for place in range(width):
        found[:, place] = table[f"{prefix}{place}"].to_numpy()
    return found
