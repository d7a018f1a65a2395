"""Coverage of intervals of texts, judges, errors, and means over tasks that are no plain scores."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np

from gapbench.bench.metrics.base import get
from gapbench.bench.store.judgements import HIGHEST, LOWEST
from gapbench.reports.stats.agreement import first_shown
from gapbench.reports.stats.estimates import Estimate, Sample, averaged, estimate
from tests.benchmarks.drawing import SEEDS, Case, Floats, holds, rates, sample, samples
from tests.benchmarks.other_outcomes import WORLDS, measured, runs_of
from tests.benchmarks.outcome_claims import OUTCOMES, drawn_task, expected_outcomes

ITEMS = 100
TASKS = 3
_WORDS, _SHAPE = 300, 1.1  # of texts: how many words there are, and the exponent of Zipf's law
_TIES = 0.2
_SHIFTS = (0.0, 0.3, 0.6, 0.6, -3.0)  # of methods in log odds; the last is not trained
_FREE = (-np.inf, np.inf)


# Texts


def bleu(rng: np.random.Generator, seeds: int) -> float:
    """The metric itself, on texts whose words are replaced at random."""
    runs, references = texts(rng, seeds)
    values = {seed: _pseudovalues(run, references) for seed, run in enumerate(runs)}
    scores = {seed: float(each.mean()) for seed, each in values.items()}
    found = estimate(Sample(scores, (values,), (0.0, 1.0)))
    return holds(found, seeds, _bleu_truth(), (0.0, 1.0))


def texts(rng: np.random.Generator, seeds: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return what every seed writes, and one reference for each of `ITEMS` items."""
    frequency = np.arange(1, _WORDS + 1) ** -_SHAPE
    frequency /= frequency.sum()
    hard, unsteady = rng.normal(size=ITEMS), rng.normal(0, 0.1, seeds)
    right = [rng.choice(_WORDS, size, p=frequency) for size in rng.integers(6, 25, ITEMS)]
    runs = []
    for own in unsteady:
        wrong = 1 / (1 + np.exp(1.0 + own + hard))
        runs.append(
            [
                _text(np.where(rng.random(len(one)) < p, rng.choice(_WORDS, len(one)), one))
                for one, p in zip(right, wrong, strict=True)
            ]
        )
    return runs, [[_text(one)] for one in right]


def _text(words: Floats) -> str:
    return " ".join(f"w{each}" for each in words)


def _pseudovalues(run: list[str], references: list[list[str]]) -> Floats:
    found = get("bleu").pseudovalues(run, references)
    assert found is not None
    return found


@cache
def _bleu_truth() -> float:
    """Return the expected BLEU of a new run on as many new texts."""
    rng = np.random.default_rng(99)
    drawn = (texts(rng, 5) for _ in range(400))
    function = get("bleu").function
    return float(np.mean([function(run, refs) for runs, refs in drawn for run in runs]))


# Judges


def rating(rng: np.random.Generator, seeds: int) -> float:
    """The mean of two judges' ratings, whole numbers from 1 to 10, of which many are 10."""
    found = estimate(_judged(_ratings(rng, seeds), (LOWEST, HIGHEST)))
    return holds(found, seeds, _mean_of(_ratings), (LOWEST, HIGHEST))


def won(rng: np.random.Generator, seeds: int) -> float:
    """The share of pairs won against the reference, of which one in five is a tie."""
    found = estimate(_judged(_shares(rng, seeds), (0.0, 1.0)))
    return holds(found, seeds, _mean_of(_shares), (0.0, 1.0))


def first(rng: np.random.Generator, seeds: int) -> float:
    """The share of a judge's decided pairs of which the first shown is preferred."""
    given = rng.choice(["A", "B", "tie"], seeds * ITEMS, p=[0.48, 0.32, 0.2])
    found = first_shown(given.tolist())
    return float((found.low or 0) <= 0.6 <= (found.high or 1))


def _ratings(rng: np.random.Generator, seeds: int) -> Floats:
    liked = 8 + 1.5 * rng.normal(size=ITEMS) + 0.2 * rng.normal(size=(seeds, 1))
    judges = liked + rng.normal(size=(2, seeds, ITEMS))
    return np.asarray(np.clip(np.round(judges), LOWEST, HIGHEST).mean(axis=0))


def _shares(rng: np.random.Generator, seeds: int) -> Floats:
    better = 0.4 + rng.normal(size=ITEMS) + 0.1 * rng.normal(size=(seeds, 1))
    preferred = (better + rng.normal(size=(seeds, ITEMS)) > 0).astype(np.float64)
    return np.where(rng.random((seeds, ITEMS)) < _TIES, 0.5, preferred)


def _judged(values: Floats, possible: tuple[float, float]) -> Sample:
    return sample(values, Case(possible=possible))


@cache
def _mean_of(drawn: Callable[[np.random.Generator, int], Floats]) -> float:
    rng = np.random.default_rng(99)
    return float(np.mean([drawn(rng, 1).mean() for _ in range(20_000)]))


# Losses


def squared_error(rng: np.random.Generator, seeds: int, shared: float) -> float:
    """The mean squared error of models that have a part of their residuals' variance in common."""
    return holds(estimate(_errors(rng, seeds, shared)), seeds, 1.0, (0.0, np.inf))


def errors_over_tasks(rng: np.random.Generator, seeds: int) -> float:
    """The same over tasks, with a third in common."""
    parts = [estimate(_errors(rng, seeds, 1 / 3)) for _ in range(TASKS)]
    return holds(averaged(parts), seeds, 1.0, (0.0, np.inf))


def nll_gap(rng: np.random.Generator, seeds: int) -> float:
    """The gap in NLL of classifiers that are often right and too sure."""
    return holds(estimate(_nll_gap(rng, seeds)), seeds, _nll_gap_truth(), _FREE)


def _errors(rng: np.random.Generator, seeds: int, shared: float) -> Sample:
    common, own = rng.normal(size=ITEMS), rng.normal(size=(seeds, ITEMS))
    residuals = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return _judged(residuals**2, (0.0, np.inf))


def _nll_gap(rng: np.random.Generator, seeds: int) -> Sample:
    world, shape = WORLDS["often right, too sure"], (1, seeds, ITEMS)
    train, test = (measured(*world.draw(rng, shape, known))["NLL"][0] for known in (1.0, 0.0))
    above, below = (np.array([[*each.strata[0].values()]]) for each in (test, train))
    return runs_of(above, -below, possible=_FREE)[0]


@cache
def _nll_gap_truth() -> float:
    rng = np.random.default_rng(99)
    return float(np.mean([estimate(_nll_gap(rng, 20)).mean for _ in range(1000)]))


# Means over tasks


def over_tasks(rng: np.random.Generator, seeds: int, outcome: str) -> float:
    """The mean over tasks of gap, ECE or NLL, of classifiers that are about calibrated."""
    world, shape = WORLDS["about calibrated"], (1, seeds, ITEMS)
    parts = [drawn_task(rng, world, shape, np.ones(1))[outcome][0] for _ in range(TASKS)]
    truth = expected_outcomes(world, ITEMS, 1.0)[list(OUTCOMES).index(outcome)]
    return holds(averaged([*map(estimate, parts)]), seeds, truth, parts[0].possible)


def share(rng: np.random.Generator, seeds: int, case: Case) -> float:
    """The mean share of the way from the untrained row to the best one, the ends being given."""
    parts, truths, ends = [], [], []
    for level in (-0.05, 0.0, 0.05):
        shifts = [level + each for each in _SHIFTS]
        values, true = case.draw(rng, shifts, seeds)
        rows = samples(values, case)
        *trained, start = (float(estimate(each).mean) for each in rows.values())
        scale = 1 / (max(trained) - start)
        parts.append(_moved(estimate(rows[0]), start).scaled(scale))
        truths.append(scale * (float(true[0]) - start))
        ends.append([(end - start) * scale for end in case.possible])
    low, high = np.mean(ends, axis=0)
    return holds(averaged(parts), seeds, float(np.mean(truths)), (low, high))


def share_of_errors(rng: np.random.Generator, seeds: int) -> float:
    """The same of squared errors, which the untrained row has ten times as large."""
    parts, ends = [], []
    for _ in range(TASKS):
        own, other = (estimate(_errors(rng, seeds, 0.7)) for _ in range(2))
        best = min(float(own.mean), float(other.mean))
        scale = 1 / (best - 10)
        parts.append(_moved(own, 10).scaled(scale))
        ends.append((scale * (1 - 10), scale * (0 - 10)))
    truth, high = np.mean(ends, axis=0)
    return holds(averaged(parts), seeds, float(truth), (-np.inf, float(high)))


def _moved(found: Estimate, start: float) -> Estimate:
    return replace(found, mean=found.mean - start)


INTERVALS: dict[str, Callable[..., float]] = {
    "BLEU": bleu,
    "judges' rating": rating,
    "share of pairs won": won,
    "share of first shown": first,
    "squared error, a tenth in common": partial(squared_error, shared=0.1),
    "squared error, most in common": partial(squared_error, shared=0.7),
    f"squared error over {TASKS} tasks": errors_over_tasks,
    "gap in NLL, often right, too sure": nll_gap,
    **{
        f"mean over {TASKS} tasks of {each}": partial(over_tasks, outcome=each) for each in OUTCOMES
    },
    f"mean share of the way over {TASKS} tasks": partial(
        share, case=Case(items=ITEMS, untrained=1, level=2.0, seed=0.1, possible=(0.0, 1.0))
    ),
    f"the same, accuracy .98, {ITEMS} items": partial(
        share, case=Case(items=ITEMS, untrained=1, level=5.2, seed=0.2, possible=(0.0, 1.0))
    ),
    "the same of squared errors": share_of_errors,
}


def combined(studies: int) -> Iterator[str]:
    """Yield lines of coverage in per cent."""
    yield "| interval | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |"
    for place, (name, drawn) in enumerate(INTERVALS.items()):
        found = [rates(studies, partial(drawn, seeds=seeds), [place, seeds])[0] for seeds in SEEDS]
        yield f"| {name} | " + " | ".join(f"{100 * each:.1f}" for each in found) + " |"
