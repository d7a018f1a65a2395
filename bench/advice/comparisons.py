"""All pairs of the arms left, compared on the blocks so far and on those that are planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.advice.confidence_sequence import (
    Design,
    Differences,
    Floats,
    critical,
    differences,
)
from gapbench.bench.advice.state import BlockResults, Departure, Rules

FIRST = 2
"""Blocks before any arm can be beaten: one block does not show how blocks vary."""


def compared(
    left: Sequence[str], done: Sequence[BlockResults], rules: Rules, level: float
) -> "Comparisons | None":
    """Compare the arms left on all blocks; None while blocks are too few to show how they vary."""
    if len(done) < FIRST or not left:
        return None
    losses = np.stack([np.concatenate([block.losses[arm] for block in done]) for arm in left])
    _, items = np.unique(np.concatenate([block.items for block in done]), return_inverse=True)
    blocks = np.repeat(np.arange(len(done)), [len(block.items) for block in done])
    return Comparisons(tuple(left), differences(losses, items, blocks), level, rules)


@dataclass(frozen=True)
class Comparisons:
    """All pairs of some arms, row minus column."""

    arms: tuple[str, ...]
    found: Differences
    level: float
    rules: Rules

    @cached_property
    def errors(self) -> Floats:
        """Standard errors of the differences."""
        return np.sqrt(self.found.variances())

    @cached_property
    def radius(self) -> Floats:
        """Distances of one-sided bounds from the differences."""
        return self.found.radius(critical(self.level, self.found.design[2] / self.rules.folds))

    def beaten(self) -> list[Departure]:
        """Return the arms that are surely worse than another, by more than the margin."""
        means, lower = self.found.means, self.found.means - self.radius
        worse = (lower > 0) & (means > self.rules.margin)
        departures = []
        for place in np.flatnonzero(worse.any(axis=1)):
            by = int(np.argmax(np.where(worse[place], lower[place], -np.inf)))
            reason = (
                f"{means[place, by]:.3f} worse than {self.arms[by]}, at least "
                f"{lower[place, by]:.3f}"
            )
            departures.append(
                Departure(self.arms[place], self.found.design[2], reason, self.arms[by])
            )
        return departures

    def near(self, best: str, left: Sequence[str]) -> list[str]:
        """Return the arms whose mean is within the margin of the best by a standard error."""
        own, margin = self.arms.index(best), self.rules.margin
        above = self.found.means[:, own] + self.errors[:, own]
        return [arm for arm in left if arm == best or above[self.arms.index(arm)] <= margin]

    def at_most(self, winner: str, left: Sequence[str]) -> float:
        """Return the upper bound on how much worse the winner is than the best arm left."""
        own = self.arms.index(winner)
        others = [self.arms.index(arm) for arm in left if arm != winner]
        bounds = self.found.means[own, others] + self.radius[own, others]
        return float(max(bounds, default=0.0))

    @cached_property
    def plan(self) -> Design:
        """The design at the end of the planned blocks, see `Differences`."""
        items, inside, blocks = self.found.design
        repeats = blocks / self.rules.folds
        begun = repeats % 1
        # Inside a repeat some items are scored once more than others, and count as fewer.
        whole = items * (1 + begun * (1 - begun) / repeats**2)
        total = self.rules.folds * self.rules.repeats
        return whole, inside / blocks * total, total

    @cached_property
    def last(self) -> Floats:
        """Standard errors of the differences then."""
        return np.sqrt(np.minimum(self.found.variances(self.plan), self.errors**2))

    @cached_property
    def last_radius(self) -> Floats:
        """Distances of one-sided bounds from the differences then."""
        standard = critical(self.level, self.rules.repeats)
        return np.minimum(self.found.radius(standard, self.plan), self.radius)

    def futile(self, left: Sequence[str]) -> bool:
        """Whether the blocks that are planned will tell no two of the arms left apart.

        They are expected to if the difference, grown by half the standard error that it still has
        to go, would be enough. What lasts of an item's effect shows in the second repeat only.
        """
        if self.found.design[2] <= self.rules.folds:
            return False
        gap = self.found.means + np.sqrt(self.errors**2 - self.last**2) / 2
        needed = np.maximum(self.last_radius, self.rules.margin)
        return not bool(self.among(gap > needed, left).any())

    def among(self, pairs: NDArray[Any], left: Sequence[str]) -> NDArray[Any]:
        """Return the part of values of all pairs that is about the arms left."""
        places = [self.arms.index(arm) for arm in left]
        return pairs[np.ix_(places, places)]
