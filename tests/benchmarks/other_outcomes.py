"""ECE and NLL of simulated classifiers, and what training gains over untrained rows.

Labels are drawn from true probabilities of three classes. A classifier knows their log odds up to
an error of its method and one of its training, and states them more or less boldly than they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics.calibration import (
    confidence_error_items,
    confidence_of,
    log_softmax,
    nll_items,
    softmax,
)
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.pairwise import family
from tests.benchmarks.drawing import SEEDS, Case, Floats, claimed, holds, rates, samples

ITEMS = (100, 300, 800)
METHODS = 7
_CLASSES = 3


@dataclass(frozen=True)
class Classifiers:
    """What simulated classifiers are like.

    Attributes:
        boldness: what they multiply log odds with; 0.9 is about calibrated, as they err.
        seed: standard deviation between seeds of the logarithm of that, and of the logarithm of how
            well training items are known.
        spread: standard deviation of the true log odds; of 1.5 the best classifier is right about
            two times in three, of 6 nine times in ten.
    """

    boldness: float = 0.9
    seed: float = 0.1
    spread: float = 1.5

    def draw(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int, int],
        known: float = 0.0,
        factors: Floats | float = 1.0,
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return logits `(methods, seeds, items, classes)` and true classes `(items,)`.

        Args:
            rng: of the draw.
            shape: `(methods, seeds, items)`.
            known: what is added to the log odds of the true class, as of items trained on.
            factors: of `seed`, method by method, `(methods,)`.
        """
        methods, seeds, items = shape
        truth = self.spread * rng.normal(size=(items, _CLASSES))
        labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
        own = 0.35 * rng.normal(size=(methods, 1, items, _CLASSES))
        trained = 0.35 * rng.normal(size=(methods, seeds, items, _CLASSES))
        varied = self.seed * np.broadcast_to(factors, methods)[:, None, None, None]
        bold, better = np.exp(varied * rng.normal(size=(2, methods, seeds, 1, 1)))
        bold = self.boldness * bold
        seen = known * better * np.eye(_CLASSES)[labels] if known else 0.0
        return bold * (truth + own + trained + seen), labels


WORLDS = {
    "about calibrated": Classifiers(),
    "too sure": Classifiers(boldness=2.0),
    "often right": Classifiers(spread=6.0),
    "often right, too sure": Classifiers(boldness=2.0, spread=6.0),
}


def measured(logits: Floats, labels: NDArray[np.int64]) -> dict[str, dict[int, Sample]]:
    """Return ECE and NLL of methods, as reports see them.

    Args:
        logits: `(methods, seeds, items, classes)`.
        labels: true classes, `(items,)`.
    """
    shape, flat = logits.shape[:-1], logits.reshape(-1, _CLASSES)
    every = np.broadcast_to(labels, shape).ravel()
    sure, right = (each.reshape(shape) for each in confidence_of(softmax(flat), every))
    gaps = [
        [confidence_error_items(*run) for run in zip(*runs, strict=True)]
        for runs in zip(sure, right, strict=True)
    ]
    return {
        "ECE": runs_of(np.array(gaps), possible=(0.0, 1.0)),
        "NLL": runs_of(nll_items(log_softmax(flat), every).reshape(shape), possible=(0.0, np.inf)),
    }


def runs_of(*strata: Floats, possible: tuple[float, float]) -> dict[int, Sample]:
    """Return methods whose items have these values, `(methods, seeds, items)` for each split."""
    scores = sum(each.mean(axis=-1) for each in strata)
    return {
        method: Sample(
            dict(enumerate(own)),
            tuple(dict(enumerate(each[method])) for each in strata),
            possible,
        )
        for method, own in enumerate(scores)
    }


def covers(
    rng: np.random.Generator, name: str, world: Classifiers, shape: tuple[int, int]
) -> float:
    """Draw a row of `(seeds, items)`; return whether the interval of its ECE or NLL holds it."""
    found = measured(*world.draw(rng, (1, *shape)))[name][0]
    return holds(estimate(found), shape[0], _truth(name, world, shape[1]), found.possible)


@cache
def _truth(name: str, world: Classifiers, items: int) -> float:
    """Return the expected value of a new model on so many new items, over 4,000 of them."""
    rng = np.random.default_rng(99)
    drawn = (measured(*world.draw(rng, (1, 1, items)))[name][0] for _ in range(4000))
    return float(np.mean([each.scores[0] for each in drawn]))


def untrained(rng: np.random.Generator, case: Case, seeds: int) -> bool:
    """Draw trained rows as good as the untrained ones; return whether anything is claimed.

    Each untrained row is compared with all trained rows, at its share of the level.
    """
    values, _ = case.draw(rng, [0.0] * (METHODS + case.untrained), seeds)
    known = samples(values, case)
    trained = {name: known[name] for name in range(METHODS)}
    return any(
        claimed(family({**trained, row: known[row]}, 0.05 / case.untrained, row, share=1.0))
        for row in range(METHODS, len(known))
    )


def outcomes(studies: int) -> Iterator[str]:
    """Yield lines of coverage and, of half as many studies, of family-wise error, in per cent."""
    columns = [(seeds, items) for items in ITEMS for seeds in SEEDS]
    heads = " | ".join(f"{seeds} seeds, {items} items" for seeds, items in columns)
    yield f"| interval | case | {heads} |"
    for name, (case, world) in product(("ECE", "NLL"), WORLDS.items()):
        found = [
            rates(studies, partial(covers, name=name, world=world, shape=each), sum(each))[0]
            for each in columns
        ]
        yield _row(name, case, found)
    yield f"\n| claims on | case | {heads} |"
    for case, noisy in (("equal", None), ("one noisy", 1)):
        found = [
            rates(
                studies // 2,
                partial(untrained, case=Case(items, noisy=noisy, untrained=2), seeds=seeds),
                seeds + items,
            )[0]
            for seeds, items in columns
        ]
        yield _row("training", case, found)


def _row(name: str, case: str, found: Sequence[float]) -> str:
    return f"| {name} | {case} | " + " | ".join(f"{100 * each:.1f}" for each in found) + " |"
