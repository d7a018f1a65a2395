"""How often equal methods are told apart where runs fail and count as the untrained row."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gapbench.reports.stats.pairwise import family
from gapbench.reports.tables.row_status import collapsed_seeds
from tests.benchmarks.drawing import SEEDS, Case, Floats, claimed, rates, sample, samples
from tests.benchmarks.normal_studies import METHODS

CASE = Case(items=200, level=2.0, seed=0.1, possible=(0.0, 1.0))
"""Accuracies of about .8."""

_UNTRAINED, _FAILED = (0.5, 0.7), (0.05, 0.2)


def null(rng: np.random.Generator, shape: tuple[int, int], untrained: float, failed: float) -> bool:
    """Draw equal methods whose runs fail equally often; return whether anything is claimed.

    As in reports, a method all of whose runs failed is not ranked, nor is one that collapsed.

    Args:
        rng: of the draw.
        shape: `(methods, seeds)`.
        untrained: accuracy of the row that failed runs count as.
        failed: probability that a run fails.
    """
    values, _ = CASE.draw(rng, [0.0] * shape[0], shape[1])
    floor = (rng.random(CASE.items) < untrained).astype(np.float64)
    bare = sample(np.tile(floor, (shape[1], 1)), CASE)
    gone = rng.random(shape) < failed
    some = [method for method in range(shape[0]) if not gone[method].all()]
    for method in some:
        _fill(values[method], gone[method], floor)
    known = {name: each for name, each in samples(values, CASE).items() if name in some}
    collapsed = collapsed_seeds({name: each.scores for name, each in known.items()}, bare, up=True)
    kept = {name: known[name] for name in known if name not in collapsed}
    return claimed(family(kept, reference=0 if 0 in kept else None))


def _fill(values: Floats, gone: NDArray[np.bool_], floor: Floats) -> None:
    """Put the untrained row, or the worst run that is worse, in the place of failed runs."""
    worst = values[~gone][values[~gone].mean(axis=1).argmin()]
    values[gone] = floor if floor.mean() < worst.mean() else worst


def failures(studies: int) -> Iterator[str]:
    """Yield lines of family-wise error in per cent."""
    yield "| methods | untrained | runs failed | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |"
    for methods, untrained, failed in product(METHODS, _UNTRAINED, _FAILED):
        found = [
            rates(
                studies,
                lambda rng, s=(methods, n), u=untrained, f=failed: null(rng, s, u, f),
                [methods, n, int(100 * untrained), int(100 * failed)],
            )[0]
            for n in SEEDS
        ]
        said = " | ".join(f"{100 * each:.1f}" for each in found)
        yield f"| {methods} | {untrained} | {100 * failed:.0f} % | {said} |"
