"""Do intervals hold the truth where training sets overlap? Small models, trained for real.

Each study draws rows and test items from a population, trains two penalised models on every block
of the rows, and asks for intervals of what the first is expected to reach when trained on new rows.
`tests/benchmarks/statistics.py` prints the tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gapbench.bench.metrics.calibration import ece_items, log_softmax
from gapbench.bench.tasks.cuts import cut, folds
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.pairwise import family
from gapbench.reports.stats.resampling import Resampling
from tests.benchmarks.drawing import Floats, rates

FEATURES = 10
PENALTIES = (1.0, 30.0)


@dataclass(frozen=True)
class Population:
    """What studies are drawn from, and how they are made.

    Attributes:
        rows: that training rows are drawn from.
        items: of the test set.
        folds: of repeated K-fold; None lets each of ``repeats`` seeds draw half of the rows.
        repeats: cuts into folds.
        classes: whether models classify, by the logistic function, and not regress.
        noise: standard deviation that chance in training adds to every weight.
    """

    rows: int = 120
    items: int = 2000
    folds: int | None = 5
    repeats: int = 2
    classes: bool = False
    noise: float = 0.0

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What intervals are asked for; the difference is that of both models' scores."""
        return "score", "gap", *(["ECE"] if self.classes else []), "difference"

    @property
    def resampling(self) -> Resampling:
        """How the runs of a study share rows."""
        return Resampling(1 - 1 / self.folds, self.folds) if self.folds else Resampling(0.5)

    @property
    def naive(self) -> dict[str, Resampling | None]:
        """Without a correction, and with that for runs scored on the rows they were not given."""
        held_out = 1 / self.folds if self.folds else 0.5
        return {"none": None, "Nadeau and Bengio": Resampling(held_out)}

    def blocks(self, rng: np.random.Generator, targets: NDArray[np.int64]) -> Iterator[Floats]:
        """Yield the training rows of every seed."""
        for _ in range(self.repeats):
            seed = int(rng.integers(2**40))
            if self.folds is None:
                yield np.flatnonzero(cut(targets, self.rows // 2, seed))
                continue
            fold_of = folds(targets, np.arange(self.rows), self.folds, seed)
            for fold in range(self.folds):
                yield np.flatnonzero(fold_of != fold)


def drawn(rng: np.random.Generator, world: Population) -> dict[str, list[Sample]]:
    """Return the samples of both models by outcome but the difference."""
    inputs = rng.normal(size=(world.rows + world.items, FEATURES))
    means = inputs.sum(axis=1) * (2 / np.sqrt(FEATURES))
    if world.classes:
        targets = (rng.random(len(means)) < expit(means)).astype(np.int64)
    else:
        targets = means + rng.normal(size=len(means))
    classes = targets[: world.rows] if world.classes else np.zeros(world.rows, dtype=np.int64)
    blocks = list(world.blocks(rng, classes.astype(np.int64)))
    made: dict[str, list[Sample]] = {name: [] for name in world.outcomes[:-1]}
    for penalty in PENALTIES:
        scores: dict[str, dict[int, float]] = {name: {} for name in made}
        items: dict[str, dict[int, Floats]] = {name: {} for name in made}
        for seed, rows in enumerate(blocks):
            fit = _logistic if world.classes else _ridge
            weights = fit(inputs[rows], targets[rows], penalty)
            outputs = inputs @ (weights + world.noise * rng.normal(size=FEATURES))
            values = (
                (outputs > 0) == (targets > 0) if world.classes else -((outputs - targets) ** 2)
            )
            test = values[world.rows :].astype(np.float64)
            train = float(values[rows].mean())
            items["score"][seed], items["gap"][seed] = test, train - test
            if world.classes:
                logits = np.stack([0 * outputs, outputs], axis=1)[world.rows :]
                items["ECE"][seed] = ece_items(log_softmax(logits), targets[world.rows :])
            for name, own in items.items():
                scores[name][seed] = float(own[seed].mean())
        for name, each in made.items():
            each.append(Sample(scores[name], (items[name],)))
    return made


def _ridge(inputs: Floats, targets: Floats, penalty: float) -> Floats:
    square = inputs.T @ inputs + penalty * np.eye(FEATURES)
    return np.asarray(np.linalg.solve(square, inputs.T @ targets))


def _logistic(inputs: Floats, targets: Floats, penalty: float) -> Floats:
    weights = np.zeros(FEATURES)
    for _ in range(8):  # Newton's steps
        likely = expit(inputs @ weights)
        slope = inputs.T @ (targets - likely) - penalty * weights
        curve = (inputs.T * (likely * (1 - likely))) @ inputs + penalty * np.eye(FEATURES)
        weights = weights + np.linalg.solve(curve, slope)
    return weights


@cache
def truth(world: Population, runs: int = 3000) -> dict[str, float]:
    """Return the mean outcomes of so many trainings, of one block or one repeat a population."""
    one = replace(world, repeats=1)
    rng = np.random.default_rng(77)
    every = [drawn(rng, one) for _ in range(runs // (world.folds or 1))]
    means = {
        name: [[np.mean([*each.scores.values()]) for each in study[name]] for study in every]
        for name in every[0]
    }
    found = {name: np.mean(values, axis=0) for name, values in means.items()}
    return {name: float(each[0]) for name, each in found.items()} | {
        "difference": float(found["score"][0] - found["score"][1])
    }


def judged(rng: np.random.Generator, world: Population) -> Floats:
    """Draw a study; return for each outcome what its intervals say.

    Returns:
        (outcomes, 6): whether the interval holds the truth without a correction, with the other and
        with that of the reports; half the width of the last; the mean and its square.
    """
    study, true = drawn(rng, world), truth(world)
    corrections = (*world.naive.values(), world.resampling)
    found = np.empty((len(world.outcomes), len(corrections) + 3))
    for row, outcome in enumerate(world.outcomes):
        for place, resampling in enumerate(corrections):
            name = "score" if outcome == "difference" else outcome
            own = [replace(each, resampling=resampling) for each in study[name]]
            if outcome == "difference":
                pair = family(dict(enumerate(own))).pair(0, 1)
                low, high = pair.low or np.nan, pair.high or np.nan
            else:
                low, high = map(float, estimate(own[0]).ends())
            found[row, place] = low <= true[outcome] <= high
        mean = (low + high) / 2
        found[row, -3:] = (high - low) / 2, mean, mean**2
    return found


WORLDS = {
    "ridge, 5 folds, 1 repeat": Population(repeats=1),
    "ridge, 5 folds, 2 repeats": Population(),
    "ridge, 3 folds, 3 repeats": Population(folds=3, repeats=3),
    "ridge, 2 folds, 5 repeats": Population(folds=2, repeats=5),
    "ridge, 10 folds, 1 repeat": Population(folds=10, repeats=1),
    "ridge, 5 folds, 2 repeats, 60 items": Population(items=60),
    "ridge, 10 samples of half": Population(folds=None, repeats=10),
    "logistic, 5 folds, 2 repeats": Population(classes=True),
    "logistic, 3 folds, 3 repeats": Population(classes=True, folds=3, repeats=3),
    "logistic, 5 folds, 2 repeats, 200 items": Population(classes=True, items=200),
    "logistic, 5 folds, 2 repeats, noisy": Population(classes=True, noise=0.3),
}


def resampled(studies: int) -> Iterator[str]:
    """Yield lines of coverage in per cent: rows of outcomes and worlds, columns of corrections.

    The last column is half the width of the intervals of the reports, over 1.96 times the standard
    deviation of the mean over all studies, which would cover 95 % if it were known.
    """
    yield (
        "| interval | models and cuts | " + " | ".join((*Population().naive, "here")) + " | width |"
    )
    for name, world in WORLDS.items():
        found = rates(studies, lambda rng, w=world: judged(rng, w).ravel(), 4)
        rows = found.reshape(len(world.outcomes), -1)
        for outcome, (*shares, half, mean, square) in zip(world.outcomes, rows, strict=True):
            said = " | ".join(f"{100 * each:.1f}" for each in shares)
            width = half / (1.96 * np.sqrt(square - mean**2))
            yield f"| {outcome} | {name} | {said} | {width:.2f} |"
