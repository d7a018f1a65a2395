"""Temperatures are true optima, and a report has them, intervals and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from gapbench.bench.core.errors import ConfigError, DataError, DivergedError
from gapbench.bench.metrics import calibration, confidence_bins
from gapbench.bench.metrics.confidence_bins import Scheme
from gapbench.reports.stats.estimates import Sample, estimate
from tests.support.classified import CLASSES, SEEDS, Array, classified

Arguments = tuple[Array, Array, int, Scheme]

SCHEMES: tuple[Scheme, ...] = ("equal_width", "equal_mass")


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
            "ece_floor": confidence_bins.calibrated_confidence_error(probabilities.max(axis=1)),
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
    errors = [confidence_bins.confidence_error(confidence, correct) for correct in drawn]
    floor = confidence_bins.calibrated_confidence_error(confidence)
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

    expected = np.mean(
        [confidence_bins.confidence_error(*run) for _ in range(400) for run in study()]
    )
    hits = []
    for _ in range(150):
        values = dict(enumerate(confidence_bins.confidence_error_items(*run) for run in study()))
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
