"""How often equal classifiers are told apart in gap, ECE or NLL, however unlike their seeds vary.

What varies more between seeds is also worse on average: both errors are curved. So a claim is wrong
here if its interval leaves out the true difference, which is zero only where methods vary alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product

import numpy as np

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import Family, averaged_family, family
from gapbench.reports.stats.simultaneous import ALPHA, TOGETHER, bounds
from tests.benchmarks.drawing import SEEDS, Floats, rates
from tests.benchmarks.normal_studies import METHODS, patterns
from tests.benchmarks.other_outcomes import WORLDS, Classifiers, measured, runs_of

OUTCOMES = ("gap", "ECE", "NLL")
PATTERNS = ("equal", "from 1 to 5", "one noisy", "noisy reference")
LOST = "equal, 5 % of runs lost"
ITEMS = 300
TASKS = 6
_KNOWN = 1.0  # log odds that training adds to the true class of its items


def study(
    rng: np.random.Generator,
    world: Classifiers,
    shape: tuple[int, int, int],
    factors: Floats,
    *,
    tasks: int = TASKS,
    lost: float = 0.0,
) -> Floats:
    """Draw tasks that are judged as a study each, and as one study of them all.

    Args:
        rng: of the draw.
        world: of all methods.
        shape: `(methods, seeds, items)`.
        factors: of what seeds vary by, `(methods,)`; the first is the reference's.
        tasks: how many.
        lost: probability that a run fails; its method is then not compared on that task.

    Returns:
        (outcomes, 2): share of studies of one task with any wrong interval; whether the study of
        all tasks has one.
    """
    truth = np.array([_truth(world, shape[2], float(each)) for each in factors])
    drawn = [_task(rng, world, shape, factors) for _ in range(tasks)]
    kept = rng.random((tasks, *shape[:2])).min(axis=-1) >= lost
    found = np.empty((len(OUTCOMES), 2))
    for place, outcome in enumerate(OUTCOMES):
        families = [
            _family({name: each for name, each in known[outcome].items() if own[name]})
            for known, own in zip(drawn, kept, strict=True)
        ]
        alone = np.mean([_misses(each, truth[:, place]) for each in families])
        found[place] = alone, _together(families, truth[:, place])
    return found


def _task(
    rng: np.random.Generator, world: Classifiers, shape: tuple[int, int, int], factors: Floats
) -> dict[str, dict[int, Sample]]:
    """Draw as many training items as test items; return methods by outcome."""
    right = []
    for known in (_KNOWN, 0.0):
        logits, labels = world.draw(rng, shape, known, factors)
        right.append((logits.argmax(axis=-1) == labels).astype(np.float64))
    gap = runs_of(right[0], -right[1], possible=(-1.0, 1.0))
    return {"gap": gap, **measured(logits, labels)}


@cache
def _truth(world: Classifiers, items: int, factor: float) -> tuple[float, ...]:
    """Return the expected outcomes of new models on new items; equal draws for all factors."""
    rng = np.random.default_rng(99)
    every = [_task(rng, world, (1, 1, items), np.array([factor])) for _ in range(4000)]
    return tuple(float(np.mean([each[name][0].scores[0] for each in every])) for name in OUTCOMES)


def _family(known: dict[int, Sample]) -> Family[int]:
    return family(known, reference=0 if 0 in known else None)


def _together(families: Sequence[Family[int]], truth: Floats) -> bool:
    """Return whether any interval of a task or of the mean over tasks is wrong."""
    level = ALPHA * (1 - TOGETHER) / len(families)
    own = [
        replace(each, bounds=bounds(each.estimate, each.n_seeds, level, each.places.get(0)))
        for each in families
    ]
    mean = averaged_family(families, alpha=ALPHA * TOGETHER, reference=0)
    return any(_misses(each, truth) for each in (*own, mean))


def _misses(found: Family[int], truth: Floats) -> bool:
    """Return whether any interval leaves out the true difference."""
    true = truth[list(found.places)]
    with np.errstate(invalid="ignore"):
        away = np.abs(found.estimate.mean - (true[:, None] - true)) > found.bounds.half
    return bool(away.any())


def claims(studies: int) -> Iterator[str]:
    """Yield lines of family-wise error in per cent, of studies of one task and of several.

    There are as many studies of several tasks, and `TASKS` times as many of one.
    """
    yield "| claims on | methods | tasks | variances | " + _heads(f"{n} seeds" for n in SEEDS)
    world = WORLDS["about calibrated"]
    for methods in METHODS:
        for row, name in enumerate((*PATTERNS, LOST)):
            factors = patterns(methods)["equal" if name == LOST else name]
            found = [
                _drawn(studies, world, (methods, seeds, ITEMS), factors, row, name == LOST)
                for seeds in SEEDS
            ]
            for (place, outcome), several in product(enumerate(OUTCOMES), (False, True)):
                said = _heads(f"{100 * each[place, int(several)]:.1f}" for each in found)
                yield f"| {outcome} | {methods} | {TASKS if several else 1} | {name} | {said}"


def _drawn(
    studies: int,
    world: Classifiers,
    shape: tuple[int, int, int],
    factors: Floats,
    row: int,
    lost: bool,
) -> Floats:
    one = partial(study, world=world, shape=shape, factors=factors, lost=0.05 * lost)
    found = rates(studies, lambda rng: one(rng).ravel(), [*shape, row])
    return found.reshape(len(OUTCOMES), 2)


def _heads(cells: Iterator[str]) -> str:
    return " | ".join(cells) + " |"
