"""Does the race of `gapbench advise` keep the best arm, and what does it save? By simulation.

Errors of 0 and 1 are drawn from a probit model whose true error rates are known. An item is hard
for all arms, and for some more than for others; every training of an arm on a block is better or
worse as a whole, by its seed and its training set. Other races are drawn from the stored outcomes
of a real study. `docs/advice.md` prints what this prints, and `tests/advice/test_race.py` runs a
short form.

    python -m tests.benchmarks.advice --races 1000
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

import gapbench
from gapbench.bench.advice.race import race
from gapbench.bench.advice.state import BlockResults, Rules, State

Floats = NDArray[np.float64]

ARMS = 12
MARGIN = 0.01
FOLDS, REPEATS = 5, 4
REFERENCE = "arm 0"
_ROUNDING = 1e-9
_MEASURED = Path(__file__).parents[2] / "results/reference/measured"


class World(Protocol):
    """What races are drawn from."""

    def draw(self, rng: np.random.Generator) -> tuple[Floats, list[BlockResults]]:
        """Return the true error rates, and the results of all arms on all blocks.

        Arm number i is called "arm i"; arm 0 is the reference.
        """


@dataclass(frozen=True)
class Probit:
    """What varies in a simulated race, on the scale of a probit model whose noise is 1.

    Attributes:
        rates: draws the true error rates of the arms, the reference's first.
        items: rows without the sealed test part.
        hard: spread of the difficulty of items, the same for all arms.
        own: spread of what an item adds for a single arm, in every block.
        blocks: spread of what a training on a block adds; of arms that differ, the largest.
        uneven: whether arms differ in that spread, up to `blocks`.
        size: rows of a group, which folds keep together.
        groups: spread of what a group adds for a single arm, in every block.
    """

    rates: Callable[[np.random.Generator], Floats]
    items: int
    hard: float = 2.0
    own: float = 0.7
    blocks: float = 0.1
    uneven: bool = False
    size: int = 1
    groups: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[Floats, list[BlockResults]]:
        """Draw rates, items and trainings, and cut the items into folds."""
        truth = self.rates(rng)
        spreads = self.blocks * (rng.uniform(0, 1, len(truth)) if self.uneven else 1.0)
        fixed = 1 + self.hard**2 + self.own**2 + self.groups**2
        total = np.sqrt(fixed + np.square(spreads))
        level = ndtri(truth) * total
        item = level[:, None] + self.hard * rng.normal(size=self.items)
        item = item + self.own * rng.normal(size=(len(truth), self.items))
        group = np.arange(self.items) // self.size
        item = item + self.groups * rng.normal(size=(len(truth), group[-1] + 1))[:, group]
        seconds = {f"arm {arm}": float(rng.uniform(1, 3)) for arm in range(1, len(truth))}
        seconds[REFERENCE] = 1.0
        blocks = []
        for _ in range(REPEATS):
            for part in np.array_split(rng.permutation(group[-1] + 1), FOLDS):
                fold = np.flatnonzero(np.isin(group, part))
                shift = spreads * rng.normal(size=len(truth))
                noise = rng.normal(size=(len(truth), len(fold)))
                wrong = (item[:, fold] + shift[:, None] + noise > 0).astype(np.float64)
                losses = {f"arm {arm}": row for arm, row in enumerate(wrong)}
                blocks.append(BlockResults(group[fold], losses, seconds=seconds))
        return truth, blocks


@dataclass(frozen=True)
class Stored:
    """Races over the outcomes of a study with stored outputs, which are their whole population.

    Every row is a test item of the study, drawn with replacement, and every block one of its
    trainings, so that the true error rate of an arm is its mean over all trainings and items. LoRA,
    the first row of every study, is the reference.

    Attributes:
        study: folder of stored reference results.
        rows: without the sealed test part.
        methods: whose rows are the arms.
        equal: whether all arms are LoRA, each with trainings of its own.
    """

    study: str
    rows: int
    methods: tuple[str, ...]
    equal: bool = False

    def draw(self, rng: np.random.Generator) -> tuple[Floats, list[BlockResults]]:
        """Draw rows and trainings, and cut the rows into folds."""
        wrong, costs = outcomes(self.study, self.methods)
        if self.equal:
            wrong, costs = np.repeat(wrong[:1], ARMS, axis=0), np.repeat(costs[:1], ARMS)
        arms = np.arange(len(wrong))
        item = rng.integers(wrong.shape[2], size=self.rows)
        seconds = {f"arm {arm}": cost for arm, cost in enumerate(costs.tolist())}
        blocks = []
        for _ in range(REPEATS):
            for fold in np.array_split(rng.permutation(self.rows), FOLDS):
                trainings = rng.integers(wrong.shape[1], size=len(arms) if self.equal else 1)
                found = wrong[arms[:, None], trainings[:, None], item[fold]]
                losses = {f"arm {arm}": row for arm, row in enumerate(found)}
                blocks.append(BlockResults(fold, losses, seconds=seconds))
        return wrong.mean(axis=(1, 2)), blocks


SST2 = (
    *("lora", "hiddenkey", "lora_dropout", "bilora", "flexora", "head", "full"),
    "lora_early_stop",
)
TWEETS = (
    *("lora", "lora_dropout", "flexora", "hiddenkey", "lora_early_stop", "label_smoothing"),
    "allora",
)
"""Methods of SST-2 and of the tweets to airlines that race; others were trained later."""


@cache
def outcomes(study: str, methods: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return the errors, (rows of the study, seeds, items), and the mean seconds of a run."""
    results = gapbench.load(_MEASURED / study)
    wrong, seconds = [], []
    own = results.runs[results.runs["method"].isin(methods)]
    for _, runs in own.groupby(["method", "variant"], sort=False):
        frames = [results.predictions(run) for _, run in runs.sort_values("seed").iterrows()]
        chosen = [frame.filter(like="logit_").to_numpy().argmax(axis=1) for frame in frames]
        wrong.append([each != frame["label"] for each, frame in zip(chosen, frames, strict=True)])
        seconds.append((runs["train_seconds"] + runs["evaluation_seconds"]).mean())
    return np.array(wrong, dtype=np.float64), np.array(seconds)


def equal(rng: np.random.Generator, arms: int = ARMS) -> Floats:  # noqa: ARG001
    """All arms are equal."""
    return np.full(arms, 0.15)


def grid(rng: np.random.Generator) -> Floats:
    """Four methods at three learning rates each, of which one is right and the others are not."""
    methods = 0.15 + rng.normal(0, 0.01, 4)
    wrong = np.stack([[0.0, rng.uniform(0.01, 0.06), rng.uniform(0.04, 0.25)] for _ in range(4)])
    return rng.permuted(methods[:, None] + wrong, axis=1).ravel()


def ladder(rng: np.random.Generator) -> Floats:
    """Every arm is a little worse than the one before; half of them are within 0.03."""
    return rng.permutation(0.15 + 0.06 * np.linspace(0, 1, ARMS))


def hair(rng: np.random.Generator) -> Floats:
    """One arm is better than all others, but by 0.002 only."""
    return rng.permutation(np.where(np.arange(ARMS) == 0, 0.148, 0.15))


def one_good(rng: np.random.Generator) -> Floats:
    """One arm is better than all others by 0.03."""
    return rng.permutation(np.where(np.arange(ARMS) == 0, 0.12, 0.15))


WORLDS: dict[str, World] = {
    "null, 240 rows": Probit(equal, 240),
    "null, 2000 rows": Probit(equal, 2000),
    "null, uneven blocks, 1000 rows": Probit(equal, 1000, blocks=0.4, uneven=True),
    "null, 2 arms, 4000 rows": Probit(partial(equal, arms=2), 4000, blocks=0.3),
    "null, 3 arms, uneven blocks, 1000 rows": Probit(
        partial(equal, arms=3), 1000, blocks=0.4, uneven=True
    ),
    "null, 6 arms, uneven blocks, 2000 rows": Probit(
        partial(equal, arms=6), 2000, blocks=0.4, uneven=True
    ),
    "null, 6 arms, 30 groups of 20 rows": Probit(partial(equal, arms=6), 600, size=20, groups=0.7),
    "null, 6 arms, 15 groups of 60 rows": Probit(partial(equal, arms=6), 900, size=60, groups=0.7),
    "grid, 240 rows": Probit(grid, 240),
    "grid, 1000 rows": Probit(grid, 1000),
    "grid, 4000 rows": Probit(grid, 4000),
    "grid, large block effects, 1000 rows": Probit(grid, 1000, blocks=0.3),
    "grid, uneven blocks, 1000 rows": Probit(grid, 1000, blocks=0.4, uneven=True),
    "ladder, 1000 rows": Probit(ladder, 1000),
    "one arm better by 0.002, 1000 rows": Probit(hair, 1000, blocks=0.4, uneven=True),
    "one good arm, 1000 rows": Probit(one_good, 1000),
    "SST-2, 300 rows": Stored("small_data", 300, SST2),
    "SST-2, 1000 rows": Stored("small_data", 1000, SST2),
    "SST-2, 4000 rows": Stored("small_data", 4000, SST2),
    "SST-2, all arms LoRA, 1000 rows": Stored("small_data", 1000, SST2, equal=True),
    "tweets, 300 rows": Stored("airline_tweets", 300, TWEETS),
    "tweets, 1000 rows": Stored("airline_tweets", 1000, TWEETS),
    "tweets, 4000 rows": Stored("airline_tweets", 4000, TWEETS),
    "tweets, all arms LoRA, 1000 rows": Stored("airline_tweets", 1000, TWEETS, equal=True),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one race.

    Attributes:
        dropped: whether the best arm was dropped.
        regret: true loss of the winner above that of the best arm.
        stated: upper bound on it that the race states.
        decided: whether the race ended before its blocks did.
        saved: share of the runs of the full grid that were not needed.
        claim: whether the reference was beaten.
        full: regret of the arm with the best mean in the full grid.
    """

    dropped: bool
    regret: float
    stated: float
    decided: bool
    saved: float
    claim: bool
    full: float


def one(rng: np.random.Generator, world: World) -> Outcome:
    """Draw a race and judge it."""
    truth, blocks = world.draw(rng)
    arms = [f"arm {arm}" for arm in range(len(truth))]
    state = race(arms, blocks, Rules(MARGIN, FOLDS, REFERENCE, REPEATS))
    tops = [arm for arm, rate in zip(arms, truth, strict=True) if rate == truth.min()]
    gone = {departure.arm for departure in state.out}
    assert state.winner is not None
    return Outcome(
        dropped=gone.issuperset(tops),
        regret=float(truth[arms.index(state.winner)] - truth.min()),
        stated=state.at_most,
        decided=state.decided,
        saved=1 - runs_of(state) / (len(arms) * len(blocks)),
        claim=REFERENCE in gone,
        full=float(truth[_best(arms, blocks)] - truth.min()),
    )


def _best(arms: list[str], blocks: list[BlockResults]) -> int:
    """Return the arm with the best mean after all blocks, the answer of the full grid."""
    return int(np.argmin([np.concatenate([b.losses[arm] for b in blocks]).mean() for arm in arms]))


def runs_of(state: State) -> int:
    """Return the number of runs that a race needed."""
    return len(state.left) * state.blocks + sum(departure.block for departure in state.out)


def table(races: int, seed: int = 20261128) -> Iterator[str]:
    """Yield the rows of the table of the documentation."""
    yield (
        "| world | best arm dropped | regret at most the margin | of the full grid "
        "| regret at most as stated | decided | runs saved, median | LoRA beaten |"
    )
    yield "| --- " * 8 + "|"
    for number, (name, world) in enumerate(WORLDS.items()):
        rng = np.random.default_rng([seed, number])
        found = [one(rng, world) for _ in range(races)]
        shares = [
            np.mean([each.dropped for each in found]),
            np.mean([each.regret <= MARGIN + _ROUNDING for each in found]),
            np.mean([each.full <= MARGIN + _ROUNDING for each in found]),
            np.mean([each.regret <= max(each.stated, MARGIN) + _ROUNDING for each in found]),
            np.mean([each.decided for each in found]),
            np.median([each.saved for each in found]),
            np.mean([each.claim for each in found]),
        ]
        yield f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=1000)
    begun = time.monotonic()
    for row in table(parser.parse_args().races):
        print(row, flush=True)
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
