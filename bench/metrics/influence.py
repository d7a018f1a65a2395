"""Scores as means over examples, to first order: the contribution of each example.

A score of a whole split is a function of the distribution of its examples. To first order, the
score on other examples is their mean of

    pseudo-value = score + influence of the example,

where the influence is the derivative of the score by the example's weight (Hampel, "The influence
curve and its role in robust estimation", 1974). The mean of the pseudo-values is the score itself,
and their variance over n, divided by n, is the squared standard error that the infinitesimal
jackknife gives. For a share or a mean the pseudo-values are the examples' own values, and nothing
is approximated.

A metric declares its pseudo-values beside its function (see `bench.metrics.base`). If the score
is a function of sums over examples, `jackknife` gives them; `grouped_jackknife` fits any metric.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

GROUPS = 100
"""Groups of examples that `grouped_jackknife` leaves out in turn."""


def jackknife(statistics: Array, score_of: Callable[[Floats], Floats]) -> Floats:
    """Return the pseudo-values of a score that is a function of sums over examples, `(n,)`.

    Each example is left out in turn. The mean is shifted to the score, so that the values keep the
    bias of the score that the jackknife would remove.

    Args:
        statistics: contribution of each example to the sums, `(n, k)`.
        score_of: maps sums `(..., k)` to scores `(...)`.

    Source: Tukey, "Bias and confidence in not quite large samples", 1958.
    """
    total = statistics.sum(axis=0, dtype=np.float64)
    return centred(score_of(total), (1 - len(statistics)) * score_of(total - statistics))


def grouped_jackknife(function: Callable[..., float | None], arguments: Sequence[Any]) -> Floats:
    """Return pseudo-values of any metric, `(n,)`: groups of examples are left out in turn.

    Example i is in group i modulo `GROUPS` for every run. The values of a group are equal, and
    scaled so that their variance over n equals that of single examples.

    Args:
        function: the metric.
        arguments: its arguments; those with one entry per example are arrays or lists.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 11.
    """
    n = len(arguments[0])
    groups = min(GROUPS, n)
    place = np.arange(n) % groups

    def without(group: int) -> float:
        kept = np.flatnonzero(place != group)
        score = function(*(_taken(each, kept, n) for each in arguments))
        return np.nan if score is None else score

    score = function(*arguments)
    if score is None or groups < 2:
        return np.full(n, np.nan)
    left = np.array([without(group) for group in range(groups)])
    scale = np.sqrt(n / groups) * (groups - 1)
    return centred(score, -scale * left[place])


def centred(score: Any, influence: Floats) -> Floats:
    """Return influences, which may have any mean, as pseudo-values whose mean is the score."""
    return np.asarray(score + influence - influence.mean(), dtype=np.float64)


def _taken(values: Any, kept: Array, n: int) -> Any:
    if isinstance(values, np.ndarray):
        return values[kept]
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n:
        return values  # a setting, such as the version of SQuAD
    return [values[index] for index in kept]
