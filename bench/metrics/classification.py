"""Quality metrics of classes, values and choices, as defined by scikit-learn and scipy.

Nothing here reads data or uses torch. Calibration is in `bench.metrics.calibration`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import DataError
from gapbench.bench.metrics import pseudovalues
from gapbench.bench.metrics.base import Inputs, check_pair, compute, metric

Array = NDArray[Any]


@metric(
    "accuracy",
    "labels",
    description="Share of examples whose predicted class is the true one.",
    reference="sklearn.metrics.accuracy_score",
    items=pseudovalues.accuracy,
)
def accuracy(predictions: Array, references: Array) -> float:
    """Return the share of predicted classes, `(n,)`, that equal the true ones, `(n,)`.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    return float(np.mean(predictions == references))


@metric(
    "macro_accuracy",
    "parts",
    description="Mean over the parts, such as subjects, of the accuracy in each.",
    reference="mean of sklearn.metrics.accuracy_score",
    items=pseudovalues.macro_accuracy,
)
def macro_accuracy(predictions: Array, references: Array, parts: Array) -> float:
    """Return the mean over parts of the accuracy in each part.

    Args:
        predictions: predicted classes, `(n,)`.
        references: true classes, `(n,)`.
        parts: name of each example's part, `(n,)`; "" belongs to none and does not count.
    """
    right = predictions == references
    return float(np.mean([right[parts == part].mean() for part in {*parts.tolist()} - {""}]))


@metric(
    "f1",
    "labels",
    title="F1",
    description="Harmonic mean of precision and recall of class 1, for two classes.",
    reference="sklearn.metrics.f1_score with zero_division=0",
    items=pseudovalues.f1,
)
def f1(predictions: Array, references: Array) -> float:
    """Return the F1 score of class 1, for two classes numbered 0 and 1.

    If class 1 is neither predicted nor present, the score is 0.0, as in scikit-learn with
    `zero_division=0`.

    Args:
        predictions: predicted classes, `(n,)`.
        references: true classes, `(n,)`.

    Raises:
        DataError: The arrays do not pair up, or hold a class other than 0 and 1.
    """
    others = set(np.union1d(predictions, references).tolist()) - {0, 1}
    if others:
        raise DataError(
            f"metric f1: found classes {sorted(others)}, but only 0 and 1 are allowed; use "
            f"accuracy or matthews_correlation for other classes"
        )
    true_positives = int(np.sum((predictions == 1) & (references == 1)))
    claimed_and_real = int(np.sum(predictions == 1)) + int(np.sum(references == 1))
    return 2 * true_positives / claimed_and_real if claimed_and_real else 0.0


@metric(
    "matthews_correlation",
    "labels",
    title="Matthews correlation",
    description="Correlation of predicted and true classes; 0 is chance.",
    reference="sklearn.metrics.matthews_corrcoef",
    range=(-1.0, 1.0),
    items=pseudovalues.matthews_correlation,
)
def matthews_correlation(predictions: Array, references: Array) -> float:
    """Return the Matthews correlation coefficient, for two or more classes.

    It is 0.0 if either side holds only one class, as in scikit-learn.

    Args:
        predictions: predicted classes, `(n,)`.
        references: true classes, `(n,)`.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.

    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004 (the two-class case is Matthews, 1975).
    """
    classes = np.union1d(predictions, references)
    predicted = [int(np.sum(predictions == each)) for each in classes]
    actual = [int(np.sum(references == each)) for each in classes]
    n, n_correct = len(predictions), int(np.sum(predictions == references))
    # Python integers, because products of counts overflow int64 within the sizes of GLUE.
    covariance = n_correct * n - _dot(predicted, actual)
    spread = (n * n - _dot(predicted, predicted)) * (n * n - _dot(actual, actual))
    return covariance / math.sqrt(spread) if spread else 0.0


@metric(
    "pearson",
    "values",
    title="Pearson correlation",
    description="Linear correlation of predicted and true values.",
    reference="scipy.stats.pearsonr",
    range=(-1.0, 1.0),
    items=pseudovalues.pearson,
)
def pearson(predictions: Array, references: Array) -> float:
    """Return Pearson's linear correlation of two `(n,)` arrays, NaN where either is constant.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    return _correlation("pearsonr", predictions.astype(np.float64), references.astype(np.float64))


@metric(
    "spearman",
    "values",
    title="Spearman correlation",
    description="Correlation of the ranks of predicted and true values.",
    reference="scipy.stats.spearmanr",
    range=(-1.0, 1.0),
    items=pseudovalues.spearman,
)
def spearman(predictions: Array, references: Array) -> float:
    """Return Spearman's rank correlation of two `(n,)` arrays, NaN where either is constant.

    Tied values share the average of their ranks.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    return _correlation("spearmanr", predictions, references)


@metric(
    "mse",
    "values",
    title="mean squared error",
    description="Mean squared difference of predicted and true values.",
    reference="sklearn.metrics.mean_squared_error",
    range=(0.0, math.inf),
    higher_is_better=False,
    items=pseudovalues.mse,
)
def mse(predictions: Array, references: Array) -> float:
    """Return the mean squared error of two `(n,)` arrays.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    # Infinite predictions or overflow give NaN or infinity, which `score` reports as undefined.
    with np.errstate(invalid="ignore", over="ignore"):
        error = predictions.astype(np.float64) - references.astype(np.float64)
        return float(np.mean(error * error))


def _right_by_length(log_likelihoods: Array, characters: Array, references: Array) -> Array:
    chosen = np.argmax(log_likelihoods / characters, axis=1)
    return pseudovalues.accuracy(chosen, references)


@metric(
    "accuracy_norm",
    "choices",
    title="normalised accuracy",
    description="Share of questions whose right choice has the highest score per character.",
    reference="acc_norm of lm-evaluation-harness",
    items=_right_by_length,
)
def accuracy_norm(log_likelihoods: Array, characters: Array, references: Array) -> float:
    """Return the share of questions whose right choice has the highest score per character.

    Args:
        log_likelihoods: log-likelihood of every choice given its question, `(n, choices)`; far
            below all others for missing choices.
        characters: length of every choice, `(n, choices)`, above 0.
        references: right choices, `(n,)`.

    Raises:
        DataError: There is no question, or the arrays differ in length.

    Source: `acc_norm` of EleutherAI's lm-evaluation-harness.
    """
    return accuracy(np.argmax(log_likelihoods / characters, axis=1), references)


def _correlation(name: Literal["pearsonr", "spearmanr"], first: Array, second: Array) -> float:
    from scipy import stats  # imported here: it loads slowly and few tasks need it

    # Constants are found by comparison: scipy warns of them, and takes some whose mean is rounded
    # for a signal.
    if np.all(first == first[0]) or np.all(second == second[0]):
        return math.nan
    with np.errstate(invalid="ignore", over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)  # a score is what it is
        return float(getattr(stats, name)(first, second).statistic)


def _dot(first: list[int], second: list[int]) -> int:
    return sum(a * b for a, b in zip(first, second, strict=True))


def inputs(logits: Array, targets: Array) -> Inputs:
    """Return the inputs of metrics from a model's raw outputs, None if these hold NaN.

    Args:
        logits: `(n, n_classes)` for classes, where the largest entry of a row is the prediction;
            `(n,)` or `(n, 1)` for values.
        targets: true classes or values, `(n,)`.

    Raises:
        DataError: Outputs and targets do not pair up, or a target is not one of the classes.
    """
    logits = logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits
    measured = "labels" if logits.ndim == 2 else "values"
    predictions = np.argmax(logits, axis=1) if measured == "labels" else logits
    check_pair(predictions, targets)
    if measured == "labels":
        _check_classes(targets, logits.shape[1])
    # A row with NaN has no prediction, so no metric may count it.
    return {measured: None if np.isnan(logits).any() else (predictions, targets)}


def score(names: Sequence[str], logits: Array, targets: Array) -> dict[str, float | None]:
    """Return the named metrics of a model's raw outputs; see `inputs` and `compute`.

    A score is None if it is undefined: a correlation with a constant side, an infinite error,
    or outputs that hold NaN.
    """
    return compute(names, inputs(logits, targets))


def _check_classes(targets: Array, n_classes: int) -> None:
    strays = np.setdiff1d(targets, np.arange(n_classes))
    if len(strays):
        raise DataError(
            f"targets: found classes {strays[:5].tolist()} where the model has 0 to "
            f"{n_classes - 1}; score a split with public labels, and check the task's field "
            "'labels'"
        )
