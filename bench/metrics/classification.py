"""Quality metrics of classes, values and choices, and the table that names all metrics.

Here live the scores that GLUE reports, as scikit-learn and scipy define them, and `score`, which
turns a model's raw outputs into named numbers. The table `METRICS` also names those of
`bench.metrics.token`, `bench.metrics.text` and `bench.metrics.squad`. Calibration is in
`bench.metrics.calibration`; nothing here reads data or knows torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics.base import Metric
from gapbench.bench.metrics.evaluate_module import wrap
from gapbench.bench.metrics.squad import SPAN_METRICS
from gapbench.bench.metrics.text import TEXT_METRICS
from gapbench.bench.metrics.token import TOKEN_METRICS

if TYPE_CHECKING:
    import evaluate

Array = NDArray[Any]


def accuracy(predictions: Array, references: Array) -> float:
    """Return the share of predicted classes, `(n,)`, that equal the true ones, `(n,)`.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    _check_pair(predictions, references)
    return float(np.mean(predictions == references))


def f1(predictions: Array, references: Array) -> float:
    """Return the F1 score of class 1, for two classes numbered 0 and 1.

    Where class 1 is neither predicted nor present the score is 0.0, as in scikit-learn with
    `zero_division=0`.

    Args:
        predictions: predicted classes, `(n,)`.
        references: true classes, `(n,)`.

    Raises:
        DataError: The two do not pair up, or hold a class other than 0 and 1.
    """
    _check_pair(predictions, references)
    others = set(np.union1d(predictions, references).tolist()) - {0, 1}
    if others:
        raise DataError(
            f"metric f1: found classes {sorted(others)}, but only 0 and 1 are allowed; use "
            f"accuracy or matthews_correlation for other classes"
        )
    true_positives = int(np.sum((predictions == 1) & (references == 1)))
    claimed_and_real = int(np.sum(predictions == 1)) + int(np.sum(references == 1))
    return 2 * true_positives / claimed_and_real if claimed_and_real else 0.0


def matthews_correlation(predictions: Array, references: Array) -> float:
    """Return the Matthews correlation coefficient, for two or more classes.

    It is 0.0 where either side holds one class only, as in scikit-learn.

    Args:
        predictions: predicted classes, `(n,)`.
        references: true classes, `(n,)`.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.

    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004 (the two-class case is Matthews, 1975).
    """
    _check_pair(predictions, references)
    classes = np.union1d(predictions, references)
    predicted = [int(np.sum(predictions == each)) for each in classes]
    actual = [int(np.sum(references == each)) for each in classes]
    n, n_correct = len(predictions), int(np.sum(predictions == references))
    # Python integers, because products of counts overflow int64 within the sizes of GLUE.
    covariance = n_correct * n - _dot(predicted, actual)
    spread = (n * n - _dot(predicted, predicted)) * (n * n - _dot(actual, actual))
    return covariance / math.sqrt(spread) if spread else 0.0


def pearson(predictions: Array, references: Array) -> float:
    """Return Pearson's linear correlation of two `(n,)` arrays, NaN where either is constant.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    _check_pair(predictions, references)
    return _correlation(predictions.astype(np.float64), references.astype(np.float64))


def spearman(predictions: Array, references: Array) -> float:
    """Return Spearman's rank correlation of two `(n,)` arrays, NaN where either is constant.

    Tied values share the average of their ranks.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    from scipy.stats import rankdata  # here, since it takes long to load and few tasks need it

    _check_pair(predictions, references)
    ranks = (rankdata(side, nan_policy="propagate") for side in (predictions, references))
    return _correlation(*ranks)


def mse(predictions: Array, references: Array) -> float:
    """Return the mean squared error of two `(n,)` arrays.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    _check_pair(predictions, references)
    # Infinite predictions or overflow give NaN or infinity, which `score` reports as undefined.
    with np.errstate(invalid="ignore", over="ignore"):
        error = predictions.astype(np.float64) - references.astype(np.float64)
        return float(np.mean(error * error))


def accuracy_norm(log_likelihoods: Array, characters: Array, references: Array) -> float:
    """Return the share of questions whose right choice has the highest score a character.

    Args:
        log_likelihoods: of every choice given its question, `(n, choices)`; far below all others
            where a question has fewer choices.
        characters: length of every choice, `(n, choices)`, above 0.
        references: right choices, `(n,)`.

    Raises:
        DataError: There is no question, or the two differ in length.

    Source: `acc_norm` of EleutherAI's lm-evaluation-harness.
    """
    return accuracy(np.argmax(log_likelihoods / characters, axis=1), references)


def _correlation(first: Array, second: Array) -> float:
    # A constant side is found by comparison: its mean may round away from its value, and the
    # remainder would pass for a signal.
    if np.all(first == first[0]) or np.all(second == second[0]):
        return math.nan
    with np.errstate(invalid="ignore", over="ignore"):
        first, second = first - first.mean(), second - second.mean()
        # Dividing by the largest deviation keeps the squares below from under- or overflowing.
        first, second = first / np.abs(first).max(), second / np.abs(second).max()
        value = (first @ second) / (math.sqrt(first @ first) * math.sqrt(second @ second))
    return float(np.clip(value, -1.0, 1.0))


def _dot(first: list[int], second: list[int]) -> int:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _check_pair(predictions: Array, references: Array) -> None:
    if predictions.ndim != 1 or predictions.shape != references.shape or not len(predictions):
        raise DataError(
            f"metric inputs: predictions have shape {predictions.shape} and references "
            f"{references.shape}; give two flat arrays of one length, at least 1"
        )


_ALL = (
    Metric(
        name="accuracy",
        function=accuracy,
        kind="labels",
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Share of examples whose predicted class is the true one.",
        reference="sklearn.metrics.accuracy_score",
    ),
    Metric(
        name="f1",
        function=f1,
        kind="labels",
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Harmonic mean of precision and recall of class 1, for two classes.",
        reference="sklearn.metrics.f1_score with zero_division=0",
    ),
    Metric(
        name="matthews_correlation",
        function=matthews_correlation,
        kind="labels",
        range=(-1.0, 1.0),
        higher_is_better=True,
        description="Correlation of predicted and true classes; 0 is chance.",
        reference="sklearn.metrics.matthews_corrcoef",
    ),
    Metric(
        name="pearson",
        function=pearson,
        kind="values",
        range=(-1.0, 1.0),
        higher_is_better=True,
        description="Linear correlation of predicted and true values.",
        reference="scipy.stats.pearsonr",
    ),
    Metric(
        name="spearman",
        function=spearman,
        kind="values",
        range=(-1.0, 1.0),
        higher_is_better=True,
        description="Correlation of the ranks of predicted and true values.",
        reference="scipy.stats.spearmanr",
    ),
    Metric(
        name="mse",
        function=mse,
        kind="values",
        range=(0.0, math.inf),
        higher_is_better=False,
        description="Mean squared difference of predicted and true values.",
        reference="sklearn.metrics.mean_squared_error",
    ),
    Metric(
        name="accuracy_norm",
        function=accuracy_norm,
        kind="choices",
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Share of questions whose right choice has the highest score a character.",
        reference="acc_norm of lm-evaluation-harness",
    ),
    *TOKEN_METRICS,
    *TEXT_METRICS,
    *SPAN_METRICS,
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Every metric by name."""


def get(name: str) -> Metric:
    """Return the metric called `name`.

    Raises:
        ConfigError: There is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"metric: {name!r} is unknown; use one of {', '.join(METRICS)}")
    return METRICS[name]


def score(names: Sequence[str], logits: Array, targets: Array) -> dict[str, float | None]:
    """Compute the named metrics of a model's raw outputs.

    Args:
        names: metrics to compute, all of the kind that the outputs allow.
        logits: `(n, n_classes)` for classes, the prediction being the largest entry of a row;
            `(n,)` or `(n, 1)` for values.
        targets: true classes or values, `(n,)`.

    Returns:
        One score per name. None where the score is undefined: a correlation with a constant side,
        an infinite error, or outputs that hold NaN.

    Raises:
        ConfigError: A name is unknown, or its metric does not fit outputs of this shape.
        DataError: Outputs and targets do not pair up, or a target is not one of the classes.
    """
    logits = logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits
    kind = "labels" if logits.ndim == 2 else "values"
    metrics = [get(name) for name in names]
    for metric in metrics:
        if metric.kind != kind:
            raise ConfigError(
                f"metric {metric.name}: compares {metric.kind}, but outputs of shape "
                f"{logits.shape} hold {kind}; use one of "
                f"{', '.join(m.name for m in _ALL if m.kind == kind)}"
            )
    predictions = np.argmax(logits, axis=1) if kind == "labels" else logits
    _check_pair(predictions, targets)
    if kind == "labels":
        _check_classes(targets, logits.shape[1])
    # The largest entry of a row with NaN is no prediction, so nothing may be counted from it.
    if np.isnan(logits).any():
        return dict.fromkeys(names)
    return {m.name: defined(m.function(predictions, targets)) for m in metrics}


def defined(value: float | None) -> float | None:
    """Return a score, None where it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def _check_classes(targets: Array, n_classes: int) -> None:
    strays = np.setdiff1d(targets, np.arange(n_classes))
    if len(strays):
        raise DataError(
            f"targets: found classes {strays[:5].tolist()} where the model knows 0 to "
            f"{n_classes - 1}; score a split with public labels, and check the task's field "
            "'labels'"
        )


def as_evaluate(name: str) -> evaluate.Metric:
    """Wrap a metric for the `evaluate` package; see `bench.metrics.evaluate_module.wrap`.

    Raises:
        ConfigError: There is no such metric, or it measures tokens or choices.
    """
    return wrap(get(name))
