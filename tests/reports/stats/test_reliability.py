"""Reliability bins against those that the recorded calibration errors come from."""

import numpy as np
import pytest

from gapbench.bench.metrics import calibration, confidence_bins
from gapbench.reports.stats.reliability import reliability


def test_reliability_of_random_logits_equals_the_benchmark_own_bins() -> None:
    """Counts, confidence and accuracy agree with the code that measured the recorded ECE."""
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(0, 2, (500, 3)), rng.integers(0, 3, 500)
    hits = calibration.confidence_of(calibration.softmax(logits), labels)
    counts, confidence, accuracy = confidence_bins.reliability_bins(*hits, 15, "equal_width")
    result = reliability(logits, labels)
    assert result.counts.tolist() == counts.tolist()
    np.testing.assert_allclose(result.confidence, confidence, rtol=1e-12)
    np.testing.assert_allclose(result.accuracy, accuracy, rtol=1e-12)
    assert result.expected is None


def test_reliability_with_certain_predictions_fills_the_last_bin() -> None:
    """Confidence 1 falls into the last bin, and extreme logits do not overflow."""
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]])
    truth = np.array([[0.9, 0.1], [0.4, 0.6]])
    result = reliability(logits, np.array([0, 0]), truth)
    assert result.counts.tolist() == [0] * 14 + [2]
    assert result.accuracy[-1] == 0.5
    assert result.expected is not None
    assert result.expected[-1] == pytest.approx(0.75)
