"""What a score is worth in examples: known truth, coverage, and where nothing can be told."""

import numpy as np
import pytest

from gapbench.reports.stats.resampling import Resampling
from gapbench.reports.stats.worth import Worth, worth

SIZES = (128, 256, 512, 1024)


def _straight(size: float) -> float:
    return 0.5 + 0.05 * float(np.log2(size))


def _curve(noise: np.ndarray) -> dict[int, dict[int, float]]:
    """Return scores by size and seed: a straight line over the logarithm, plus noise."""
    return {
        size: {seed: _straight(size) + row[place] for seed, row in enumerate(noise)}
        for place, size in enumerate(SIZES)
    }


def test_a_score_on_the_curve_is_worth_its_size() -> None:
    """Between sizes it is the size of the line, whichever direction is better."""
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.standard_normal((5, len(SIZES)))
    noise -= noise.mean(axis=0)
    for truth in (150, 256, 700):
        scores = {seed: _straight(truth) for seed in range(5)}
        found = worth(_curve(noise), scores, upward=True)
        assert found is not None
        assert found.size == pytest.approx(truth, rel=1e-6)
        assert found.low is not None
        assert found.high is not None
        assert found.low < truth < found.high
        flipped = {n: {s: -v for s, v in row.items()} for n, row in _curve(noise).items()}
        assert worth(flipped, {s: -v for s, v in scores.items()}, upward=False) == found


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 1,500 studies with five seeds whose effects are shared, 95 % within three errors."""
    rng = np.random.default_rng(1)
    truth, held, studies = 400, 0, 1500
    for _ in range(studies):
        shared = 0.02 * rng.standard_normal((5, 1))
        curve = _curve(shared + 0.01 * rng.standard_normal((5, len(SIZES))))
        own = shared[:, 0] + 0.01 * rng.standard_normal(5)
        scores = {seed: _straight(truth) + own[seed] for seed in range(5)}
        found = worth(curve, scores, upward=True)
        # What is not told is not wrong; an open end is infinitely far.
        low, high = (None, None) if found is None else (found.low, found.high)
        held += (low or 0) <= truth <= (high or np.inf)
    error = np.sqrt(0.95 * 0.05 / studies)
    assert held / studies == pytest.approx(0.95, abs=3 * error + 0.005)


def test_seeds_that_share_rows_widen_the_interval() -> None:
    """By the factor of other intervals; the size itself stays."""
    rng = np.random.default_rng(4)
    curve = _curve(0.005 * rng.standard_normal((5, len(SIZES))))
    scores = {seed: _straight(360) for seed in range(5)}
    alone = worth(curve, scores, upward=True)
    shared = worth(curve, scores, upward=True, resampling=Resampling(0.2))
    assert alone is not None
    assert shared is not None
    assert alone.size == shared.size
    assert shared.low is not None
    assert alone.low is not None
    assert shared.low < alone.low


def test_nothing_is_said_beyond_the_sizes_that_were_run() -> None:
    """A better or worse score than all has one known end."""
    rng = np.random.default_rng(2)
    curve = _curve(1e-4 * rng.standard_normal((5, len(SIZES))))
    assert worth(curve, dict.fromkeys(range(5), 2.0), upward=True) == Worth(None, 1024.0, None)
    assert worth(curve, dict.fromkeys(range(5), 0.1), upward=True) == Worth(None, None, 128.0)
    # Where a size in between is so noisy that the score might lie there, that end stays open too.
    steps = np.linspace(-1, 1, 5)
    noisy = {
        size: {seed: mean + error * steps[seed] for seed in range(5)}
        for size, mean, error in ((128, 0.6, 1e-3), (256, 0.7, 0.1), (512, 0.75, 1e-3))
    }
    found = worth(noisy, dict.fromkeys(range(5), 0.76), upward=True)
    assert found is not None
    assert (found.size, found.high) == (None, None)
    assert found.low is not None
    assert 128 < found.low < 256


def test_what_cannot_be_told_is_not() -> None:
    """One size, two common seeds, a curve that falls, or noise that hides its rise."""
    rng = np.random.default_rng(3)
    good = _curve(1e-4 * rng.standard_normal((5, len(SIZES))))
    scores = dict.fromkeys(range(5), _straight(300))
    assert worth(good, scores, upward=True) is not None
    assert worth({256: good[256]}, scores, upward=True) is None
    assert worth(good, {0: 0.9, 1: 0.9, 7: 0.9}, upward=True) is None
    assert worth(good, scores, upward=False) is None
    assert worth(good | {512: dict.fromkeys(range(5), 0.1)}, scores, upward=True) is None
    hidden = _curve(np.linspace(-1, 1, 5)[:, None] * [[1, -1, 1, -1]])
    assert worth(hidden, scores, upward=True) is None
