"""Binned calibration errors: confidences against how often they are right.

What has probabilities or logits is in `bench.metrics.calibration`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import ConfigError

Array = NDArray[Any]
Floats = NDArray[np.float64]
Scheme = Literal["equal_width", "equal_mass"]

# Examples in a bin up to which the noise floor is exact; a normal approximation beyond.
_EXACT = 200


def confidence_error(
    confidence: Array, correct: Array, bins: int = 15, scheme: Scheme = "equal_width"
) -> float:
    """Return the expected calibration error from confidences and correctness alone.

    Args:
        confidence: probability of each predicted class, `(n,)`.
        correct: whether the predicted class is the true one, `(n,)`.
        bins: number of bins, at least 1.
        scheme: see `expected_calibration_error`.

    Raises:
        ConfigError: `bins` or `scheme` is not allowed.
    """
    counts, confidence, accuracy = reliability_bins(confidence, correct, bins, scheme)
    return float(np.nansum(counts * np.abs(confidence - accuracy)) / counts.sum())


def calibrated_confidence_error(confidence: Array, bins: int = 15) -> float:
    """Return the expected calibration error of a perfectly calibrated model.

    Its accuracy equals these confidences; its error exceeds 0 only by chance in the examples. An
    error near this floor shows no miscalibration.

    Args:
        confidence: probability of each predicted class, `(n,)`.
        bins: number of bins of equal width.
    """
    index = _equal_width_index(confidence, bins)
    parts = [confidence[index == place].astype(np.float64) for place in np.unique(index)]
    return float(sum(map(_mean_deviation, parts)) / len(confidence))


def _mean_deviation(chances: Floats) -> float:
    """Return the mean absolute deviation of a count of independent events."""
    if len(chances) > _EXACT:
        return math.sqrt(2 / math.pi * float(np.sum(chances * (1 - chances))))
    shares = np.ones(1)  # probability of each number of events
    for chance in chances:
        shares = np.append(shares * (1 - chance), 0.0) + np.append(0.0, shares * chance)
    return float(shares @ np.abs(np.arange(len(shares)) - chances.sum()))


def maximum_confidence_error(
    confidence: Array, correct: Array, bins: int = 15, scheme: Scheme = "equal_width"
) -> float:
    """Return the largest gap over non-empty bins; arguments as in `confidence_error`."""
    _, confidence, accuracy = reliability_bins(confidence, correct, bins, scheme)
    return float(np.nanmax(np.abs(confidence - accuracy)))


def confidence_error_items(confidence: Array, correct: Array, bins: int = 15) -> Floats:
    """Return pseudo-values of `confidence_error` with bins of equal width, `(n,)`.

    In an overconfident bin, an example adds its confidence and subtracts 1 if it is right; in other
    bins the signs are reversed. The mean is the error. The spread estimates how far the error on
    another sample of the same size is from its expectation, which exceeds the error on infinitely
    many examples: see `calibrated_confidence_error`.
    """
    index = _equal_width_index(confidence, bins)
    moves = correct - confidence.astype(np.float64)
    gaps = np.bincount(index, moves, bins)
    return np.asarray(np.sign(gaps)[index] * moves)


def reliability_bins(
    confidence: Array, correct: Array, bins: int = 15, scheme: str = "equal_width"
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return the bins of a calibration error and a reliability diagram.

    Arguments and errors are those of `confidence_error`.

    Returns:
        Count, mean confidence and accuracy of each bin, `(bins,)`; the last two are NaN if it is
        empty.
    """
    if bins < 1:
        raise ConfigError(f"bins: {bins} is too few; give at least 1")
    confidence, correct = confidence.astype(np.float64), correct.astype(np.float64)
    if scheme == "equal_width":
        index = _equal_width_index(confidence, bins)
    elif scheme == "equal_mass":
        correct = _shared_among_ties(confidence, correct)
        index = _equal_mass_index(confidence, bins)
    else:
        raise ConfigError(
            f"scheme: {scheme!r} is unknown; use one of {', '.join(get_args(Scheme))}"
        )
    counts = np.bincount(index, minlength=bins)
    size = np.where(counts > 0, counts, np.nan)
    return (
        counts,
        np.bincount(index, confidence, bins) / size,
        np.bincount(index, correct, bins) / size,
    )


def _equal_width_index(confidence: Floats, bins: int) -> NDArray[np.intp]:
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="right")


def _equal_mass_index(confidence: Floats, bins: int) -> NDArray[np.intp]:
    size, n_larger = divmod(len(confidence), bins)
    sizes = size + (np.arange(bins) < n_larger)
    index = np.empty(len(confidence), dtype=np.intp)
    index[np.argsort(confidence)] = np.repeat(np.arange(bins), sizes)
    return index


def _shared_among_ties(confidence: Floats, correct: Floats) -> Floats:
    _, group = np.unique(confidence, return_inverse=True)
    shared: Floats = (np.bincount(group, correct) / np.bincount(group))[group]
    return shared
