"""How often the interval of what a score is worth in training examples holds the true size."""

from collections.abc import Iterator

import numpy as np

from gapbench.reports.stats.worth import worth
from tests.benchmarks.drawing import CASES, SEEDS, Case, rates, samples

SIZES = (128, 256, 512, 1024)
_RISE = 0.05
_RISE_IN_LOG_ODDS = 0.4


def held(rng: np.random.Generator, case: Case, seeds: int) -> tuple[bool, float]:
    """Draw a reference at four sizes and a score between the second and the third of them.

    Returns:
        Whether the interval holds the true size, an open end being infinitely far and what is not
        told being not wrong; the same if a size is told, else NaN.
    """
    rise = _RISE if case.level is None else _RISE_IN_LOG_ODDS
    values, truth = case.draw(rng, [*(rise * np.arange(4)), 1.6 * rise], seeds)
    true = np.exp(np.interp(truth[-1], truth[:-1], np.log(SIZES)))
    known = list(samples(values, case).values())
    found = worth(dict(zip(SIZES, known[:-1], strict=True)), known[-1], upward=True)
    if found is None:
        return True, np.nan
    holds = (found.low or 0.0) <= true <= (found.high or np.inf)
    return holds, float(holds)


def worths(studies: int) -> Iterator[str]:
    """Yield lines of coverage in per cent: of all studies, and of those that tell a size."""
    yield "| case | " + " | ".join(f"all, {n} seeds | told" for n in SEEDS) + " |"
    for row, (name, case) in enumerate(CASES.items()):
        found = [rates(studies, lambda rng, n=n, c=case: held(rng, c, n), [row, n]) for n in SEEDS]
        said = " | ".join(f"{100 * every:.1f} | {100 * told:.1f}" for every, told in found)
        yield f"| {name} | {said} |"
