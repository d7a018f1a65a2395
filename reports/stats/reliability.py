"""How far the confidence of predictions may be believed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.reports.stats.intervals import Floats


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness in bins of equal width; empty bins hold NaN.

    Attributes:
        counts: examples of each bin, `(bins,)`.
        confidence: their mean probability of the predicted class, `(bins,)`.
        accuracy: share of them that are right, `(bins,)`.
        expected: mean true probability of the predicted class, `(bins,)`, None where unknown.
    """

    counts: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    expected: Floats | None


def reliability(
    logits: NDArray[Any], labels: NDArray[Any], truth: NDArray[Any] | None = None, bins: int = 15
) -> Reliability:
    """Bin test predictions by confidence, a value on an edge belonging to the bin above it.

    Args:
        logits: `(n, n_classes)`; minus infinity for a class that an example does not have.
        labels: true classes, `(n,)`.
        truth: true class probabilities, `(n, n_classes)`, where they are known.
        bins: number of bins; confidence 1 falls into the last.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted.astype(np.float64))
    predicted = logits.argmax(axis=1)
    confidence = weights.max(axis=1) / weights.sum(axis=1)
    inner_edges = np.arange(1, bins) / bins
    index = np.searchsorted(inner_edges, confidence, side="right")
    counts = np.bincount(index, minlength=bins)
    size = np.where(counts > 0, counts, np.nan)

    def binned(values: Floats) -> Floats:
        return np.bincount(index, values, bins) / size

    expected = None if truth is None else binned(truth[np.arange(len(labels)), predicted])
    correct = (predicted == labels).astype(np.float64)
    return Reliability(counts, binned(confidence), binned(correct), expected)
