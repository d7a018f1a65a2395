"""Numbers in words say no more than is known, and lose neither sign nor size."""

from dataclasses import replace
from pathlib import Path

import pytest

from gapbench.reports.prose.phrases import advantage, change
from gapbench.reports.tables.terminal import short
from gapbench.reports.tables.words import at_most, decimal, few, telling, times
from gapbench.reports.verdict.model import Contrast
from tests.support.known_truth import verdicts_of, write


@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(0.0003, 0.0205, 4), (-0.2, -0.1, 3), (-0.4, -0.00002, 5), (0.0, 0.3, 3), (-1e-9, 1.0, 3)],
)
def test_ends_of_intervals_keep_their_side_of_zero(low: float, high: float, digits: int) -> None:
    """A claim stands where the interval as printed excludes zero."""
    assert telling(low, high) == digits


def test_claim_is_printed_with_the_digits_that_it_needs() -> None:
    """Three, where these are enough."""
    found = Contrast("dora", "lora", "score", 0.0104, 0.0003, 0.0205, "better", 5, 100, 0.95, "")
    assert change(found) == "+0.0104 (+0.0003 to +0.0205)"
    assert change(replace(found, low=0.003)) == "+0.010 (+0.003 to +0.021)"


def test_gain_is_above_zero_where_lower_is_better(tmp_path: Path) -> None:
    """A method is better by a number, not by one below zero."""
    (verdict,) = verdicts_of(write(tmp_path, {"lora": 2.0, "dora": 2.5}))
    found = Contrast("dora", "lora", "score", -0.017, -0.022, -0.012, "better", 5, 100, 0.95, "")
    lower = replace(verdict, higher_is_better=False)
    assert change(advantage(found, lower)) == "+0.017 (+0.012 to +0.022)"
    assert advantage(found, verdict) == found


def test_bounds_are_rounded_up() -> None:
    """What the data rule out begins above, never below, what they leave possible."""
    assert [at_most(bound) for bound in (0.00449, 0.00049, 0.004, 0.0)] == [
        "0.005",
        "0.001",
        "0.004",
        "0.000",
    ]


def test_small_numbers_keep_sign_and_size() -> None:
    """A cost that is not zero is not printed as zero, and a minus is not lost."""
    assert [short(value) for value in (-5e-5, 5e-5, -1e-9, 0.0)] == [
        "-0.00005",
        "0.00005",
        "0",
        "0",
    ]
    assert [times(value)[:-1] for value in (0.04, 0.004, 0.0, 0.31, 9.96, 12.3)] == [
        "0.04",
        "0.004",
        "0",
        "0.3",
        "10",
        "12",
    ]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, ""),
        (2, "a and b"),
        (4, "a, b, c and d"),
        (5, "a, b, c, d and e"),
        (6, "a, b, c, d and 2 others"),
    ],
)
def test_captions_name_a_few(number: int, said: str) -> None:
    """A list of nearly all says nothing."""
    assert few(list("abcdef")[:number]) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [(5e-05, "0.00005"), (0.001, "0.001"), (2.0, "2"), (1e-7, "0.0000001"), (3e6, "3000000")],
)
def test_settings_are_decimals(value: float, text: str) -> None:
    """A learning rate is no power of ten."""
    assert decimal(value) == text
