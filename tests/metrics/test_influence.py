"""Pseudo-values against the benchmark's own metrics: their mean, and their derivative."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gapbench.bench.metrics.base import get
from gapbench.reports.stats.influence import PSEUDOVALUES, perplexity


def outputs(metric: str, n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return predictions and references of a metric, whole numbers with many ties."""
    rng = np.random.default_rng([seed, n])
    if metric in {"pearson", "spearman", "mse"}:
        truth = rng.integers(0, 20, n)
        return truth + rng.integers(-6, 7, n), truth
    classes = 3 if metric in {"accuracy", "matthews_correlation"} else 2
    truth = rng.integers(0, classes, n)
    right = rng.random(n) < 0.7
    return np.where(right, truth, rng.integers(0, classes, n)), truth


METRICS = sorted(set(PSEUDOVALUES) - {"perplexity"})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [30, 400])
def test_mean_of_pseudovalues_is_the_metric(metric: str, n: int) -> None:
    """On resampled items too, they average to what the benchmark computes."""
    predictions, references = outputs(metric, n)
    rng = np.random.default_rng(1)
    for _ in range(5):
        drawn = rng.integers(0, n, n)
        values = PSEUDOVALUES[metric](predictions[drawn], references[drawn])
        expected = get(metric).function(predictions[drawn], references[drawn])
        assert values.shape == (n,)
        assert values.mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_pseudovalues_say_how_the_metric_moves_with_an_item(metric: str) -> None:
    """Leaving one item out of many moves the metric as its pseudo-value foretells."""
    n = 1500
    predictions, references = outputs(metric, n)
    values = PSEUDOVALUES[metric](predictions, references)
    score = values.mean()
    for item in range(25):
        left = np.delete(predictions, item), np.delete(references, item)
        moved = (n - 1) * (score - (get(metric).function(*left) or 0.0))
        assert values[item] - score == pytest.approx(moved, abs=0.01 * max(1, np.ptp(values)))


@pytest.mark.parametrize("metric", METRICS)
def test_pseudovalues_give_the_variance_of_a_brute_force_bootstrap(metric: str) -> None:
    """Their variance over n is that of the metric over resampled test sets, up to noise."""
    n = 600
    predictions, references = outputs(metric, n, seed=3)
    values = PSEUDOVALUES[metric](predictions, references)
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, n, (3000, n))
    scores = [get(metric).function(predictions[d], references[d]) or 0.0 for d in drawn]
    assert np.std(values, ddof=1) / np.sqrt(n) == pytest.approx(np.std(scores), rel=0.05)


def test_perplexity_weighs_items_by_their_tokens() -> None:
    """The mean is e to the loss of all tokens; an item's value foretells its being left out."""
    rng = np.random.default_rng(4)
    tokens, losses = rng.integers(1, 30, 800), rng.gamma(2, 1, 800)
    each = np.repeat(losses, tokens)
    values = perplexity(losses, tokens)
    assert values.mean() == pytest.approx(get("perplexity").function(each, each, each))
    left = np.repeat(losses[1:], tokens[1:])
    moved = 799 * (values.mean() - (get("perplexity").function(left, left, left) or 0.0))
    assert values[0] - values.mean() == pytest.approx(moved, abs=0.02)


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation"])
def test_pseudovalues_of_constant_predictions_are_zero_like_the_score(metric: str) -> None:
    """A collapsed run scores 0, and its items say nothing; no warning is raised."""
    references = np.array([0, 1, 0, 1]) if metric != "f1" else np.zeros(4, dtype=np.int64)
    assert PSEUDOVALUES[metric](np.zeros(4, dtype=np.int64), references).tolist() == [0.0] * 4


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_pseudovalues_of_a_constant_side_are_undefined(metric: str) -> None:
    """A correlation with a constant side has no score, so that no item adds to it."""
    values = PSEUDOVALUES[metric](np.ones(5), np.arange(5.0))
    assert np.isnan(values).all()
