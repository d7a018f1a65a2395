"""What a race is told and what it has found: results of blocks, rules, arms that left."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gapbench.bench.advice.confidence_sequence import Floats, Ints


@dataclass(frozen=True)
class BlockResults:
    """The results of one block.

    Attributes:
        items: (items,) identity of each item of the fold, or of its group; the same in every block.
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
            standard error, and of those that cost about the same, the best; None before any
            comparison is possible.
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
