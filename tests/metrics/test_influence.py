"""Pseudo-values against the benchmark's own metrics: their mean, and their derivative."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gapbench.bench.metrics import influence
from gapbench.bench.metrics.base import Metric, discover, get, no_items


def outputs(metric: str, n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return predictions and references of a metric, whole numbers with many ties."""
    rng = np.random.default_rng([seed, n])
    if get(metric).measures == "values":
        truth = rng.integers(0, 20, n)
        return truth + rng.integers(-6, 7, n), truth
    classes = 2 if metric == "f1" else 3
    truth = rng.integers(0, classes, n)
    right = rng.random(n) < 0.7
    return np.where(right, truth, rng.integers(0, classes, n)), truth


METRICS = [name for name, metric in discover().items() if metric.measures in ("labels", "values")]
TEXTS = ("bleu", "nist", "rouge_l", "cider", "ter", "chrf")


def pseudovalues(metric: str, *arguments: Any) -> NDArray[np.float64]:
    """Return what a metric declares; it must declare something."""
    items = get(metric).items
    assert items is not None
    values = items(*arguments)
    assert values is not None
    return values


def corpus(n: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Return sentences of few words, each with one to three references that share much with it."""
    rng = np.random.default_rng(seed)
    words = ["the", "pub", "near", "river", "and", "cheap", "food", "family", "friendly"]

    def changed(sentence: list[str]) -> str:
        kept = [w if rng.random() < 0.75 else str(rng.choice(words)) for w in sentence]
        return " ".join(kept[: rng.integers(len(kept) - 2, len(kept) + 1)]) + "."

    said = [list(map(str, rng.choice(words, rng.integers(6, 14)))) for _ in range(n)]
    return [changed(s) for s in said], [
        [changed(s) for _ in range(rng.integers(1, 4))] for s in said
    ]


def test_every_metric_says_what_examples_add() -> None:
    """None of the package's own leaves it to computing the metric a hundred times."""
    without = [name for name, metric in discover().items() if metric.items is None]
    assert without == [], "give them items=, see bench/metrics/pseudovalues.py"


@pytest.mark.parametrize("metric", TEXTS)
def test_mean_of_pseudovalues_of_texts_is_the_metric(metric: str) -> None:
    """On other texts, on one, and where nothing matches."""
    for texts in (corpus(40), corpus(7, 1), (["x", "y z"], [["a"], ["b", "c d"]])):
        expected = get(metric).function(*texts)
        assert pseudovalues(metric, *texts).mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", TEXTS)
def test_pseudovalues_of_texts_say_how_the_metric_moves_with_an_example(metric: str) -> None:
    """Leaving out one of ten copies moves the score as its pseudo-value foretells."""
    n, copies = 20, 10
    outputs, references = (each * copies for each in corpus(n))
    values = pseudovalues(metric, outputs, references)
    left = [
        get(metric).function(outputs[:i] + outputs[i + 1 :], references[:i] + references[i + 1 :])
        for i in range(6)
    ]
    moved = (n * copies - 1) * (values.mean() - np.array(left, dtype=np.float64))
    told = values[:6] - values[:6].mean()
    np.testing.assert_allclose(told, moved - moved.mean(), atol=0.05 * values.std())


@pytest.mark.parametrize("metric", ["bleu", "nist", "cider"])
def test_standard_error_of_texts_is_that_of_a_bootstrap(metric: str) -> None:
    """Of the whole metric on examples drawn anew; 100 draws tell it to 7 %."""
    n = 30
    outputs, references = corpus(n)
    error = pseudovalues(metric, outputs, references).std(ddof=1) / np.sqrt(n)
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, n, (100, n))
    scores = [
        get(metric).function([outputs[i] for i in d], [references[i] for i in d]) for d in drawn
    ]
    assert error == pytest.approx(np.std(np.array(scores, dtype=np.float64)), rel=0.25)


@pytest.mark.parametrize("n", [60, 250])
def test_groups_left_out_tell_the_error_of_any_metric(n: int) -> None:
    """Without a declaration, a ratio has about the standard error that its own values give."""
    predictions, references = outputs("f1", n)
    undeclared = Metric("mine", get("f1").function, "labels", "", "")
    values = undeclared.pseudovalues(predictions, references)
    assert values is not None
    assert values.mean() == pytest.approx(get("f1").function(predictions, references))
    errors = [np.std(v, ddof=1) for v in (values, pseudovalues("f1", predictions, references))]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)


def test_metric_may_say_that_it_has_no_items() -> None:
    """Then nothing is computed; nor where tokens would be taken for examples."""
    predictions, references = outputs("f1", 10)
    silent = Metric("mine", get("f1").function, "labels", "", "", items=no_items)
    assert silent.pseudovalues(predictions, references) is None
    losses = np.ones(5)
    assert (
        Metric("t", lambda *_: 1.0, "tokens", "", "").pseudovalues(losses, losses, losses) is None
    )


def test_answers_of_questions_have_values_of_their_own() -> None:
    """Exact match and F1 of spans are means, and the version of SQuAD is no example."""
    answers = ["the cat", "a dog sat", ""]
    accepted = [["cat"], ["dog"], []]
    assert pseudovalues("exact_match", answers, accepted, "2.0").tolist() == [1, 0, 1]
    expected = get("span_f1").function(answers, accepted, "2.0")
    assert pseudovalues("span_f1", answers, accepted, "2.0").mean() == pytest.approx(expected)
    undeclared = Metric("mine", get("span_f1").function, "spans", "", "")
    found = influence.grouped_jackknife(undeclared.function, (answers, accepted, "2.0"))
    np.testing.assert_allclose(found, pseudovalues("span_f1", answers, accepted, "2.0"))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [30, 400])
def test_mean_of_pseudovalues_is_the_metric(metric: str, n: int) -> None:
    """On resampled items too, they average to what the benchmark computes."""
    predictions, references = outputs(metric, n)
    rng = np.random.default_rng(1)
    for _ in range(5):
        drawn = rng.integers(0, n, n)
        values = pseudovalues(metric, predictions[drawn], references[drawn])
        expected = get(metric).function(predictions[drawn], references[drawn])
        assert values.shape == (n,)
        assert values.mean() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_pseudovalues_say_how_the_metric_moves_with_an_item(metric: str) -> None:
    """Leaving one item out of many moves the metric as its pseudo-value foretells."""
    n = 1500
    predictions, references = outputs(metric, n)
    values = pseudovalues(metric, predictions, references)
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
    values = pseudovalues(metric, predictions, references)
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, n, (3000, n))
    scores = [get(metric).function(predictions[d], references[d]) or 0.0 for d in drawn]
    assert np.std(values, ddof=1) / np.sqrt(n) == pytest.approx(np.std(scores), rel=0.05)


@pytest.mark.parametrize("metric", ["perplexity", "token_accuracy", "token_ece"])
def test_tokens_have_values_whose_mean_is_the_score(metric: str) -> None:
    """And whose spread is that of a bootstrap over tokens."""
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.2, 1, 600)
    correct = rng.random(600) < confidence - 0.15
    given = rng.gamma(2, 1, 600), confidence, correct
    values = pseudovalues(metric, *given)
    assert values.mean() == pytest.approx(get(metric).function(*given))
    drawn = rng.integers(0, 600, (1500, 600))
    scores = [get(metric).function(*(each[d] for each in given)) or 0.0 for d in drawn]
    assert values.std() / np.sqrt(600) == pytest.approx(np.std(scores), rel=0.1)


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation"])
def test_pseudovalues_of_constant_predictions_are_zero_like_the_score(metric: str) -> None:
    """A collapsed run scores 0, and its items say nothing; no warning is raised."""
    references = np.array([0, 1, 0, 1]) if metric != "f1" else np.zeros(4, dtype=np.int64)
    assert pseudovalues(metric, np.zeros(4, dtype=np.int64), references).tolist() == [0.0] * 4


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_pseudovalues_of_a_constant_side_are_undefined(metric: str) -> None:
    """A correlation with a constant side has no score, so that no item adds to it."""
    values = pseudovalues(metric, np.ones(5), np.arange(5.0))
    assert np.isnan(values).all()
