"""What a score is worth in examples: known truth, coverage, and where nothing can be told."""

import numpy as np
import pytest

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.resampling import Resampling
from gapbench.reports.stats.worth import Worth, worth
from tests.benchmarks.drawing import CASES, rates
from tests.benchmarks.worth_studies import held

SIZES = (128, 256, 512, 1024)


def _straight(size: float) -> float:
    return 0.5 + 0.05 * float(np.log2(size))


def _sample(scores: dict[int, float], resampling: Resampling | None = None) -> Sample:
    return Sample(scores, resampling=resampling)


def _curve(noise: np.ndarray, resampling: Resampling | None = None) -> dict[int, Sample]:
    """Return scores by size and seed: a straight line over the logarithm, plus noise."""
    return {
        size: _sample(
            {seed: _straight(size) + row[place] for seed, row in enumerate(noise)}, resampling
        )
        for place, size in enumerate(SIZES)
    }


def _flipped(sample: Sample) -> Sample:
    return _sample({seed: -score for seed, score in sample.scores.items()})


def test_a_score_on_the_curve_is_worth_its_size() -> None:
    """Between sizes it is the size of the line, whichever direction is better."""
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.standard_normal((5, len(SIZES)))
    noise -= noise.mean(axis=0)
    for truth in (150, 256, 700):
        own = _sample({seed: _straight(truth) for seed in range(5)})
        found = worth(_curve(noise), own, upward=True)
        assert found is not None
        assert found.size == pytest.approx(truth, rel=1e-6)
        assert found.low is not None
        assert found.high is not None
        assert found.low < truth < found.high
        flipped = {n: _flipped(each) for n, each in _curve(noise).items()}
        assert worth(flipped, _flipped(own), upward=False) == found


@pytest.mark.parametrize("case", ["normal", "items dominate"])
def test_intervals_hold_the_truth_as_often_as_they_say(case: str) -> None:
    """Of 400 studies with five seeds, 95 % within three errors, however much items count."""
    found = rates(400, lambda rng: held(rng, CASES[case], 5), 1)
    assert found[0] == pytest.approx(0.95, abs=0.035)


def test_items_widen_the_interval_and_unknown_ones_withhold_it() -> None:
    """Equal seeds on few items tell little."""
    rng = np.random.default_rng(6)

    def sample(level: float, n: int, *, unknown: bool = False) -> Sample:
        items = level + 0.3 * rng.standard_normal(n)
        values = {seed: items + 1e-3 * rng.standard_normal(n) for seed in range(5)}
        scores = {seed: float(each.mean()) for seed, each in values.items()}
        return Sample(scores, (values,), unknown=unknown)

    widths = []
    for n in (2000, 32_000):
        curve = {size: sample(_straight(size), n) for size in SIZES}
        found = worth(curve, sample(_straight(360), n), upward=True)
        assert found is not None
        widths.append(np.log((found.high or np.inf) / (found.low or 1e-9)))
    assert widths[0] > 2 * widths[1]
    assert worth(curve, sample(_straight(360), n, unknown=True), upward=True) is None


def test_seeds_that_share_rows_widen_the_interval() -> None:
    """By the factor of other intervals; the size itself stays."""
    noise = 0.005 * np.random.default_rng(4).standard_normal((5, len(SIZES)))
    own = _sample({seed: _straight(360) for seed in range(5)})
    alone = worth(_curve(noise), own, upward=True)
    shared = worth(_curve(noise, Resampling(0.2)), own, upward=True)
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
    assert worth(curve, _sample(dict.fromkeys(range(5), 2.0)), upward=True) == Worth(
        None, 1024.0, None
    )
    assert worth(curve, _sample(dict.fromkeys(range(5), 0.1)), upward=True) == Worth(
        None, None, 128.0
    )
    # Where a size in between is so noisy that the score might lie there, that end stays open too.
    steps = np.linspace(-1, 1, 5)
    noisy = {
        size: _sample({seed: mean + error * steps[seed] for seed in range(5)})
        for size, mean, error in ((128, 0.6, 1e-3), (256, 0.7, 0.1), (512, 0.75, 1e-3))
    }
    found = worth(noisy, _sample(dict.fromkeys(range(5), 0.76)), upward=True)
    assert found is not None
    assert (found.size, found.high) == (None, None)
    assert found.low is not None
    assert 128 < found.low < 256


def test_what_cannot_be_told_is_not() -> None:
    """One size, two common seeds, a curve that falls, or noise that hides its rise."""
    rng = np.random.default_rng(3)
    good = _curve(1e-4 * rng.standard_normal((5, len(SIZES))))
    own = _sample(dict.fromkeys(range(5), _straight(300)))
    assert worth(good, own, upward=True) is not None
    assert worth({256: good[256]}, own, upward=True) is None
    assert worth(good, _sample({0: 0.9, 1: 0.9, 7: 0.9}), upward=True) is None
    assert worth(good, own, upward=False) is None
    assert worth(good | {512: _sample(dict.fromkeys(range(5), 0.1))}, own, upward=True) is None
    hidden = _curve(np.linspace(-1, 1, 5)[:, None] * [[1, -1, 1, -1]])
    assert worth(hidden, own, upward=True) is None
