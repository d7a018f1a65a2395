"""How often equal classifiers are told apart in gap, ECE or NLL, however unlike their seeds vary.

What varies more between seeds is also worse on average: both errors are curved. So a claim is wrong
here if its interval leaves out the true difference, which is zero only where methods vary alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product

import numpy as np

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import Family, averaged_family, family
from gapbench.reports.stats.simultaneous import ALPHA, TOGETHER, bounds
from gapbench.reports.tables.outcomes import level_of
from tests.benchmarks.drawing import SEEDS, Floats, rates
from tests.benchmarks.normal_studies import METHODS, patterns
from tests.benchmarks.other_outcomes import WORLDS, Classifiers, measured, runs_of

OUTCOMES = {each: level_of(each.lower(), (0.0, 1.0)) for each in ("gap", "ECE", "NLL")}
"""Shares of the level that they use."""
PATTERNS = ("equal", "from 1 to 5", "one noisy", "noisy reference")
LOST = "equal, 5 % of runs lost"
ITEMS = 300
FEW_ITEMS = 100
TASKS = 6
_LARGEST = 6
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
    alike = np.ptp(factors) == 0  # so that all true differences are zero
    truth = np.zeros((len(factors), len(OUTCOMES)))
    for method in () if alike else range(len(factors)):
        truth[method] = expected_outcomes(world, shape[2], float(factors[method]))
    drawn = [drawn_task(rng, world, shape, factors) for _ in range(tasks)]
    kept = rng.random((tasks, *shape[:2])).min(axis=-1) >= lost
    found = np.empty((len(OUTCOMES), 2))
    for place, (outcome, share) in enumerate(OUTCOMES.items()):
        level = ALPHA * share
        families = [
            _family({name: each for name, each in known[outcome].items() if own[name]}, level)
            for known, own in zip(drawn, kept, strict=True)
        ]
        alone = np.mean([_misses(each, truth[:, place]) for each in families])
        found[place] = alone, _together(families, truth[:, place], level)
    return found


def drawn_task(
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
def expected_outcomes(world: Classifiers, items: int, factor: float) -> tuple[float, ...]:
    """Return the expected outcomes of new models on new items, from equal draws for all factors."""
    rng = np.random.default_rng(99)
    every = [drawn_task(rng, world, (1, 40, items), np.array([factor])) for _ in range(400)]
    return tuple(
        float(np.mean([list(each[name][0].scores.values()) for each in every])) for name in OUTCOMES
    )


def _family(known: dict[int, Sample], level: float) -> Family[int]:
    return family(known, level, reference=0 if 0 in known else None)


def _together(families: Sequence[Family[int]], truth: Floats, level: float) -> bool:
    """Return whether any interval of a task or of the mean over tasks is wrong."""
    own_level = level * (1 - TOGETHER) / len(families)
    own = [
        replace(each, bounds=bounds(each.estimate, each.n_seeds, own_level, each.places.get(0)))
        for each in families
    ]
    mean = averaged_family(families, alpha=level * TOGETHER, reference=0)
    return any(_misses(each, truth) for each in (*own, mean))


def _misses(found: Family[int], truth: Floats) -> bool:
    """Return whether any interval leaves out the true difference."""
    true = truth[list(found.places)]
    with np.errstate(invalid="ignore"):
        away = np.abs(found.estimate.mean - (true[:, None] - true)) > found.bounds.half
    return bool(away.any())


def claims(studies: int) -> Iterator[str]:
    """Yield lines of family-wise error in per cent, of studies of one task and of several.

    There are as many studies of several tasks, and `TASKS` times as many of one. The largest of
    many rates is too large by chance: what has the largest is drawn again, five times as often.
    """
    yield "| claims on | methods | tasks | variances | " + _row(f"{n} seeds" for n in SEEDS)
    rates_of: dict[tuple[int, int, str], Floats] = {}
    for methods, name in product(METHODS, (*PATTERNS, LOST)):
        for seeds in SEEDS:
            rates_of[methods, seeds, name] = _drawn(studies, methods, seeds, name, again=0)
        for (place, outcome), several in product(enumerate(OUTCOMES), (0, 1)):
            found = (rates_of[methods, seeds, name][place, several] for seeds in SEEDS)
            said = _row(f"{100 * each:.1f}" for each in found)
            yield f"| {outcome} | {methods} | {(1, TASKS)[several]} | {name} | {said}"
    yield "\n| drawn again | methods | seeds | " + _row(
        f"{outcome}, {tasks}" for outcome in OUTCOMES for tasks in ("1 task", f"{TASKS} tasks")
    )
    for key in sorted(rates_of, key=lambda key: -rates_of[key].max())[:_LARGEST]:
        again = _drawn(5 * studies, *key, again=1).ravel()
        methods, seeds, name = key
        yield f"| {name} | {methods} | {seeds} | " + _row(f"{100 * each:.1f}" for each in again)


def other_worlds(studies: int) -> Iterator[str]:
    """Yield the same for equal classifiers of other kinds on `FEW_ITEMS`, on three tasks.

    There are three times as many studies of one task.
    """
    heads = (f"{methods} methods, {seeds} seeds" for methods in (3, 7) for seeds in SEEDS)
    yield "| claims on | case | tasks | " + _row(heads)
    for case in ("too sure", "often right", "often right, too sure"):
        found = []
        for methods, seeds in product((3, 7), SEEDS):
            shape = (methods, seeds, FEW_ITEMS)
            one = partial(study, world=WORLDS[case], shape=shape, factors=np.ones(methods), tasks=3)
            rate = rates(studies, lambda rng, d=one: d(rng).ravel(), [methods, seeds])
            found.append(rate.reshape(len(OUTCOMES), 2))
        for (place, outcome), several in product(enumerate(OUTCOMES), (0, 1)):
            said = _row(f"{100 * each[place, several]:.1f}" for each in found)
            yield f"| {outcome} | {case} | {(1, 3)[several]} | {said}"


def _drawn(studies: int, methods: int, seeds: int, name: str, *, again: int) -> Floats:
    """Return what `study` gives, on average; another ``again`` draws other studies."""
    one = partial(
        study,
        world=WORLDS["about calibrated"],
        shape=(methods, seeds, ITEMS),
        factors=patterns(methods)["equal" if name == LOST else name],
        lost=0.05 * (name == LOST),
    )
    seed = [again, methods, seeds, (*PATTERNS, LOST).index(name)]
    found = rates(studies, lambda rng: one(rng).ravel(), seed)
    return found.reshape(len(OUTCOMES), 2)


def _row(cells: Iterable[str]) -> str:
    return " | ".join(cells) + " |"
