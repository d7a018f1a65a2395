"""How far the confidence of predictions may be believed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics import calibration, confidence_bins
from gapbench.reports.stats.intervals import Floats


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness in bins of equal width; empty bins hold NaN.

    The last bin is closed: confidence 1 falls into it.

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
    logits: NDArray[Any],
    labels: NDArray[Any],
    true_probabilities: NDArray[Any] | None = None,
    bins: int = 15,
) -> Reliability:
    """Return the bins whose gaps the recorded ECE sums: those of `bench.metrics.calibration`.

    Args:
        logits: `(n, n_classes)`; minus infinity for a class that an example does not have.
        labels: true classes, `(n,)`.
        true_probabilities: `(n, n_classes)`, where they are known.
        bins: number of bins of equal width; confidence 1 falls into the last.
    """
    confidence, correct = calibration.confidence_of(calibration.softmax(logits), labels)
    counts, mean, accuracy = confidence_bins.reliability_bins(confidence, correct, bins)
    expected = None
    if true_probabilities is not None:
        own = true_probabilities[np.arange(len(labels)), logits.argmax(axis=1)]
        _, _, expected = confidence_bins.reliability_bins(confidence, own, bins)
    return Reliability(counts, mean, accuracy, expected)
