"""Agreement of judges against published values and another library."""

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from gapbench.reports.stats.agreement import first_shown, krippendorff_alpha, nominal_alpha

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: 4 observers, 12 units.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
UNITS = [[v for v in unit if v is not None] for unit in zip(*OBSERVERS, strict=True)]


def test_alpha_is_that_of_the_paper() -> None:
    """Nominal 0.743 and interval 0.849, as printed."""
    assert nominal_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(UNITS) == pytest.approx(0.849, abs=5e-4)


def test_nominal_alpha_follows_from_fleiss_kappa() -> None:
    """Without missing values, 1 - alpha is 1 - kappa times (n - 1) / n of all n values."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((30, 4)) < 0.6, rng.integers(3, size=(30, 1)), 2)
    values[rng.random(values.shape) < 0.3] = 0
    kappa = fleiss_kappa(aggregate_raters(values)[0])
    n = values.size
    names = np.array(["A", "B", "tie"])[values].tolist()
    assert nominal_alpha(names) == pytest.approx(1 - (1 - kappa) * (n - 1) / n)


def test_alpha_of_agreement_chance_and_nothing() -> None:
    """1 where all agree, near 0 for noise; none without pairs of values, or without variation."""
    rng = np.random.default_rng(1)
    assert krippendorff_alpha([(1, 1), (4, 4), (9, 9)]) == 1
    assert nominal_alpha([("A", "A"), ("tie", "tie")]) == 1
    assert krippendorff_alpha(rng.random((5000, 2)).tolist()) == pytest.approx(0, abs=0.05)
    assert krippendorff_alpha([(1,), (2,)]) is None
    assert krippendorff_alpha([(3, 3), (3, 3)]) is None
    assert nominal_alpha([]) is None


def test_share_of_the_first_leaves_ties_out() -> None:
    """The exact interval of the decided pairs; none if all are ties."""
    found = first_shown(["A"] * 8 + ["B"] * 2 + ["tie"] * 5)
    expected = binomtest(8, 10).proportion_ci()
    assert (found.n, found.mean) == (10, 0.8)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert first_shown(["tie"]).mean is None
