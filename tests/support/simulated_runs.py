"""Runs drawn from a model whose expected scores are known, to check intervals and tests by."""

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import expit

from gapbench.reports.stats.estimates import Sample

Floats = NDArray[np.float64]


def correct(
    rng: np.random.Generator,
    level: float,
    seeds: Floats,
    items: Floats,
) -> Floats:
    """Draw which items are answered rightly, 1 or 0, `(..., S, N)`.

    Args:
        rng: of the draw.
        level: log odds of an average item for an average seed.
        seeds: what each seed adds to the log odds, `(..., S)`.
        items: what each item adds, `(..., N)`.
    """
    odds = level + seeds[..., :, None] + items[..., None, :]
    return (rng.random(odds.shape) < expit(odds)).astype(np.float64)


def expected(level: float, deviation: float) -> float:
    """Return the expected share of right answers.

    Args:
        level: log odds of an average item for an average seed.
        deviation: of all that is added to it, which is normal.
    """
    places, weights = hermegauss(60)
    return float(weights @ expit(level + deviation * places) / weights.sum())


def sample(values: Floats) -> Sample:
    """Return runs whose items have these values, `(S, N)`."""
    return Sample(dict(enumerate(values.mean(axis=1))), (dict(enumerate(values)),))
