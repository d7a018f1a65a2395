"""How often the interval of the optimism of tuning holds what choosing by validation flattered by.

The validation items of a study are given: what its search made of them is what is asked. Test items
and the seeds of winner and default are drawn.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from gapbench.reports.stats.pairwise import family
from gapbench.reports.tables.tuning import optimism
from tests.benchmarks.drawing import CASES, SEEDS, Case, Floats, rates, sample
from tests.support.simulated_runs import expected

TRIALS = 20
_APART = 0.01
_APART_IN_LOG_ODDS = 0.1
"""Standard deviation of what trials truly differ by."""


def flattered(rng: np.random.Generator, case: Case, seeds: int) -> tuple[float, float]:
    """Draw a search, and runs of its winner and of the default, which is its first trial.

    Returns:
        Whether the interval over seeds and test items holds the truth; the same over seeds alone.
    """
    apart = _APART if case.level is None else _APART_IN_LOG_ODDS
    shifts = np.concatenate([[0.0], apart * rng.normal(size=TRIALS)])
    validation, test = (_base(rng, case, shifts) for _ in range(2))
    searched = _runs(rng, case, validation, _effects(rng, case, len(shifts), 1)).mean(axis=2)[:, 0]
    winner = int(searched.argmax())
    effects = _effects(rng, case, 2, seeds)
    on_validation, on_test = (
        _runs(rng, case, base[[0, winner]], effects) for base in (validation, test)
    )
    default, best = on_test.mean(axis=2)
    losses = (searched[winner] - best - (on_validation[0].mean(axis=1) - default)).tolist()
    gain = family({0: sample(on_test[0]), 1: sample(on_test[1])}).estimate[1, 0]
    truth = float(
        searched[winner]
        - _mean(case, shifts[winner])
        - _given(case, validation[0])
        + _mean(case, 0.0)
    )
    over_seeds = replace(gain, item_variance=0.0 * gain.item_variance)
    return _holds(losses, gain, truth), _holds(losses, over_seeds, truth)


def _base(rng: np.random.Generator, case: Case, shifts: Floats) -> Floats:
    """Return what trials add up to on new items but for seeds and noise, `(trials, items)`."""
    hard, own = (1.5, 0.5) if case.level is not None else (0.3, case.own)
    start = 0.7 if case.level is None else case.level
    items = hard * rng.normal(size=case.items) + own * rng.normal(size=(len(shifts), case.items))
    return np.asarray(start + shifts[:, None] + items)


def _effects(rng: np.random.Generator, case: Case, count: int, seeds: int) -> Floats:
    drawn = rng.exponential if case.skewed else rng.normal
    return np.asarray(case.seed * (drawn(size=(count, seeds)) - (1.0 if case.skewed else 0.0)))


def _runs(rng: np.random.Generator, case: Case, base: Floats, effects: Floats) -> Floats:
    """Return values of items, `(trials, seeds, items)`."""
    total = base[:, None, :] + effects[:, :, None]
    if case.level is None:
        return np.asarray(total + 0.25 * rng.normal(size=total.shape))
    return (rng.random(total.shape) < expit(total)).astype(np.float64)


def _mean(case: Case, shift: float) -> float:
    """Return the expected score of a trial."""
    if case.level is None:
        return 0.7 + shift
    return expected(case.level + shift, float(np.sqrt(1.5**2 + 0.5**2 + case.seed**2)))


def _given(case: Case, base: Floats) -> float:
    """Return the expected score of a trial on given items."""
    if case.level is None:
        return float(base.mean())
    return float(np.mean([expit(base + way * case.seed) for way in (-1, 1)]))  # Gauss, 2 places


def _holds(losses: list[float], gain: Any, truth: float) -> float:
    found = optimism(losses, gain, excess=0.0)
    if found.low is None or found.high is None:
        return float("nan")
    return float(found.low <= truth <= found.high)


def tunings(studies: int) -> Iterator[str]:
    """Yield lines of coverage in per cent, over seeds and test items and over seeds alone."""
    yield "| case | " + " | ".join(f"{n} seeds | seeds alone" for n in SEEDS) + " |"
    for row, (name, case) in enumerate(CASES.items()):
        found = [
            rates(studies, lambda rng, n=n, c=case: flattered(rng, c, n), [row, n]) for n in SEEDS
        ]
        said = " | ".join(f"{100 * both:.1f} | {100 * alone:.1f}" for both, alone in found)
        yield f"| {name} | {said} |"
