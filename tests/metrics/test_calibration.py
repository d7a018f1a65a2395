"""Calibration errors agree with torchmetrics and scikit-learn; temperatures are true optima."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss  # type: ignore[import-untyped]  # no types
from torchmetrics.functional.classification import multiclass_calibration_error

from gapbench.bench.core.errors import ConfigError, DataError, DivergedError
from gapbench.bench.metrics import calibration
from gapbench.bench.metrics.calibration import Scheme
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.stats.reliability import reliability

Array = NDArray[Any]
Arguments = tuple[Array, Array, int, Scheme]

SEEDS = (0, 1, 2)
CLASSES = (2, 3, 5)
SCHEMES: tuple[Scheme, ...] = ("equal_width", "equal_mass")


def classified(seed: int, n_classes: int, n: int = 400) -> tuple[Array, Array]:
    """Draw logits, `(n, n_classes)`, and labels from the softmax of the logits themselves."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(n, n_classes))
    noise = rng.gumbel(size=logits.shape)
    return logits, np.argmax(logits + noise, axis=1)


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


def confident(confidence: list[float]) -> Array:
    """Build two-class probabilities whose class 0 has the given confidence."""
    first = np.array(confidence)
    return np.stack([first, 1 - first], axis=1)


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
    assert calibration.confidence_error(certain, hits, bins) == pytest.approx(expected)
    assert calibration.maximum_confidence_error(certain, hits, bins) == pytest.approx(maximum)


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
    counts, confidence, accuracy = calibration.reliability_bins(certain, right, 4, "equal_width")
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
    counts, *_ = calibration.reliability_bins(*pair, 15, "equal_mass")
    assert counts.tolist() == [len(part) for part in np.array_split(np.arange(n), 15)]


def test_equal_mass_tied_confidences_share_their_accuracy() -> None:
    """Constant predictions that are right as often as stated are perfectly calibrated."""
    probabilities, labels = confident([0.75] * 8), np.array([0] * 6 + [1] * 2)
    pair = calibration.confidence_of(probabilities, labels)
    bins = calibration.reliability_bins(*pair, 4, "equal_mass")
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
    counts, *_ = calibration.reliability_bins(*pair, bins, scheme)
    assert counts.sum() == len(labels)


@pytest.mark.parametrize("factor", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("n_classes", CLASSES)
def test_fit_temperature_scaled_logits_scales_with_them(n_classes: int, factor: float) -> None:
    """Logits multiplied by a factor need a temperature multiplied by it."""
    logits, labels = classified(0, n_classes)
    expected = factor * calibration.fit_temperature(logits, labels)
    fitted = calibration.fit_temperature(factor * logits, labels)
    assert fitted == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_fit_temperature_random_inputs_is_not_beaten_by_a_fine_grid(
    n_classes: int, seed: int
) -> None:
    """No temperature on a fine grid over the allowed range makes the labels more likely."""
    logits, labels = classified(seed, n_classes)
    logits = 4 * logits

    def loss(temperatures: Array) -> Array:
        log_probabilities: Array = log_softmax(logits / temperatures[:, None, None], axis=2)
        losses: Array = -log_probabilities[:, np.arange(len(labels)), labels].mean(axis=1)
        return losses

    best = loss(np.geomspace(*calibration.TEMPERATURE_RANGE, 1000)).min()
    fitted = np.array([calibration.fit_temperature(logits, labels)])
    assert loss(fitted) <= best + 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_fit_temperature_calibrated_logits_is_near_one(seed: int) -> None:
    """Labels drawn from the logits' own softmax need no correction."""
    assert calibration.fit_temperature(*classified(seed, 3, n=20_000)) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        pytest.param([[3.0, 0.0], [0.0, 1e4]], [0, 1], 0.05, id="separable"),
        pytest.param([[1e4, 0.0], [0.0, 1e4]], [0, 1], 0.05, id="separable with underflow"),
        pytest.param([[3.0, 0.0], [0.0, 2.0]], [1, 0], 20.0, id="always wrong"),
        pytest.param([[2.0, 0.0], [2.0, 0.0]], [0, 0], 0.05, id="one class"),
        pytest.param([[2.0, 0.0]], [0], 0.05, id="one example"),
        pytest.param([[1.0, 1.0], [-4.0, -4.0]], [0, 1], 1.0, id="constant rows"),
        # Constant logits (log 3 apart, right three times in four) are calibrated as they are.
        pytest.param([[math.log(3), 0.0]] * 4, [0, 0, 0, 1], 1.0, id="constant predictions"),
    ],
)
def test_fit_temperature_extreme_inputs_stays_in_range(
    logits: list[list[float]], labels: list[int], expected: float
) -> None:
    """Without an inner optimum the nearer end of the range is returned, and 1 without evidence."""
    fitted = calibration.fit_temperature(np.array(logits), np.array(labels))
    assert fitted == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_classes", CLASSES)
def test_calibration_report_temperature_changes_only_the_calibrated_half(n_classes: int) -> None:
    """The plain half measures the logits, the calibrated half the logits over the temperature."""
    logits, labels = classified(5, n_classes)
    report = calibration.calibration_report(logits, labels, temperature=2.5)
    before, after = calibration.softmax(logits), calibration.softmax(logits / 2.5)
    for suffix, probabilities in (("", before), ("_calibrated", after)):
        given_errors = {
            "ece": calibration.expected_calibration_error(probabilities, labels),
            "ece_equal_mass": calibration.expected_calibration_error(
                probabilities, labels, scheme="equal_mass"
            ),
            "ece_floor": calibration.calibrated_confidence_error(probabilities.max(axis=1)),
            "ece_classwise": calibration.classwise_calibration_error(probabilities, labels),
            "mce": calibration.maximum_calibration_error(probabilities, labels),
            "brier": calibration.brier_score(probabilities, labels),
            "nll": calibration.negative_log_likelihood(probabilities, labels),
        }
        for name, value in given_errors.items():
            assert report.pop(name + suffix) == pytest.approx(value, abs=1e-12)
    assert not report


@pytest.mark.parametrize("n", [20, 300, 2000])
def test_floor_is_the_mean_error_of_calibrated_predictions(n: int) -> None:
    """Drawn anew many times, right as often as they say, predictions err by the floor."""
    rng = np.random.default_rng(n)
    confidence = 0.5 + 0.5 * rng.beta(2, 1, n)
    drawn = rng.random((1500, n)) < confidence
    errors = [calibration.confidence_error(confidence, correct) for correct in drawn]
    floor = calibration.calibrated_confidence_error(confidence)
    assert floor == pytest.approx(np.mean(errors), rel=0.02)


def test_classwise_error_sees_what_the_top_label_hides() -> None:
    """With the right class always on top but the others confused, the second class is at fault."""
    probabilities = np.tile([0.6, 0.4, 0.0], (100, 1))
    labels = np.repeat([0, 2], [60, 40])
    assert calibration.expected_calibration_error(probabilities, labels) == pytest.approx(0)
    found = calibration.classwise_calibration_error(probabilities, labels)
    assert found == pytest.approx((0 + 0.4 + 0.4) / 3)


@pytest.mark.parametrize("kind", ["calibrated", "overconfident"])
@pytest.mark.parametrize("n", [100, 800])
def test_interval_of_the_error_covers_what_other_items_show_on_average(kind: str, n: int) -> None:
    """Over seeds and items, in 92 to 98 % of 150 studies of 5 seeds, which chance moves by 2 %."""
    slope = {"calibrated": 0.74, "overconfident": 1.2}[kind]
    rng = np.random.default_rng(n)

    def study() -> list[tuple[Array, Array]]:
        true, shared = rng.normal(0, 1.5, n), rng.normal(0, 0.6, n)
        positive = rng.random(n) < 1 / (1 + np.exp(-true))
        made = (
            slope
            * np.exp(rng.normal(0, 0.15, (5, 1)))
            * (true + shared + rng.normal(0, 0.6, (5, n)))
        )
        return [(1 / (1 + np.exp(-np.abs(logit))), (logit > 0) == positive) for logit in made]

    expected = np.mean([calibration.confidence_error(*run) for _ in range(400) for run in study()])
    hits = []
    for _ in range(150):
        values = dict(enumerate(calibration.confidence_error_items(*run) for run in study()))
        scores = {seed: float(each.mean()) for seed, each in values.items()}
        low, high = estimate(Sample(scores, (values,))).ends()
        hits.append(bool(low <= expected <= high))
    assert 0.9 <= np.mean(hits) <= 0.995


def test_calibration_report_certain_and_right_is_zero_throughout() -> None:
    """Perfect logits have no error of any kind, and none of the zeros is negative."""
    report = calibration.calibration_report(np.array([[1e4, 0.0]] * 3), np.zeros(3, dtype=int), 2.0)
    assert set(map(str, report.values())) == {"0.0"}


def test_calibration_report_overconfident_logits_improves() -> None:
    """Sharpened logits regain the errors of the calibrated ones at the fitted temperature."""
    sharpened, labels = classified(6, 3, n=20_000)
    sharpened = 4 * sharpened
    temperature = calibration.fit_temperature(sharpened[:10_000], labels[:10_000])
    report = calibration.calibration_report(sharpened[10_000:], labels[10_000:], temperature)
    assert temperature == pytest.approx(4, rel=0.05)
    for name in ("ece", "ece_equal_mass", "brier", "nll"):
        assert report[f"{name}_calibrated"] < report[name]
    assert report["ece_calibrated"] < 0.02


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.full((2, 2), 0.5), np.array([0, 1, 1]), "shape"),
        (np.full(2, 0.5), np.array([0, 1]), "shape"),
        (np.full((2, 1), 1.0), np.array([0, 0]), "two classes"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "no examples"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "from 0 to 1"),
        (np.full((2, 2), 0.5), np.array([-1, 1]), "from 0 to 1"),
        (np.full((2, 2), 0.5), np.array([0.0, 1.0]), "integers"),
        (np.array([[3.0, 1.0]]), np.array([0]), "softmax"),
        (np.array([[1.5, -0.5]]), np.array([0]), "softmax"),
        (np.array([[np.nan, 0.5]]), np.array([0]), "softmax"),
    ],
)
def test_calibration_errors_invalid_arrays_raise(
    probabilities: Array, labels: Array, message: str
) -> None:
    """Arrays that are no probabilities and classes are refused with the way out."""
    for name in ("expected_calibration_error", "brier_score", "negative_log_likelihood"):
        with pytest.raises(DataError, match=message):
            getattr(calibration, name)(probabilities, labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.333, 0.333, 0.333], r"row 1: the lowest is 0.333 and the sum is 0.999; .*more digits"),
        ([0.6, 0.5, -0.1], r"row 1: the lowest is -0.1 and the sum is 1; .*softmax"),
        ([2.0, 1.0, -3.0], r"row 1: the lowest is -3 and the sum is 0"),
    ],
)
def test_probabilities_that_are_none_are_named_by_row(row: list[float], message: str) -> None:
    """The first such row is named, with what is wrong and the way out."""
    probabilities = np.array([[0.2, 0.3, 0.5], row, row])
    with pytest.raises(DataError, match=message):
        calibration.expected_calibration_error(probabilities, np.array([0, 1, 2]))


@pytest.mark.parametrize("size", [1e38, 1e300, 1.7e308])
@pytest.mark.filterwarnings("error")
def test_huge_logits_cost_no_warning(size: float) -> None:
    """Differences of finite logits do not overflow, and errors are those of certain classes."""
    logits, labels = np.array([[size, -size], [-size, size]]), np.array([0, 0])
    for temperature in (1.0, calibration.fit_temperature(logits, labels)):
        report = calibration.calibration_report(logits, labels, temperature)
        assert all(map(math.isfinite, report.values()))
        assert report["ece"] == 0.5


def test_calibration_report_bad_settings_raise() -> None:
    """Settings outside their range, and logits that are not finite, are refused by name."""
    logits, labels = classified(0, 2, n=5)
    probabilities = calibration.softmax(logits)
    with pytest.raises(ConfigError, match="bins: 0"):
        calibration.expected_calibration_error(probabilities, labels, bins=0)
    with pytest.raises(ConfigError, match=r"'quantile'.*equal_width, equal_mass"):
        calibration.expected_calibration_error(probabilities, labels, scheme="quantile")  # type: ignore[arg-type]  # the mistake under test
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="temperature"):
            calibration.calibration_report(logits, labels, temperature)
    logits[0, 0] = np.nan
    with pytest.raises(DivergedError, match="1 of 10"):
        calibration.fit_temperature(logits, labels)
