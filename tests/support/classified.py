"""Predictions of classes to measure calibration on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SEEDS = (0, 1, 2)
CLASSES = (2, 3, 5)


def classified(seed: int, n_classes: int, n: int = 400) -> tuple[Array, Array]:
    """Draw logits, `(n, n_classes)`, and labels from the softmax of the logits themselves."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(n, n_classes))
    noise = rng.gumbel(size=logits.shape)
    return logits, np.argmax(logits + noise, axis=1)


def confident(confidence: list[float]) -> Array:
    """Build two-class probabilities whose class 0 has the given confidence."""
    first = np.array(confidence)
    return np.stack([first, 1 - first], axis=1)
