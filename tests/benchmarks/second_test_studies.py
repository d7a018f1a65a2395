"""Second tests of simulated methods: coverage of score and change, and claims by chance.

Each study has two tests that share one level: the accuracy on questions, and the loss of text,
which rises by an amount that is skewed over seeds. The bare backbone answers the same items.
"""

from collections.abc import Iterator
from functools import cache, partial
from itertools import product

import numpy as np
from scipy.special import expit

from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.pairwise import family
from gapbench.reports.stats.simultaneous import ALPHA
from gapbench.reports.tables.outcomes import level_of
from tests.benchmarks.drawing import SEEDS, Floats, holds, rates
from tests.benchmarks.normal_studies import METHODS, patterns
from tests.support.simulated_runs import expected

ITEMS = 300
RANGES = {"accuracy": (0.0, 1.0), "loss": (0.0, np.inf)}
PATTERNS = ("equal", "one noisy", "noisy reference", "from 1 to 5")
_LEVEL, _BARE, _HARD, _OWN, _SEED = 2.0, 0.5, 1.5, 0.5, 0.1  # log odds of a right answer
_LOSS, _RISE, _UNSTEADY = 2.0, 0.2, 0.15
_LARGEST = 4

_expected = cache(expected)
Test = tuple[Floats, Floats]
"""Values of runs, `(methods, seeds, items)`, and of the bare backbone, `(items,)`."""


def drawn(rng: np.random.Generator, factors: Floats, seeds: int) -> dict[str, Test]:
    """Return both tests of one study.

    Args:
        rng: of the draw.
        factors: of what seeds vary by, `(methods,)`.
        seeds: of each method.
    """
    runs = (len(factors), seeds, 1)
    hard = _HARD * rng.normal(size=ITEMS)
    liking = _OWN * rng.normal(size=(len(factors), 1, ITEMS))
    effects = _SEED * factors[:, None, None] * rng.normal(size=runs)
    right = rng.random((*runs[:2], ITEMS)) < expit(_LEVEL + hard + liking + effects)
    bare_right = rng.random(ITEMS) < expit(_BARE + hard)
    bare = _LOSS * rng.gamma(4.0, 0.25, size=ITEMS)
    spread = _UNSTEADY * factors[:, None, None]
    rise = _RISE * np.exp(spread * rng.normal(size=runs) - spread**2 / 2)
    loss = bare + rise * rng.gamma(2.0, 0.5, size=ITEMS)
    loss = loss + 0.1 * rng.normal(size=liking.shape) + 0.1 * rng.normal(size=loss.shape)
    return {"accuracy": (right.astype(float), bare_right.astype(float)), "loss": (loss, bare)}


def truth(name: str, factors: Floats) -> Floats:
    """Return the expected values of methods on new items, `(methods,)`."""
    if name == "loss":
        return np.full(len(factors), _LOSS + _RISE)
    deviations = np.sqrt(_HARD**2 + _OWN**2 + (_SEED * factors) ** 2)
    return np.array([_expected(_LEVEL, float(each)) for each in deviations])


def covers(rng: np.random.Generator, name: str, seeds: int, *, change: bool) -> float:
    """Draw a method; return whether the interval of its score or its change holds the truth."""
    one = np.ones(1)
    values, bare = drawn(rng, one, seeds)[name]
    low, high = RANGES[name]
    true = float(truth(name, one)[0])
    if change:
        values, low, high = values - bare, low - high, high - low
        true -= _LOSS if name == "loss" else _expected(_BARE, _HARD)
    found = estimate(_sample(values[0], (low, high)))
    return holds(found, seeds, true, (low, high))


def errs(rng: np.random.Generator, factors: Floats, seeds: int) -> bool:
    """Draw a study; return whether any interval of a difference, on any test, is wrong."""
    tests = drawn(rng, factors, seeds)
    for name, (values, _) in tests.items():
        known = {method: _sample(each, RANGES[name]) for method, each in enumerate(values)}
        alpha = ALPHA * level_of("score", RANGES[name]) / len(tests)
        found, true = family(known, alpha, 0), truth(name, factors)
        with np.errstate(invalid="ignore"):
            away = np.abs(found.estimate.mean - (true[:, None] - true)) > found.bounds.half
        if away.any():
            return True
    return False


def _sample(values: Floats, possible: tuple[float, float]) -> Sample:
    return Sample(dict(enumerate(values.mean(axis=1))), (dict(enumerate(values)),), possible)


def second_tests(studies: int) -> Iterator[str]:
    """Yield lines of coverage and, of half as many studies, of family-wise error, in per cent.

    The largest of many rates is too large by chance: these are drawn again, five times as often.
    """
    heads = " | ".join(f"{seeds} seeds" for seeds in SEEDS)
    yield f"| interval | test | {heads} |"
    for place, (change, name) in enumerate(product((False, True), RANGES)):
        found = [
            rates(studies, partial(covers, name=name, seeds=seeds, change=change), [place, seeds])[
                0
            ]
            for seeds in SEEDS
        ]
        yield f"| {'change' if change else 'score'} | {name} | {_row(found)}"
    yield f"\n| methods | variances | {heads} |"
    wrong: dict[tuple[int, str, int], float] = {}
    for methods, name in product(METHODS, PATTERNS):
        for seeds in SEEDS:
            wrong[methods, name, seeds] = _error(studies // 2, methods, name, seeds, again=0)
        yield f"| {methods} | {name} | {_row([wrong[methods, name, seeds] for seeds in SEEDS])}"
    yield "\n| drawn again | methods | seeds | in any test |"
    for methods, name, seeds in sorted(wrong, key=lambda key: -wrong[key])[:_LARGEST]:
        found = [_error(5 * studies // 2, methods, name, seeds, again=1)]
        yield f"| {name} | {methods} | {seeds} | {_row(found)}"


def _error(studies: int, methods: int, name: str, seeds: int, *, again: int) -> float:
    """Return the share of studies with any wrong interval; another ``again`` draws other ones."""
    one = partial(errs, factors=patterns(methods)[name], seeds=seeds)
    return float(rates(studies, one, [again, methods, PATTERNS.index(name), seeds])[0])


def _row(found: list[float]) -> str:
    return " | ".join(f"{100 * each:.1f}" for each in found) + " |"
