"""Metrics of given tokens: hand-worked values, and what perfect predictions score."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gapbench.bench.metrics.base import Metric, defined, discover
from gapbench.bench.metrics.calibration import expected_calibration_error
from gapbench.bench.metrics.token import perplexity, token_accuracy, token_ece


def test_perplexity_is_the_inverse_geometric_mean_of_probabilities() -> None:
    """Tokens of probability 1/2, 1/8 and 1/4 have perplexity 4."""
    losses = -np.log([0.5, 0.125, 0.25])
    nothing = np.zeros(3)
    assert perplexity(losses, nothing, nothing) == pytest.approx(4.0, rel=1e-15)


def test_perplexity_of_hopeless_tokens_is_infinite_without_warning() -> None:
    """A mean loss whose exponential overflows is infinity, which a record shows as undefined."""
    losses = np.array([1e4, 1e4])
    assert perplexity(losses, losses, losses) == math.inf
    assert defined(math.inf) is None


def test_token_accuracy_is_the_share_of_hits() -> None:
    """Three of four tokens are the likeliest ones."""
    hits = np.array([True, False, True, True])
    assert token_accuracy(np.zeros(4), np.zeros(4), hits) == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_token_ece_is_that_of_the_whole_distributions(seed: int) -> None:
    """Confidence and correctness alone give the error of full probabilities and labels."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(7, 0.4), 300)
    labels = rng.integers(7, size=300)
    hits = probabilities.argmax(axis=1) == labels
    found = token_ece(np.zeros(300), probabilities.max(axis=1), hits)
    assert found == pytest.approx(expected_calibration_error(probabilities, labels), abs=1e-12)


@pytest.mark.parametrize(
    "metric",
    [m for m in discover().values() if m.measures == "tokens"],
    ids=lambda metric: metric.name,
)
def test_certain_and_right_predictions_reach_the_best_end(metric: Metric) -> None:
    """Probability one on every target is the best score there is."""
    best = metric.range[1] if metric.higher_is_better else metric.range[0]
    assert metric.function(np.zeros(5), np.ones(5), np.ones(5, dtype=bool)) == best
