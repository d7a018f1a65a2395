"""Pseudo-values of the metrics of labels and values, in closed form; see `bench.metrics.influence`.

Every function takes predictions and references, `(n,)` each, and returns `(n,)` numbers whose mean
is the score.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def accuracy(predictions: Array, references: Array) -> Floats:
    """Return 1 where the predicted class is the true one, 0 elsewhere, `(n,)`."""
    return np.asarray(predictions == references, dtype=np.float64)


def macro_accuracy(predictions: Array, references: Array, parts: Array) -> Floats:
    """Return the pseudo-values of the mean accuracy of parts, whose sizes count as fixed."""
    right = accuracy(predictions, references)
    names = {*parts.tolist()} - {""}
    scores = {name: right[parts == name].mean() for name in names}
    made = np.full(len(right), np.mean([*scores.values()]))
    for name, score in scores.items():
        own = parts == name
        made[own] += len(right) / len(names) / own.sum() * (right[own] - score)
    return made


def f1(predictions: Array, references: Array) -> Floats:
    """Return the pseudo-values of F1 of class 1, the ratio of two means; all 0 if undefined."""
    shared = 2.0 * ((predictions == 1) & (references == 1))
    either = (predictions == 1).astype(np.float64) + (references == 1)
    if not either.any():
        return np.zeros(len(either))
    score = shared.mean() / either.mean()
    return np.asarray(score + (shared - score * either) / either.mean())


def matthews_correlation(predictions: Array, references: Array) -> Floats:
    """Return the pseudo-values of the Matthews correlation; all 0 if a side is constant.

    With shares p of predicted and t of true classes, and c of right ones, the score is
    (c - p.t) / sqrt((1 - p.p) (1 - t.t)).
    """
    classes, both = np.unique(np.concatenate([predictions, references]), return_inverse=True)
    predicted, true = both.reshape(2, -1)
    p, t = (np.bincount(side, minlength=len(classes)) / len(side) for side in (predicted, true))
    spread = 1 - p @ p, 1 - t @ t
    if min(spread) < 1e-12:
        return np.zeros(len(predictions))
    correct = (predicted == true).astype(np.float64)
    covariance, size = correct.mean() - p @ t, np.sqrt(spread[0] * spread[1])
    score = covariance / size
    moves = correct - correct.mean() - t[predicted] - p[true] + 2 * (p @ t)
    spreads = (p @ p - p[predicted]) / spread[0] + (t @ t - t[true]) / spread[1]
    return np.asarray(score + moves / size - score * spreads)


def pearson(predictions: Array, references: Array) -> Floats:
    """Return the pseudo-values of Pearson's correlation; NaN if a side is constant."""
    first, second = _standardised(predictions), _standardised(references)
    return _correlation(first, second)


def spearman(predictions: Array, references: Array) -> Floats:
    """Return the pseudo-values of Spearman's correlation; NaN if a side is constant.

    An item counts twice: through its own ranks, and by raising the ranks of all items above it.
    """
    ranks = [_shares_below(side, np.ones(len(side))) for side in (predictions, references)]
    first, second = (_standardised(side) for side in ranks)
    own = _correlation(first, second)
    score = own.mean()
    lifted = (
        _shares_below(-side, (other - score * mine)) / np.std(rank)
        for side, rank, mine, other in (
            (predictions, ranks[0], first, second),
            (references, ranks[1], second, first),
        )
    )
    return np.asarray(own + sum(lifted))


def mse(predictions: Array, references: Array) -> Floats:
    """Return the squared errors, `(n,)`."""
    return np.square(predictions.astype(np.float64) - references)


def _standardised(values: Array) -> Floats:
    centred = values - values.mean(dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(centred / np.sqrt(np.mean(centred**2)))


def _correlation(first: Floats, second: Floats) -> Floats:
    """Return the pseudo-values of the correlation of two standardised sides."""
    product = first * second
    return np.asarray(product.mean() * (1 - (first**2 + second**2) / 2) + product)


def _shares_below(values: Array, weights: Floats) -> Floats:
    """Return, for each value, the mean weight of the items below it; ties count half.

    Args:
        values: `(n,)`.
        weights: weights of the items, `(n,)`.
    """
    _, place = np.unique(values, return_inverse=True)
    upto = np.cumsum(np.bincount(place, weights))
    below = np.concatenate([[0.0], upto[:-1]])
    return np.asarray((below + upto)[place] / (2 * len(values)))
