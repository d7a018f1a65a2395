"""Stored test predictions of a leaderboard row, and their distance to the true probabilities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.reports.results.load import Results

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """The test predictions of a row that give probabilities, all seeds pooled.

    Attributes:
        logits: (n, n_classes), minus infinity for a choice that an item does not have.
        labels: the classes that were drawn, (n,).
        truth: true class probabilities, (n, n_classes); None where they are unknown.
        temperatures: fitted on validation in the run of each prediction, (n,), NaN if none was.
    """

    logits: Floats
    labels: NDArray[np.int64]
    truth: Floats | None
    temperatures: Floats

    def distance(self, *, scaled: bool) -> float | None:
        """Return the mean total variation distance to the true probabilities.

        That is half the sum over classes of the absolute differences: 0 is equal, 1 is certain of
        what is impossible. Of two classes it is the difference in the probability of one of them.

        Args:
            scaled: whether each run's temperature is applied.

        Returns:
            The mean over predictions; None where the truth or a temperature is unknown.
        """
        if self.truth is None or (scaled and np.isnan(self.temperatures).any()):
            return None
        logits = self.logits / self.temperatures[:, None] if scaled else self.logits
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        return float(np.abs(probabilities - self.truth).sum(axis=1).mean() / 2)


def predicted(results: Results, row: Any, temperatures: dict[str, float]) -> Predicted | None:
    """Return the test predictions of one row of a `summarise` table; None if there are none.

    Args:
        results: where they are stored.
        row: with its finished runs.
        temperatures: by run hash, of the runs that have one.
    """
    frames = []
    for seed, run in row.ok_runs.items():
        frame = results.predictions(row.config_hash, seed)
        if frame is not None:
            frames.append(frame.assign(temperature=temperatures.get(run, np.nan)))
    if not frames:
        return None
    frame = pd.concat(frames) if len(frames) > 1 else frames[0]
    logits = _numbered(frame, "logit_")
    logits[np.isnan(logits)] = -np.inf  # null where a question has fewer choices than others
    known = (np.isfinite(logits).sum(axis=1) > 1) & (logits < np.inf).all(axis=1)
    if not known.any():
        return None
    truth = np.nan_to_num(_numbered(frame, "true_probability_"))
    return Predicted(
        logits=logits[known],
        labels=frame["label"].to_numpy()[known],
        truth=truth[known] if truth.shape[1] else None,
        temperatures=frame["temperature"].to_numpy(np.float64)[known],
    )


def _numbered(frame: pd.DataFrame, prefix: str) -> Floats:
    """Return the columns ``prefix0``, ``prefix1``, ... in this order, (n, columns)."""
    width = sum(name.startswith(prefix) for name in frame.columns)
    return frame[[f"{prefix}{place}" for place in range(width)]].to_numpy(np.float64, copy=True)
