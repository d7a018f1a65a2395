"""Calibration errors and proper scores agree with torchmetrics and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss  # type: ignore[import-untyped]  # no types
from torchmetrics.functional.classification import multiclass_calibration_error

from gapbench.bench.metrics import calibration, confidence_bins
from gapbench.bench.metrics.confidence_bins import Scheme
from gapbench.reports.stats.reliability import reliability
from tests.support.classified import CLASSES, SEEDS, Array, classified, confident

Arguments = tuple[Array, Array, int, Scheme]

SCHEMES: tuple[Scheme, ...] = ("equal_width", "equal_mass")


def assert_equal_width_agrees(probabilities: Array, labels: Array, bins: int = 15) -> None:
    """Compare both equal-width errors with torchmetrics', which computes in float32."""
    inputs = torch.from_numpy(probabilities), torch.from_numpy(labels), probabilities.shape[1]
    expected = float(multiclass_calibration_error(*inputs, n_bins=bins, norm="l1"))
    maximum = float(multiclass_calibration_error(*inputs, n_bins=bins, norm="max"))
    assert calibration.expected_calibration_error(probabilities, labels, bins) == pytest.approx(
        expected, abs=1e-6
    )
    assert calibration.maximum_calibration_error(probabilities, labels, bins) == pytest.approx(
        maximum, abs=1e-6
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_softmax_random_logits_agrees_with_torch(n_classes: int, seed: int) -> None:
    """Probabilities and their logarithms are torch's in float64."""
    logits, _ = classified(seed, n_classes)
    torch_logits = torch.from_numpy(logits)
    np.testing.assert_allclose(
        calibration.softmax(logits), torch_logits.softmax(dim=1).numpy(), rtol=1e-13
    )
    np.testing.assert_allclose(
        calibration.log_softmax(logits), torch_logits.log_softmax(dim=1).numpy(), rtol=1e-13
    )


def test_log_softmax_huge_logits_stays_finite() -> None:
    """Logits that overflow an exponential still have exact log-probabilities."""
    np.testing.assert_array_equal(
        calibration.log_softmax(np.array([[1e5, 0.0], [-1e5, -1e5]])),
        [[0.0, -1e5], [-math.log(2), -math.log(2)]],
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_equal_width_errors_random_inputs_agree_with_torchmetrics(
    n_classes: int, seed: int
) -> None:
    """Expected and maximum calibration error are torchmetrics' l1 and max norms."""
    logits, labels = classified(seed, n_classes)
    assert_equal_width_agrees(calibration.softmax(1.7 * logits), labels)


@pytest.mark.parametrize(
    ("confidence", "labels", "bins"),
    [
        pytest.param([0.8], [0], 15, id="one example"),
        pytest.param([0.71, 0.74, 0.99], [0, 0, 0], 15, id="one class"),
        pytest.param([0.7, 0.7, 0.7, 0.7], [0, 1, 0, 0], 15, id="constant predictions"),
        pytest.param([1.0, 1.0], [0, 0], 15, id="confidence 1 and right"),
        pytest.param([0.75, 0.76, 0.74, 0.625, 0.6], [0, 1, 0, 1, 0], 8, id="on an edge of 8"),
        pytest.param([11 / 15, 0.72, 12 / 15, 0.81], [0, 0, 1, 0], 15, id="on an edge of 15"),
        pytest.param([0.6, 0.9], [0, 1], 1, id="one bin"),
    ],
)
def test_equal_width_errors_edge_cases_agree_with_torchmetrics(
    confidence: list[float], labels: list[int], bins: int
) -> None:
    """Edges and empty bins are treated as in torchmetrics."""
    assert_equal_width_agrees(confident(confidence), np.array(labels), bins)


@pytest.mark.parametrize(
    ("confidence", "labels", "bins", "expected", "maximum"),
    [
        pytest.param([0.95, 1.0], [0, 1], 15, 0.475, 0.475, id="a right guess hides a wrong one"),
        pytest.param([1.0, 1.0, 0.99, 0.98], [1, 0, 0, 0], 15, 0.2425, 0.2425, id="15 bins"),
        pytest.param([0.6, 1.0], [0, 1], 1, 0.3, 0.3, id="one bin"),
        pytest.param([0.6, 0.7, 1.0, 0.8], [0, 1, 1, 0], 2, 0.275, 0.275, id="two bins"),
        pytest.param([0.6, 1.0, 0.8, 0.8], [0, 1, 0, 0], 4, 0.25, 0.4, id="four bins"),
        pytest.param([1.0, 1.0, 1.0, 1.0], [1, 1, 1, 1], 15, 1.0, 1.0, id="all wrong"),
    ],
)
def test_confidence_one_is_in_the_last_bin(
    confidence: list[float], labels: list[int], bins: int, expected: float, maximum: float
) -> None:
    """By hand, from equations 3 and 5 of Guo et al.; logits that saturate give the same."""
    probabilities, truth = confident(confidence), np.array(labels)
    logits = np.log(np.clip(probabilities, 1e-300, 1))
    for shown in (probabilities, calibration.softmax(logits)):
        assert calibration.expected_calibration_error(shown, truth, bins) == pytest.approx(expected)
        assert calibration.maximum_calibration_error(shown, truth, bins) == pytest.approx(maximum)
    hits = np.array(labels) == 0
    certain = np.array(confidence)
    assert confidence_bins.confidence_error(certain, hits, bins) == pytest.approx(expected)
    assert confidence_bins.maximum_confidence_error(certain, hits, bins) == pytest.approx(maximum)


def test_number_and_figure_share_their_bins() -> None:
    """The reliability diagram's bins give the stored errors, certain predictions included."""
    logits, labels = classified(0, 3)
    logits[::3] *= 40
    report, bins = calibration.calibration_report(logits, labels, 1.0), reliability(logits, labels)
    gaps = np.abs(bins.confidence - bins.accuracy)
    assert (calibration.softmax(logits).max(axis=1) == 1).any()
    assert report["ece"] == pytest.approx(np.nansum(bins.counts * gaps) / len(labels), abs=1e-12)
    assert report["mce"] == pytest.approx(np.nanmax(gaps), abs=1e-12)


def test_bins_of_equal_width_place_edges_above_and_keep_empty_bins() -> None:
    """A value on an edge opens the next bin, 1 closes the last, empty bins hold no numbers."""
    certain, right = np.array([0.5, 0.75, 0.875, 1.0]), np.array([1, 1, 0, 1])
    counts, confidence, accuracy = confidence_bins.reliability_bins(
        certain, right, 4, "equal_width"
    )
    assert counts.tolist() == [0, 0, 1, 3]
    np.testing.assert_array_equal(confidence, [math.nan, math.nan, 0.5, 0.875])
    np.testing.assert_allclose(accuracy, [math.nan, math.nan, 1.0, 2 / 3])


@pytest.mark.parametrize("n", [1, 4, 15, 100, 401])
@pytest.mark.parametrize("n_classes", CLASSES)
def test_equal_mass_errors_random_inputs_agree_with_array_split(n_classes: int, n: int) -> None:
    """Equal-mass bins are the parts of the sorted examples, weighted by their sizes."""
    logits, labels = classified(7, n_classes, n)
    probabilities = calibration.softmax(1.7 * logits)
    examples = sorted(
        (max(row), float(row.tolist().index(max(row)) == label))
        for row, label in zip(probabilities, labels, strict=True)
    )
    parts = [part for part in np.array_split(np.array(examples), 15) if len(part)]
    gaps = [abs(part[:, 0].mean() - part[:, 1].mean()) for part in parts]
    expected = sum(gap * len(part) for gap, part in zip(gaps, parts, strict=True)) / n
    arguments: Arguments = (probabilities, labels, 15, "equal_mass")
    assert calibration.expected_calibration_error(*arguments) == pytest.approx(expected, abs=1e-12)
    assert calibration.maximum_calibration_error(*arguments) == pytest.approx(max(gaps), abs=1e-12)
    pair = calibration.confidence_of(probabilities, labels)
    counts, *_ = confidence_bins.reliability_bins(*pair, 15, "equal_mass")
    assert counts.tolist() == [len(part) for part in np.array_split(np.arange(n), 15)]


def test_equal_mass_tied_confidences_share_their_accuracy() -> None:
    """Constant predictions that are right as often as stated are perfectly calibrated."""
    probabilities, labels = confident([0.75] * 8), np.array([0] * 6 + [1] * 2)
    pair = calibration.confidence_of(probabilities, labels)
    bins = confidence_bins.reliability_bins(*pair, 4, "equal_mass")
    assert [values.tolist() for values in bins] == [[2] * 4, [0.75] * 4, [0.75] * 4]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_proper_scores_random_inputs_agree_with_definitions(n_classes: int, seed: int) -> None:
    """The Brier score is the plain double sum, and the likelihood is scikit-learn's log loss."""
    logits, labels = classified(seed, n_classes)
    probabilities = calibration.softmax(logits)
    squares = [
        sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
    ]
    assert calibration.brier_score(probabilities, labels) == pytest.approx(
        sum(squares) / len(squares), abs=1e-12
    )
    assert calibration.negative_log_likelihood(probabilities, labels) == pytest.approx(
        log_loss(labels, probabilities, labels=range(n_classes)), abs=1e-12
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_score_two_classes_is_twice_the_one_sided_form(seed: int) -> None:
    """With two classes the score is twice scikit-learn's score of the positive class."""
    logits, labels = classified(seed, 2)
    probabilities = calibration.softmax(logits)
    assert calibration.brier_score(probabilities, labels) == pytest.approx(
        2 * brier_score_loss(labels, probabilities[:, 1]), abs=1e-12
    )


def test_negative_log_likelihood_certain_mistake_is_clipped_as_in_sklearn() -> None:
    """A probability of zero for the truth costs a finite number of nats."""
    probabilities, labels = confident([1.0, 1.0]), np.array([1, 1])
    expected = log_loss(labels, probabilities, labels=[0, 1])
    assert calibration.negative_log_likelihood(probabilities, labels) == pytest.approx(
        expected, abs=1e-9
    )


@st.composite
def examples(draw: st.DrawFn) -> tuple[Array, Array]:
    """Draw probabilities, often tied or exactly certain, with labels and up to 40 examples."""
    n, n_classes = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    weight = st.sampled_from([0, 1, 2, 3, 97])
    row = st.lists(weight, min_size=n_classes, max_size=n_classes).filter(any)
    weights = np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=np.float64)
    label = st.integers(0, n_classes - 1)
    labels = np.array(draw(st.lists(label, min_size=n, max_size=n)))
    return weights / weights.sum(axis=1, keepdims=True), labels


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(drawn=examples(), bins=st.integers(1, 20), seed=st.integers(0, 9))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_calibration_errors_any_examples_are_bounded_and_ignore_order(
    scheme: Scheme, drawn: tuple[Array, Array], bins: int, seed: int
) -> None:
    """Errors lie in [0, 1], expected below maximum, and no shuffling of examples moves them."""
    probabilities, labels = drawn
    expected = calibration.expected_calibration_error(probabilities, labels, bins, scheme)
    maximum = calibration.maximum_calibration_error(probabilities, labels, bins, scheme)
    assert 0 <= expected <= maximum + 1e-12
    assert maximum <= 1
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled: Arguments = (probabilities[order], labels[order], bins, scheme)
    assert calibration.expected_calibration_error(*shuffled) == pytest.approx(expected, abs=1e-12)
    assert calibration.maximum_calibration_error(*shuffled) == pytest.approx(maximum, abs=1e-12)
    pair = calibration.confidence_of(*shuffled[:2])
    counts, *_ = confidence_bins.reliability_bins(*pair, bins, scheme)
    assert counts.sum() == len(labels)
