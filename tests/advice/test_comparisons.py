"""What pairs of arms are expected to show at the end of the planned blocks."""

import numpy as np
import pytest

from gapbench.bench.advice.comparisons import compared
from gapbench.bench.advice.state import BlockResults, Rules


@pytest.mark.parametrize("blocks", [2, 4, 5, 7, 13, 20])
def test_the_plan_has_all_rows_whatever_part_of_a_repeat_is_done(blocks: int) -> None:
    """Rows that were scored once more than others in it count as fewer now, not in the end."""
    rng, rows, rules = np.random.default_rng(0), 100, Rules(0.01, folds=5, reference="a", repeats=4)
    folds = np.concatenate([rng.permutation(rows).reshape(5, -1) for _ in range(rules.repeats)])
    done = [BlockResults(fold, {arm: rng.normal(size=20) for arm in "ab"}) for fold in folds]
    found = compared(("a", "b"), done[:blocks], rules, 0.05)
    assert found is not None
    assert found.plan == pytest.approx((rows, 4 * rows, 20))
