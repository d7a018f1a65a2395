"""The race: arms meet on one block after another, and those that are beaten leave.

A block is the validation part of one fold of one repeat. The race is a pure function of the losses
so far, so that it can be replayed from stored records at any time.

An arm is beaten if another arm that is left has a smaller mean loss, by more than the margin that
matters, and the lower bound of the difference is above zero. The level ``alpha`` is shared equally
over the other arms of the design, which bounds the probability that the best arm is ever beaten.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.advice.confidence_sequence import (
    Differences,
    Floats,
    Ints,
    critical,
    differences,
)

FIRST = 2
"""Blocks before any arm can be beaten: one block does not show how blocks vary."""


@dataclass(frozen=True)
class BlockResults:
    """The results of one block.

    Attributes:
        items: (items,) identity of each validation item; the same item has it in every block.
        losses: (items,) losses by arm, in units of the score; an arm may be missing.
        failed: why an arm has no losses, by arm.
        seconds: time of training and scoring by arm.
        ece: calibration error by arm.
    """

    items: Ints
    losses: Mapping[str, Floats]
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    ece: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """The rules of a race.

    Attributes:
        margin: least difference of scores that matters.
        folds: blocks of one repeat; intervals are narrowest after these.
        reference: arm that costs are compared with.
        repeats: repeats that are planned; a race without hope ends earlier, see `State.futile`.
        alpha: probability that the best arm is ever beaten, at most.
        most_cost: largest cost of an arm, relative to the reference.
        most_seconds: longest time of training and scoring a run.
        most_ece: largest mean calibration error, compared once a repeat is complete. Until then no
            arm is beaten, and none that is above it so far can win.
    """

    margin: float
    folds: int
    reference: str
    repeats: int = 4
    alpha: float = 0.05
    most_cost: float | None = None
    most_seconds: float | None = None
    most_ece: float | None = None


@dataclass(frozen=True)
class Departure:
    """An arm that left the race.

    Attributes:
        block: number of blocks that it took part in.
        reason: why, in words.
        by: the arm that beat it, None if it left for another reason.
    """

    arm: str
    block: int
    reason: str
    by: str | None = None


@dataclass(frozen=True)
class State:
    """A race after some blocks.

    Attributes:
        blocks: number of blocks that all arms left have done.
        left: arms left, the best mean loss first.
        out: arms that left, in this order.
        losses: mean loss of each arm on all blocks that it took part in.
        winner: the cheapest of the arms left whose mean loss is within the margin of the best, by a
            standard error; None before any comparison is possible.
        at_most: upper bound on how much worse the winner is than the best arm.
        decided: whether `at_most` is within the margin, so that the race is over.
        futile: whether the planned blocks are not expected to tell any two arms left apart.
        resolved: difference between any two arms left that the blocks so far would tell apart.
        resolvable: the same for all planned blocks.
    """

    blocks: int
    left: tuple[str, ...]
    out: tuple[Departure, ...]
    losses: Mapping[str, float]
    winner: str | None = None
    at_most: float = math.inf
    decided: bool = False
    futile: bool = False
    resolved: float = math.inf
    resolvable: float = math.inf

    @property
    def over(self) -> bool:
        """Whether further blocks would not help."""
        return self.decided or self.futile or not self.left

    @property
    def ties(self) -> tuple[str, ...]:
        """Arms left beside the winner."""
        return tuple(arm for arm in self.left if arm != self.winner)


def race(arms: Sequence[str], blocks: Sequence[BlockResults], rules: Rules) -> State:
    """Replay a race: return its state after the last block that all arms left have done.

    Args:
        arms: all arms, in the order of the design.
        blocks: results so far, in order; an arm that is out may lack any.
        rules: the rules.
    """
    left, out = list(arms), list[Departure]()
    level = rules.alpha / max(len(arms) - 1, 1)
    state = State(0, tuple(arms), (), {})
    for number in range(1, len(blocks) + 1):
        done = blocks[:number]
        if any(arm not in done[-1].losses and arm not in done[-1].failed for arm in left):
            break
        out += _failed_or_refused(left, done, rules)
        left = _without(left, out)
        seen = _compared(left, done, rules, level)
        # An arm that may still break the limit must not have driven others out.
        early = rules.most_ece is not None and number < rules.folds
        if seen is not None and not early:
            out += seen.beaten()
            left = _without(left, out)
        state = _state(left, out, done, rules, seen)
        if early:
            state = replace(state, decided=False, futile=False)
        if state.over:
            break
    return state


def relative_cost(arm: str, blocks: Sequence[BlockResults], reference: str) -> float | None:
    """Return the mean time of an arm relative to the reference on the same blocks, if known."""
    both = [b.seconds for b in blocks if arm in b.seconds and reference in b.seconds]
    own, other = sum(each[arm] for each in both), sum(each[reference] for each in both)
    return own / other if other else None


def _without(left: Sequence[str], out: Sequence[Departure]) -> list[str]:
    gone = {departure.arm for departure in out}
    return [arm for arm in left if arm not in gone]


def _failed_or_refused(
    left: Sequence[str], done: Sequence[BlockResults], rules: Rules
) -> list[Departure]:
    """Return the arms that failed or break a constraint."""
    number, found = len(done), []
    for arm in left:
        cost = relative_cost(arm, done, rules.reference)
        seconds, ece = _mean("seconds", arm, done), _mean("ece", arm, done)
        reason = done[-1].failed.get(arm)
        if reason is None and rules.most_cost is not None and (cost or 0) > rules.most_cost:
            reason = f"costs {cost:.1f} times as much as {rules.reference}"
        if (
            reason is None
            and rules.most_seconds is not None
            and (seconds or 0) > rules.most_seconds
        ):
            reason = f"takes {seconds:.0f} seconds"
        if reason is None and number >= rules.folds and _over_ece(arm, done, rules):
            reason = f"has a calibration error of {ece:.3f}"
        if reason is not None:
            found.append(Departure(arm, number, reason))
    return found


def _over_ece(arm: str, done: Sequence[BlockResults], rules: Rules) -> bool:
    """Whether the mean calibration error of an arm so far is above the limit, if there is one."""
    return rules.most_ece is not None and (_mean("ece", arm, done) or 0) > rules.most_ece


def _compared(
    left: Sequence[str], done: Sequence[BlockResults], rules: Rules, level: float
) -> "_Comparisons | None":
    """Compare the arms left on all blocks; None while blocks are too few to show how they vary."""
    if len(done) < FIRST or not left:
        return None
    losses = np.stack([np.concatenate([block.losses[arm] for block in done]) for arm in left])
    _, items = np.unique(np.concatenate([block.items for block in done]), return_inverse=True)
    blocks = np.repeat(np.arange(len(done)), [len(block.items) for block in done])
    return _Comparisons(tuple(left), differences(losses, items, blocks), level, rules)


@dataclass(frozen=True)
class _Comparisons:
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
        return self.errors * critical(self.level, self.found.design[2] / self.rules.folds)

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
    def last(self) -> Floats:
        """Standard errors of the differences at the end of the planned blocks."""
        items, _, blocks = self.found.design
        items = round(items * max(self.rules.folds / blocks, 1))
        plan = (items, items * self.rules.repeats, self.rules.folds * self.rules.repeats)
        return np.sqrt(np.minimum(self.found.variances(plan), self.errors**2))

    @cached_property
    def last_radius(self) -> Floats:
        """Distances of one-sided bounds from the differences then."""
        return self.last * critical(self.level, self.rules.repeats)

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


def _state(
    left: Sequence[str],
    out: Sequence[Departure],
    done: Sequence[BlockResults],
    rules: Rules,
    seen: _Comparisons | None,
) -> State:
    arms = [*left, *(departure.arm for departure in out)]
    losses = {arm: loss for arm in arms if (loss := _mean("losses", arm, done)) is not None}
    ordered = tuple(sorted(left, key=lambda arm: losses[arm]))
    state = State(len(done), ordered, tuple(out), losses)
    if seen is None or not left:
        return state
    within = tuple(arm for arm in ordered if not _over_ece(arm, done, rules))
    if not within:
        return state
    near = seen.near(within[0], within)
    winner = min(near, key=lambda arm: relative_cost(arm, done, rules.reference) or math.inf)
    at_most = seen.at_most(winner, within)
    return replace(
        state,
        winner=winner,
        at_most=at_most,
        decided=at_most <= rules.margin,
        futile=seen.futile(left),
        resolved=float(seen.among(seen.radius, left).max()),
        resolvable=float(seen.among(seen.last_radius, left).max()),
    )


def _mean(name: str, arm: str, blocks: Sequence[BlockResults]) -> float | None:
    """Return the mean of what an arm has in the blocks that it took part in, if in any."""
    values = [getattr(block, name)[arm] for block in blocks if arm in getattr(block, name)]
    return (
        float(np.concatenate([np.atleast_1d(value) for value in values]).mean()) if values else None
    )
