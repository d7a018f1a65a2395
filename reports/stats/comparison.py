"""What is known of two methods on one task: their difference, its test, and what it could find."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.stats.intervals import Interval
from gapbench.reports.stats.power import detectable, more_seeds

ALPHA = 0.05
"""Family-wise error rate of all tests."""


@dataclass(frozen=True)
class Comparison:
    """Two methods compared on the seeds, and where known the test items, that both have.

    Attributes:
        estimate: mean of first minus second.
        n: common seeds.
        p_value: two-sided, of the hypothesis that the expected difference is zero; None where there
            are fewer than two common seeds, or where nothing varies.
        corrected: the same after Holm's correction for all tests of the family.
        strictest: level at which Holm tests the smallest p-value of the family.
        width: largest possible difference.
    """

    estimate: Estimate
    n: int
    p_value: float | None
    corrected: float | None
    strictest: float
    width: float = np.inf

    @cached_property
    def difference(self) -> Interval:
        """The mean difference with the 95 % interval of this pair alone, as far as possible."""
        return self.estimate.interval(self.n, (-self.width, self.width))

    @property
    def apart(self) -> bool:
        """Whether the difference is significant."""
        return self.corrected is not None and self.corrected < ALPHA

    @property
    def items(self) -> bool:
        """Whether test items are part of it; if not, it holds for this test set only."""
        return bool(np.isfinite(self.estimate.item_df))

    @cached_property
    def detectable(self) -> float | None:
        """Least true difference that 80 % of such studies would find, at the strictest level.

        Infinite where they would find no possible one, None where there is no p-value.
        """
        least = detectable(self.estimate, self.strictest)
        return least if least is None or least <= self.width else np.inf

    @cached_property
    def more_seeds(self) -> float | None:
        """Seeds to be added before 80 % of such studies would find a difference as large as seen.

        Infinite where the test items are too few for it, None where there is no p-value.
        """
        return more_seeds(self.estimate, self.n, self.strictest)
