"""Gap, ECE and NLL of simulated classifiers, and what training gains over untrained rows.

Labels are drawn from true probabilities of three classes. A classifier knows their log odds up to
an error of its method and one of its training, and states them more or less boldly than they are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics.calibration import ece_items, nll_items
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.pairwise import Family, family
from tests.benchmarks.drawing import SEEDS, Case, Floats, claimed, holds, rates, samples

ITEMS = (300, 800)
METHODS = 7
_CLASSES = 3
_OUTCOMES: dict[str, tuple[Callable[..., Floats], tuple[float, float]]] = {
    "ECE": (ece_items, (0.0, 1.0)),
    "NLL": (nll_items, (0.0, np.inf)),
}


@dataclass(frozen=True)
class Classifiers:
    """What simulated classifiers are like.

    Attributes:
        boldness: what they multiply log odds with; 0.9 is about calibrated, as they err.
        seed: standard deviation of the logarithm of that between seeds.
    """

    boldness: float = 0.9
    seed: float = 0.1

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, int, int], known: float = 0.0
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return logits `(methods, seeds, items, classes)` and true classes `(items,)`.

        Args:
            rng: of the draw.
            shape: `(methods, seeds, items)`.
            known: what is added to the log odds of the true class, as of items trained on.
        """
        methods, seeds, items = shape
        truth = 1.5 * rng.normal(size=(items, _CLASSES))
        labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)
        own = 0.35 * rng.normal(size=(methods, 1, items, _CLASSES))
        trained = 0.35 * rng.normal(size=(methods, seeds, items, _CLASSES))
        bold = self.boldness * np.exp(self.seed * rng.normal(size=(methods, seeds, 1, 1)))
        seen = known * np.eye(_CLASSES)[labels]
        return bold * (truth + own + trained + seen), labels


WORLDS = {"about calibrated": Classifiers(), "too sure": Classifiers(boldness=2.0)}


def outcome(name: str, logits: Floats, labels: NDArray[np.int64]) -> dict[int, Sample]:
    """Return the ECE or NLL of methods, as reports see it."""
    of_items, possible = _OUTCOMES[name]
    found = {}
    for method, runs in enumerate(logits):
        values = [of_items(each, labels) for each in runs]
        scores = {seed: float(each.mean()) for seed, each in enumerate(values)}
        found[method] = Sample(scores, (dict(enumerate(values)),), possible)
    return found


def gaps(rng: np.random.Generator, world: Classifiers, shape: tuple[int, int, int]) -> Family[int]:
    """Draw accuracies on items trained on and on others; compare the gaps of methods."""
    right = []
    for known in (1.0, 0.0):
        logits, labels = world.draw(rng, shape, known)
        right.append((logits.argmax(axis=-1) == labels).astype(np.float64))
    train, test = right
    scores = train.mean(axis=-1) - test.mean(axis=-1)
    return family(
        {
            method: Sample(
                dict(enumerate(scores[method])),
                (dict(enumerate(train[method])), dict(enumerate(-test[method]))),
                (-1.0, 1.0),
            )
            for method in range(shape[0])
        },
        reference=0,
    )


def covers(
    rng: np.random.Generator, name: str, world: Classifiers, shape: tuple[int, int]
) -> float:
    """Draw a row of `(seeds, items)`; return whether the interval of its ECE or NLL holds it."""
    found = outcome(name, *world.draw(rng, (1, *shape)))[0]
    return holds(estimate(found), shape[0], _truth(name, world, shape[1]), found.possible)


@cache
def _truth(name: str, world: Classifiers, items: int) -> float:
    """Return the expected value of a new model on so many new items, over 4,000 of them."""
    rng = np.random.default_rng(99)
    drawn = (outcome(name, *world.draw(rng, (1, 1, items)))[0] for _ in range(4000))
    return float(np.mean([each.scores[0] for each in drawn]))


def null(rng: np.random.Generator, world: Classifiers, shape: tuple[int, int, int]) -> list[bool]:
    """Draw equal classifiers; return whether gap, ECE and NLL claim anything."""
    logits, labels = world.draw(rng, shape)
    known = [family(outcome(name, logits, labels), reference=0) for name in _OUTCOMES]
    return [claimed(each) for each in (gaps(rng, world, shape), *known)]


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
    for name, (case, world) in product(_OUTCOMES, WORLDS.items()):
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
    for case, world in WORLDS.items():
        drawn = [
            rates(studies // 2, partial(null, world=world, shape=(METHODS, *each)), sum(each))
            for each in columns
        ]
        for place, name in enumerate(("gap", *_OUTCOMES)):
            yield _row(name, case, [each[place] for each in drawn])


def _row(name: str, case: str, found: Sequence[float]) -> str:
    return f"| {name} | {case} | " + " | ".join(f"{100 * each:.1f}" for each in found) + " |"
