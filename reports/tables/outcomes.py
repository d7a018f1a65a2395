"""What methods are compared on, how strictly, and in which direction more is better."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from gapbench.reports.stats.pairwise import Pair

Claim = Literal["better", "worse", ""]
Outcome = Literal["score", "gap", "ece", "nll"]
OUTCOMES: tuple[Outcome, ...] = ("score", "gap", "ece", "nll")
"""What methods are compared on: test score, generalization gap, calibration error, test NLL.

The direction of the score is that of its metric; of the others less is better.
"""

MEAN: Mapping[Outcome, str] = {
    "score": "score",
    "gap": "generalization_gap",
    "ece": "ece",
    "nll": "nll",
}
"""Where its mean is in the leaderboard."""

Split = Literal["train_score", "validation_score"]
SPLITS: tuple[Split, ...] = ("train_score", "validation_score")
"""Scores on the other splits, which have intervals too and are not compared."""

SKEWED = 0.6
"""Share of the level that comparisons in losses use.

NLL is skewed over seeds of a method whose confidence is unsteady, so that its claims are wrong more
often than intervals of normal values say; `docs/statistics.md` has the simulation.
"""


def range_of(outcome: Outcome, possible: tuple[float, float]) -> tuple[float, float]:
    """Return the lowest and the highest possible value of an outcome, given those of the score."""
    width = possible[1] - possible[0]
    ranges = {"score": possible, "gap": (-width, width), "ece": (0.0, 1.0), "nll": (0.0, np.inf)}
    return ranges[outcome]


def level_of(outcome: str, *ranges: tuple[float, float]) -> float:
    """Return the share of the level of comparisons that an outcome uses.

    Args:
        outcome: what is compared.
        ranges: lowest and highest possible score, of each task; one without a highest is a loss.
    """
    loss = outcome != "ece" and not np.isfinite(np.array(ranges)).all()
    return SKEWED if outcome == "nll" or loss else 1.0


def claim(pair: Pair, *, upward: bool) -> Claim:
    """Return whether the first of a pair is better or worse; "" if the data do not tell."""
    if not pair.apart or pair.difference is None:
        return ""
    return "better" if (pair.difference > 0) == upward else "worse"
