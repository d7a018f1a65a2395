"""Numbers and second tests as text."""

import math

import pandas as pd
import pytest

from gapbench.reports.tables.second_tests import COLUMNS
from gapbench.reports.tables.terminal import (
    _TESTED_WIDTHS,
    _WIDTHS,
    WIDTH,
    _line,
    against_reference,
    fitted,
    format_second_tests,
    number,
    short,
    told_apart,
)


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(0.12345, 3, "0.123"), (-0.0, 3, "0.000"), (-0.0, 0, "0"), (0.00012345, 3, "0.000"),
     (-0.0004, 3, "0.000"),
     (-0.25, 2, "-0.25"), (12345.6, 3, "12,346"), (float("nan"), 3, ""), (None, 3, "")],
)  # fmt: skip
def test_number_has_fixed_decimals_and_no_sign_of_zero(
    value: float | None, digits: int, said: str
) -> None:
    """What rounds to zero shows as zero; nothing where there is none."""
    assert number(value, digits) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (258, "258"),
        (999.6, "1.00k"),
        (12_500, "12.5k"),
        (999_600, "1.00M"),
        (55e9, "55.0G"),
    ],
)
def test_short_number_has_three_digits(value: float, text: str) -> None:
    """Also where rounding carries it over to the next letter."""
    assert short(value) == text


LONG = "hiddenkey / learning rate 0.001, rank 16, "


@pytest.mark.parametrize(
    "names",
    [
        [f"{LONG}seed group {place}" for place in range(60)],
        [f"{LONG}{place:02} of the variants that the paper tries" for place in range(60)],
        [f"lora / {place:02}{'x' * 60}" for place in range(60)],
        [f"lora / {'x' * 30}{place:02}{'x' * 30} [paper]" for place in range(60)],
    ],
    ids=["end", "middle", "beginning", "paper"],
)
def test_long_names_are_told_apart_however_they_differ(names: list[str]) -> None:
    """Sixty variants of one length have sixty texts, none wider than there is room."""
    shown = told_apart([*names, names[0]], lambda name: fitted(name, 25))
    assert len({*shown}) == 60
    assert shown[0] == shown[-1]
    assert max(map(len, shown)) <= 25
    assert all(text.endswith("[paper]") for text in shown) == names[0].endswith("[paper]")


def test_short_names_stay_as_they_are() -> None:
    """A name that fits is not touched."""
    assert told_apart(["lora", "dora", "lora"], lambda name: fitted(name, 4)) == [
        "lora",
        "dora",
        "lora",
    ]


def test_second_tests_are_a_part_for_each_test() -> None:
    """Each fits a terminal, marks what is shown, and has a change where any row has one."""
    names = ("suite", "task", "backbone", "setting", "metric", "vs_reference_claim", "method")
    row = dict.fromkeys(COLUMNS, math.nan) | dict.fromkeys(names, "x") | {"start": "", "n_seeds": 2}
    score = {"score": 0.5, "score_ci_low": 0.4, "score_ci_high": 0.6, "vs_reference": 0.25}
    told = row | score | {"test": "told", "name": "lora", "vs_reference_claim": "better"}
    changed = (
        row
        | score
        | {
            "test": "changed",
            "name": "full",
            "start": "adapter",
            "change": -0.125,
            "change_ci_low": -0.25,
            "change_ci_high": -0.125,
        }
    )
    text = format_second_tests(pd.DataFrame([told, changed]))
    first, second = text.split("x | x | x | ")[1:]
    assert "also tested on told x" in first
    assert "0.400 .. 0.600" in first
    assert "0.250^" in first
    assert "change" not in first
    assert "from adapter | also tested on changed x" in second
    assert "-0.125" in second
    assert max(map(len, text.splitlines())) <= WIDTH
    assert format_second_tests(pd.DataFrame(columns=[*COLUMNS, "name"])) == ""


def test_lines_with_negative_scores_fit_a_terminal() -> None:
    """An interval about zero takes a column more than one above it."""
    texts = ("*", "a" * 19, "5", "-0.009", "-0.064 .. 0.047", "-0.009v", "-0.001", "0.02", "3.37T")
    assert len(_line(texts)) <= 80
    assert [len(text) <= width for text, width in zip(texts, _WIDTHS, strict=True)] == [True] * 9
    assert _TESTED_WIDTHS[4] == _WIDTHS[4]


def test_reference_that_is_not_among_the_rows_is_told() -> None:
    """A column of differences to it makes a reader look for its row."""
    table = pd.DataFrame(
        {"method": ["head", "lora"], "variant": "default", "reference": ["lora", "lora"]}
    )
    (hidden,) = against_reference(table[:1], "^ better")
    assert "score minus that of lora, which is not shown; ^ better." in hidden
    (whole,) = against_reference(table, "^ better")
    assert "not shown" not in whole
