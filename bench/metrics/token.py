"""Metrics of next-token predictions on given texts: perplexity, accuracy, calibration.

All take a model's outputs for every target token, `(n,)` each, whatever its text. Metrics
of generated texts are in `bench.metrics.text`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.confidence_bins import confidence_error, confidence_error_items

Array = NDArray[Any]


@metric(
    "perplexity",
    "tokens",
    description="e to the mean loss of the target tokens, in nats.",
    reference="definition",
    range=(1.0, math.inf),
    higher_is_better=False,
    items=lambda losses, *_: np.exp(np.mean(losses)) * (1 + losses - np.mean(losses)),
)
def perplexity(losses: Array, confidences: Array, correct: Array) -> float:  # noqa: ARG001
    """Return e to the mean loss.

    Args:
        losses: negative log-probability of each target token, in nats.
        confidences: probability of the most likely token in each position.
        correct: whether that token is the target.
    """
    mean = float(np.mean(losses))
    return math.exp(mean) if mean < 700 else math.inf


@metric(
    "token_loss",
    "tokens",
    description="Mean loss of the target tokens, in nats.",
    reference="definition",
    range=(0.0, math.inf),
    higher_is_better=False,
    items=lambda losses, *_: losses,
)
def token_loss(losses: Array, confidences: Array, correct: Array) -> float:  # noqa: ARG001
    """Return the mean loss; see `perplexity`."""
    return float(np.mean(losses))


@metric(
    "token_accuracy",
    "tokens",
    description="Share of target tokens that are the most likely in their positions.",
    reference="sklearn.metrics.accuracy_score",
    items=lambda _losses, _confidences, correct: correct.astype(np.float64),
)
def token_accuracy(losses: Array, confidences: Array, correct: Array) -> float:  # noqa: ARG001
    """Return the share of positions where the most likely token is the target."""
    return float(np.mean(correct))


@metric(
    "token_ece",
    "tokens",
    title="token ECE",
    description="Mean gap between confidence and accuracy over target tokens.",
    reference="Guo et al. 2017, equation 3, with 15 bins",
    higher_is_better=False,
    items=lambda _losses, *given: confidence_error_items(*given),
)
def token_ece(losses: Array, confidences: Array, correct: Array) -> float:  # noqa: ARG001
    """Return the expected calibration error of the most likely tokens; see `perplexity`.

    15 bins of equal width, as `bench.metrics.calibration.expected_calibration_error`.
    """
    return confidence_error(confidences, correct)
