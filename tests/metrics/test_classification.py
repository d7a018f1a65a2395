"""Metrics agree with scikit-learn and scipy, and say so where a score is undefined."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]  # no types

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics import classification
from gapbench.bench.metrics.base import discover, get
from gapbench.bench.metrics.evaluate_module import as_evaluate

Array = NDArray[Any]

SEEDS = (0, 1, 2)
CLASSES = (2, 3, 5)
PAIRED = [name for name, metric in discover().items() if metric.measures in {"labels", "values"}]
"""Metrics of one prediction and one reference each; the others have test files of their own."""


def labels(seed: int, n_classes: int, n: int = 97) -> tuple[Array, Array]:
    """Draw predicted and true classes that agree more often than by chance."""
    rng = np.random.default_rng(seed)
    references = rng.integers(n_classes, size=n)
    predictions = np.where(rng.random(n) < 0.4, references, rng.integers(n_classes, size=n))
    return predictions, references


def values(seed: int, *, tied: bool, n: int = 83) -> tuple[Array, Array]:
    """Draw correlated values, on request rounded so coarsely that most are tied."""
    rng = np.random.default_rng(seed)
    references = rng.normal(size=n)
    predictions = 0.5 * references + rng.normal(size=n)
    return (predictions.round(), references.round()) if tied else (predictions, references)


def inputs_of(name: str, seed: int) -> tuple[Array, Array]:
    """Draw inputs of the kind that the named metric compares."""
    return labels(seed, 2) if get(name).measures == "labels" else values(seed, tied=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_accuracy_and_matthews_random_classes_agree_with_sklearn(n_classes: int, seed: int) -> None:
    """Accuracy and Matthews correlation are scikit-learn's for any number of classes."""
    predictions, references = labels(seed, n_classes)
    assert classification.accuracy(predictions, references) == pytest.approx(
        sklearn_metrics.accuracy_score(references, predictions), abs=1e-12
    )
    assert classification.matthews_correlation(predictions, references) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(references, predictions), abs=1e-12
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_f1_random_classes_agrees_with_sklearn(seed: int) -> None:
    """F1 is scikit-learn's score of the positive class."""
    predictions, references = labels(seed, 2)
    assert classification.f1(predictions, references) == pytest.approx(
        sklearn_metrics.f1_score(references, predictions), abs=1e-12
    )


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([0, 0, 0], [0, 0, 0]),
        ([1, 1, 1], [1, 1, 1]),
        ([0, 0, 0], [0, 1, 1]),
        ([1, 1, 1], [0, 1, 1]),
        ([0, 1, 1], [1, 1, 1]),
        ([1, 0], [0, 1]),
        ([0], [0]),
        ([1], [0]),
        ([1], [1]),
    ],
)
# scikit-learn warns of a single class in both arrays; the value it then gives is what is compared.
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_label_metrics_constant_sides_agree_with_sklearn(
    predictions: list[int], references: list[int]
) -> None:
    """Constant predictions, one class only and single examples score as in scikit-learn."""
    ours, true = np.array(predictions), np.array(references)
    assert classification.accuracy(ours, true) == sklearn_metrics.accuracy_score(true, ours)
    assert classification.f1(ours, true) == sklearn_metrics.f1_score(true, ours, zero_division=0)
    expected = sklearn_metrics.matthews_corrcoef(true, ours)
    assert classification.matthews_correlation(ours, true) == pytest.approx(expected, abs=1e-12)


def test_matthews_many_examples_does_not_overflow() -> None:
    """Counts whose fourth power exceeds 64 bits still give the exact coefficient."""
    references = np.arange(200_000) % 2
    assert classification.matthews_correlation(references, references) == 1.0
    assert classification.matthews_correlation(1 - references, references) == -1.0


def test_f1_third_class_raises() -> None:
    """F1 refuses classes other than 0 and 1 and says which it found."""
    with pytest.raises(DataError, match=r"\[2\].*matthews_correlation"):
        classification.f1(np.array([0, 1, 2]), np.array([0, 1, 1]))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_value_metrics_random_values_agree_with_scipy_and_sklearn(seed: int, tied: bool) -> None:
    """Correlations are scipy's, with average ranks for ties, and the error is scikit-learn's."""
    predictions, references = values(seed, tied=tied)
    assert classification.pearson(predictions, references) == pytest.approx(
        stats.pearsonr(predictions, references).statistic, abs=1e-12
    )
    assert classification.spearman(predictions, references) == pytest.approx(
        stats.spearmanr(predictions, references).statistic, abs=1e-12
    )
    assert classification.mse(predictions, references) == pytest.approx(
        sklearn_metrics.mean_squared_error(references, predictions), abs=1e-12
    )


@pytest.mark.parametrize("correlation", [classification.pearson, classification.spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300])
def test_correlation_constant_side_is_nan_without_warning(
    correlation: Any, constant: float
) -> None:
    """A constant side leaves a correlation undefined, even where its mean does not equal it."""
    varied = np.arange(7.0)
    assert math.isnan(correlation(np.full(7, constant), varied))
    assert math.isnan(correlation(varied, np.full(7, constant)))
    assert math.isnan(correlation(varied[:1], varied[:1]))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_pearson_extreme_scale_equals_unscaled(scale: float) -> None:
    """Values whose squares leave the float64 range correlate like the same values near one."""
    predictions, references = values(0, tied=False)
    expected = classification.pearson(predictions, references)
    assert classification.pearson(predictions * scale, references) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("name", PAIRED)
def test_metric_random_inputs_stays_in_range_and_is_best_when_perfect(name: str) -> None:
    """Each score lies in its declared range, and perfect predictions reach its best end."""
    metric = get(name)
    low, high = metric.range
    for seed in SEEDS:
        predictions, references = inputs_of(name, seed)
        found = metric.function(predictions, references)
        assert found is not None
        assert low <= found <= high
        perfect = metric.function(references, references)
        assert perfect == pytest.approx(high if metric.higher_is_better else low, abs=1e-12)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 2)])
def test_metric_unpaired_inputs_raise(name: str, n: int, m: int) -> None:
    """Empty arrays and arrays of different lengths are refused with both shapes named."""
    with pytest.raises(DataError, match=rf"\({n},\).*\({m},\)"):
        get(name).function(np.zeros(n, dtype=int), np.zeros(m, dtype=int))


def test_get_unknown_name_lists_all_names() -> None:
    """An unknown metric is refused with every allowed name."""
    with pytest.raises(ConfigError) as caught:
        get("blue")
    assert all(name in str(caught.value) for name in (*discover(), "'blue'"))


def test_score_class_logits_uses_argmax() -> None:
    """Class metrics compare the largest logit of each row with the target."""
    logits = np.array([[2.0, 1.0], [-3.0, -1.0], [0.5, 0.7], [9.0, 0.0]])
    scores = classification.score(["accuracy", "f1"], logits, np.array([0, 1, 0, 0]))
    assert scores == {"accuracy": 0.75, "f1": 2 / 3}


@pytest.mark.parametrize("shape", [(83,), (83, 1)])
def test_score_regression_outputs_flattens_them(shape: tuple[int, ...]) -> None:
    """Outputs of shape (n,) and (n, 1) give the same scores of values."""
    predictions, references = values(1, tied=False)
    assert classification.score(["pearson", "mse"], predictions.reshape(shape), references) == {
        "pearson": classification.pearson(predictions, references),
        "mse": classification.mse(predictions, references),
    }


def test_score_undefined_values_are_none() -> None:
    """Constant, infinite and missing outputs give None and never a number."""
    targets = np.arange(4.0)
    names = ["pearson", "spearman"]
    assert classification.score(names, np.ones(4), targets) == {"pearson": None, "spearman": None}
    infinite = np.array([0.0, 1.0, 2.0, np.inf])
    assert classification.score(["mse", "pearson"], infinite, targets) == {
        "mse": None,
        "pearson": None,
    }
    missing = np.array([[0.0, 1.0], [np.nan, 1.0]])
    assert classification.score(["accuracy"], missing, np.array([1, 1])) == {"accuracy": None}
    assert classification.score(["spearman"], missing[:, 0], np.arange(2)) == {"spearman": None}


@pytest.mark.parametrize(
    ("name", "shape", "allowed"), [("accuracy", (4, 1), "spearman"), ("mse", (4, 2), "f1")]
)
def test_score_metric_of_other_kind_raises(name: str, shape: tuple[int, int], allowed: str) -> None:
    """A metric that does not fit the outputs is refused with those that would."""
    with pytest.raises(ConfigError, match=rf"{name}.*{allowed}"):
        classification.score([name], np.zeros(shape), np.zeros(4, dtype=int))


@pytest.mark.parametrize("stray", [-1, 2])
def test_score_target_outside_classes_raises(stray: int) -> None:
    """A hidden label, or one beyond the model's classes, is refused and not counted as wrong."""
    with pytest.raises(DataError, match=rf"\[{stray}\].*0 to 1"):
        classification.score(["accuracy"], np.zeros((3, 2)), np.array([0, 1, stray]))


def test_import_metrics_loads_no_heavy_package() -> None:
    """Importing the metrics loads neither torch nor the `evaluate` package and its data sets."""
    program = (
        "import sys, gapbench.bench.metrics.classification, gapbench.bench.metrics.calibration;"
        "print(*{'torch', 'evaluate', 'datasets'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert not loaded.stdout.strip()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make any use of a socket fail, and keep the package's cache folder out of the home folder."""

    def refuse(*_arguments: object, **_settings: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", PAIRED)
def test_as_evaluate_offline_equals_pure_function(name: str) -> None:
    """The wrapped metric gives the very same number, whole or in batches, without a network."""
    predictions, references = inputs_of(name, seed=3)
    expected = {name: get(name).function(predictions, references)}
    wrapped = as_evaluate(name)
    assert wrapped.compute(predictions=predictions, references=references) == expected
    for half in (slice(None, 40), slice(40, None)):
        wrapped.add_batch(predictions=predictions[half], references=references[half])
    assert wrapped.compute() == expected


@pytest.mark.usefixtures("offline")
def test_as_evaluate_combined_reports_each_metric() -> None:
    """Wrapped metrics combine under their own names, prefixed by them on request."""
    names = ["accuracy", "f1", "matthews_correlation"]
    predictions, references = labels(4, 2)
    expected = {name: get(name).function(predictions, references) for name in names}
    modules = [as_evaluate(name) for name in names]
    combined = evaluate.combine(modules)
    assert combined.compute(predictions=predictions, references=references) == expected
    prefixed = evaluate.combine(modules, force_prefix=True)
    assert set(prefixed.compute(predictions=predictions, references=references)) == {
        f"{name}_{name}" for name in names
    }


@pytest.mark.usefixtures("offline")
def test_as_evaluate_spans_takes_the_version_of_squad() -> None:
    """Metrics of answers are wrapped as well, told to `compute` which version they score."""
    answers = {"predictions": ["the cat", ""], "references": [["cat", "a dog"], ["tree"]]}
    for name in ("exact_match", "span_f1"):
        wrapped = as_evaluate(name)
        assert wrapped.compute(**answers, version="2.0") == {name: 0.5}


@pytest.mark.parametrize("name", ["perplexity", "token_ece", "accuracy_norm"])
def test_as_evaluate_of_likelihoods_raises(name: str) -> None:
    """What a model says of given tokens or choices has no predictions to be passed on."""
    with pytest.raises(ConfigError, match=rf"metric {name}: measures .* wrap a metric of labels"):
        as_evaluate(name)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlation_of_nearly_constant_values_warns_nobody(name: str) -> None:
    """A score is what it is; a warning of the library would name none of the user's runs."""
    values = 1.0 + 1e-15 * np.arange(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(classification, name)(values, np.arange(4.0))
