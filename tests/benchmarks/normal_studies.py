"""How often studies of equal methods make any claim, over many patterns of variances.

Scores are normal, so that means and variances can be drawn for many studies at once. The thresholds
are those of the reports; the rest of `reports.stats.simultaneous.bounds` is written again for many
studies, and `tests/reports/stats/test_simulations.py` compares the two.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gapbench.reports.stats.estimates import student
from gapbench.reports.stats.simultaneous import (
    ALPHA,
    FLOOR,
    WITH_REFERENCE,
    Pairs,
    seed_threshold,
)

Floats = NDArray[np.float64]

METHODS = (3, 7, 20)
SEEDS = (3, 5, 10)
ITEMS = (0.0, 0.4, 1.5)
"""Standard deviation of a mean over items, where that between seeds is 1."""

_AT_ONCE = 1000
_LARGEST = 12
_SCREENED, _CONFIRMED = 20261127, 20261128
"""Seeds of the draws; the thresholds were chosen on others."""


def patterns(methods: int) -> dict[str, Floats]:
    """Return standard deviations between seeds, `(methods,)`; the first is the reference's."""
    equal = np.ones(methods)
    place = np.arange(methods)
    return {
        "equal": equal,
        "one noisy": np.where(place == methods - 1, 4.0, 1.0),
        "noisy reference": np.where(place == 0, 4.0, 1.0),
        "very noisy reference": np.where(place == 0, 10.0, 1.0),
        "reference twice": np.where(place == 0, 2.0, 1.0),
        "steady reference": np.where(place == 0, 0.3, 1.0),
        "untrained reference": np.where(place == 0, 0.0, 1.0),
        "every second thrice": np.where(place % 2, 3.0, 1.0),
        "two noisy": np.where(place >= methods - 2, 4.0, 1.0),
        "reference and one noisy": np.where(place % (methods - 1) == 0, 4.0, 1.0),
        "from 1 to 5": np.geomspace(1, 5, methods),
    }


def told_apart(
    scores: Floats, means: Floats, items: float, *, bare: bool = False
) -> NDArray[np.bool_]:
    """Return for each study whether any two of its methods are told apart, `(studies,)`.

    Args:
        scores: what seeds add to means, `(studies, seeds, methods)`.
        means: over seeds and items, `(studies, methods)`.
        items: standard deviation of each mean over items.
        bare: whether the reference is an untrained row, in whose family other pairs have no
            interval.
    """
    _, seeds, methods = scores.shape
    centred = scores - scores.mean(axis=1, keepdims=True)
    shared = centred.transpose(0, 2, 1) @ centred / (seeds * (seeds - 1))
    first, second = np.triu_indices(methods, 1)
    variances = shared[:, first, first] + shared[:, second, second] - 2 * shared[:, first, second]
    floored = np.maximum(variances, _floor(variances, first, second))
    of_seeds, of_items = _thresholds(first == 0, methods, seeds, bare=bare)
    half = np.hypot(np.sqrt(floored) * of_seeds, np.sqrt(2) * items * of_items)
    found = np.abs(means[:, first] - means[:, second]) > half
    return np.asarray(found.any(axis=1))


def _floor(variances: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return the least that a variance of each study is taken to be, `(studies, 1)`."""
    least = variances.mean(axis=1, keepdims=True)
    for method in range(second.max() + 1) if second.max() > 2 else ():
        others = variances[:, (first != method) & (second != method)]
        least = np.minimum(least, others.mean(axis=1, keepdims=True))
    return FLOOR * least


def _thresholds(
    with_reference: NDArray[np.bool_], methods: int, seeds: int, *, bare: bool
) -> tuple[Floats, Floats]:
    """Return the thresholds of seeds and of items, one for each pair."""
    share = 1.0 if bare else WITH_REFERENCE
    of_seeds, of_items = np.full(with_reference.shape, np.inf), np.zeros(with_reference.shape)
    kinds: tuple[tuple[Pairs, NDArray[np.bool_], float], ...] = (
        ("reference", with_reference, ALPHA * share),
        ("all", ~with_reference, ALPHA * (1 - share)),
    )
    for kind, chosen, level in kinds:
        if level > 0:
            of_seeds[chosen] = seed_threshold(level, seeds - 1.0, methods, kind)
            of_items[chosen] = student(np.inf, level / chosen.sum())
    return of_seeds, of_items


def rate(studies: int, seed: list[int], deviations: Floats, seeds: int, items: float) -> float:
    """Return the share of studies of equal methods in which anything is claimed.

    Args:
        studies: how many.
        seed: of the draws.
        deviations: between seeds, `(methods,)`; a reference of 0 is an untrained row.
        seeds: of each method.
        items: standard deviation of each mean over items.
    """
    rng = np.random.default_rng(seed)
    wrong = 0
    for done in range(0, studies, _AT_ONCE):
        count = min(_AT_ONCE, studies - done)
        scores = rng.normal(size=(count, seeds, len(deviations))) * deviations
        means = scores.mean(axis=1) + items * rng.normal(size=(count, len(deviations)))
        wrong += int(told_apart(scores, means, items, bare=deviations[0] == 0).sum())
    return wrong / studies


def largest(studies: int) -> Iterator[str]:
    """Yield lines of the largest rates of false claims in per cent, with standard errors.

    The largest of many rates is too large by chance. So all settings are screened, and those with
    the largest rates are drawn again with another seed, five times as often.
    """
    settings = [
        (name, deviations, seeds, items)
        for methods in METHODS
        for name, deviations in patterns(methods).items()
        for seeds, items in product(SEEDS, ITEMS)
    ]
    screened = [rate(studies, [_SCREENED, place], *each[1:]) for place, each in enumerate(settings)]
    yield f"{len(settings)} settings, {studies} studies each; the largest {_LARGEST} drawn again"
    yield "| methods | variances | seeds | items | at first | again | standard error |"
    for place in np.argsort(screened)[::-1][:_LARGEST]:
        name, deviations, seeds, items = settings[place]
        again = rate(5 * studies, [_CONFIRMED, int(place)], deviations, seeds, items)
        error = np.sqrt(again * (1 - again) / (5 * studies))
        yield (
            f"| {len(deviations)} | {name} | {seeds} | {items:g} | {100 * screened[place]:.2f} | "
            f"{100 * again:.2f} | {100 * error:.2f} |"
        )
