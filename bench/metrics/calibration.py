"""Calibration: the gap between a classifier's confidence and its accuracy.

This file holds calibration errors, proper scores and temperature scaling of probabilities and
logits, in float64 on numpy arrays. The bins are those of `bench.metrics.confidence_bins`. The
caller decides which split a temperature is fitted on; it must be validation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import ConfigError, DataError, DivergedError
from gapbench.bench.metrics.confidence_bins import (
    Array,
    Floats,
    Scheme,
    calibrated_confidence_error,
    confidence_error,
    confidence_error_items,
    maximum_confidence_error,
)

TEMPERATURE_RANGE = (0.05, 20.0)
"""Lowest and highest temperature that `fit_temperature` returns."""

_LARGEST = 1e300  # largest logit; differences and quotients stay finite


def log_softmax(logits: Array) -> Floats:
    """Return the log-probabilities of logits `(..., n_classes)`, without overflow."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted: Floats = logits - logits.max(axis=-1, keepdims=True)
    log_sum: Floats = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted - log_sum


def softmax(logits: Array) -> Floats:
    """Return the probabilities of logits `(..., n_classes)`, without overflow."""
    return np.exp(log_softmax(logits))


def expected_calibration_error(
    probabilities: Array, labels: Array, bins: int = 15, scheme: Scheme = "equal_width"
) -> float:
    """Return the mean gap between confidence and accuracy over bins, weighted by their counts.

    It uses the top label: of several classes, only the probability of the predicted one counts.

    Args:
        probabilities: `(n, n_classes)`, rows summing to 1. The first of tied largest entries is
            the predicted class, and its value the confidence.
        labels: true classes, `(n,)`.
        bins: number of bins, at least 1.
        scheme: "equal_width" cuts [0, 1] at `i / bins`. A value on an edge belongs to the bin above
            it, and 1 to the last bin. torchmetrics has a separate bin for 1.
            "equal_mass" sorts by confidence and cuts into `bins` parts that differ in size by at
            most one, the larger ones first. Examples tied in confidence share their mean accuracy,
            so neither their order nor a cut between them matters.

    Raises:
        ConfigError: `bins` or `scheme` is not allowed.
        DataError: The arrays do not pair up, or are not probabilities and classes.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3; equal mass:
    Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language
    processing models", 2015.
    """
    return confidence_error(*confidence_of(probabilities, labels), bins, scheme)


def classwise_calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Return the calibration error of class probabilities, averaged over classes.

    Unlike the error of the top label, it also covers the probabilities of the other classes.

    Raises:
        DataError: The arrays do not pair up, or are not probabilities and classes.

    Source: Kull et al., "Beyond temperature scaling", 2019, equation 5, with bins of equal width.
    """
    probabilities = _check_probabilities(probabilities, labels)
    each = [confidence_error(column, labels == k, bins) for k, column in enumerate(probabilities.T)]
    return float(np.mean(each))


def maximum_calibration_error(
    probabilities: Array, labels: Array, bins: int = 15, scheme: Scheme = "equal_width"
) -> float:
    """Return the largest gap between confidence and accuracy over non-empty bins.

    Arguments and errors are those of `expected_calibration_error`.

    Source: Guo et al., 2017, equation 5.
    """
    return maximum_confidence_error(*confidence_of(probabilities, labels), bins, scheme)


def brier_score(probabilities: Array, labels: Array) -> float:
    """Return the mean over examples of the squared error summed over all classes.

    This is Brier's own form, in [0, 2]. With two classes it is twice the value of the common form
    for the positive class only.

    Raises:
        DataError: The arrays do not pair up, or are not probabilities and classes.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    probabilities = _check_probabilities(probabilities, labels)
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: Array, labels: Array) -> float:
    """Return the mean negative log-probability of the true class, in nats.

    Probabilities are clipped to at least the float64 machine epsilon, 2.2e-16, so that a certain
    mistake costs 36.04 nats, not infinity; scikit-learn's `log_loss` does the same. From logits
    `calibration_report` computes it without clipping.

    Raises:
        DataError: The arrays do not pair up, or are not probabilities and classes.
    """
    probabilities = _check_probabilities(probabilities, labels)
    truth = probabilities[np.arange(len(labels)), labels]
    return _mean_loss(np.log(np.clip(truth, np.finfo(np.float64).eps, 1.0)))


def fit_temperature(logits: Array, labels: Array) -> float:
    """Return the temperature that makes the labels most likely under `softmax(logits / T)`.

    The negative log-likelihood is convex in `1 / T`, so its slope has one change of sign, which is
    found by bracketing. If the best value lies outside `TEMPERATURE_RANGE` (for instance because
    every example is right, or the logits point away from the labels), the nearer end is returned.
    Logits that are equal within every row do not determine T, and give 1.

    Args:
        logits: validation logits, `(n, n_classes)`.
        labels: true classes, `(n,)`.

    Raises:
        DataError: The arrays do not pair up, or the labels are not classes.
        DivergedError: A logit is not finite.

    Source: Guo et al., 2017, section 4.2.
    """
    from scipy.optimize import brentq  # imported here: it loads slowly, and readers do without

    logits = _check_logits(logits, labels)
    relative = logits - logits[np.arange(len(labels)), labels][:, None]
    if not relative.any():
        return 1.0

    def slope(inverse_temperature: float) -> float:
        return float(np.mean(np.sum(softmax(inverse_temperature * logits) * relative, axis=1)))

    lowest, highest = TEMPERATURE_RANGE
    if slope(1 / highest) >= 0:
        return highest
    if slope(1 / lowest) <= 0:
        return lowest
    return 1 / float(brentq(slope, 1 / highest, 1 / lowest))


def calibration_report(logits: Array, labels: Array, temperature: float | None) -> dict[str, float]:
    """Measure calibration before and after temperature scaling.

    Args:
        logits: `(n, n_classes)`.
        labels: true classes, `(n,)`.
        temperature: result of `fit_temperature` on the validation split of the same run; None if
            it has none.

    Returns:
        `ece` (15 bins of equal width), `ece_floor` (value for a perfectly calibrated model),
        `ece_classwise`, `ece_equal_mass` (15), `mce` (15 of equal width), `brier` and `nll` (nats,
        not clipped) for the unchanged logits, and with the suffix `_calibrated` for the logits
        divided by the temperature, if there is one.

    Raises:
        ConfigError: The temperature is not a positive number.
        DataError: The arrays do not pair up, or the labels are not classes.
        DivergedError: A logit is not finite.
    """
    if temperature is not None and not 0 < temperature < math.inf:
        raise ConfigError(
            f"temperature: {temperature} is not a positive number; fit it with fit_temperature"
        )
    logits = _check_logits(logits, labels)
    before = _errors_of_logits(logits, labels)
    if temperature is None:
        return before
    after = _errors_of_logits(logits / temperature, labels)
    return before | {f"{name}_calibrated": value for name, value in after.items()}


def errors(probabilities: Array, labels: Array) -> dict[str, float]:
    """Return the measures of `calibration_report` from probabilities, with a clipped loss.

    Raises:
        DataError: The arrays do not pair up, or are not probabilities and classes.
    """
    return {
        "ece": expected_calibration_error(probabilities, labels),
        "ece_floor": calibrated_confidence_error(confidence_of(probabilities, labels)[0]),
        "ece_classwise": classwise_calibration_error(probabilities, labels),
        "ece_equal_mass": expected_calibration_error(probabilities, labels, scheme="equal_mass"),
        "mce": maximum_calibration_error(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "nll": negative_log_likelihood(probabilities, labels),
    }


def _errors_of_logits(logits: Floats, labels: Array) -> dict[str, float]:
    log_probabilities = log_softmax(logits)
    nll = _mean_loss(log_probabilities[np.arange(len(labels)), labels])
    return errors(np.exp(log_probabilities), labels) | {"nll": nll}


def _mean_loss(log_likelihoods: Floats) -> float:
    # Subtracted from zero, because a minus sign would turn a perfect score into -0.0.
    return 0.0 - float(log_likelihoods.mean())


def confidence_of(probabilities: Array, labels: Array) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the confidence of each prediction, and whether it is right; `(n,)` each."""
    probabilities = _check_probabilities(probabilities, labels)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def ece_items(log_probabilities: Floats, labels: Array) -> Floats:
    """Return the contribution of each example to the calibration error, `(n,)`.

    It takes what `log_softmax` returns, as `nll_items` does, so that both share it. See
    `confidence_error_items`.
    """
    return confidence_error_items(*confidence_of(np.exp(log_probabilities), labels))


def nll_items(log_probabilities: Floats, labels: Array) -> Floats:
    """Return the loss of each example in nats, `(n,)`, whose mean is `nll` of the report."""
    return np.asarray(-log_probabilities[np.arange(len(labels)), labels])


def _check_logits(logits: Array, labels: Array) -> Floats:
    logits = np.asarray(logits, dtype=np.float64)
    _check_shapes("logits", logits, labels)
    if not np.isfinite(logits).all():
        raise DivergedError(
            f"logits: {int(np.sum(~np.isfinite(logits)))} of {logits.size} are not finite, so they "
            f"define no probability; lower the learning rate or use fp32"
        )
    return np.clip(logits, -_LARGEST, _LARGEST)


def _check_probabilities(probabilities: Array, labels: Array) -> Floats:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    _check_shapes("probabilities", probabilities, labels)
    # Loose enough for a float32 softmax; NaN fails both comparisons.
    sums = probabilities.sum(axis=1)
    for row in np.flatnonzero(~((np.abs(sums - 1) < 1e-4) & (probabilities >= 0).all(axis=1))):
        raise DataError(
            f"probabilities, row {row}: the lowest is {probabilities[row].min():g} and the sum is "
            f"{sums[row]:g}; each must be at least 0 and a row must sum to 1 within 0.0001; pass "
            "logits through softmax, or write rounded probabilities with more digits"
        )
    return probabilities


def _check_shapes(name: str, outputs: Array, labels: Array) -> None:
    if outputs.ndim != 2 or outputs.shape[1] < 2 or labels.shape != outputs.shape[:1]:
        raise DataError(
            f"{name}: shape {outputs.shape} with labels {labels.shape}; give (n, n_classes) with "
            f"two classes or more, and (n,)"
        )
    if not len(labels):
        raise DataError(f"{name}: no examples; calibration needs at least 1")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise DataError(
            f"labels: {labels.dtype} from {labels.min()} to {labels.max()}; give integers from 0 "
            f"to {outputs.shape[1] - 1}, one for each class of the {name}"
        )
