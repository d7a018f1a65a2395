"""Numbers as text."""

import pytest

from gapbench.reports.tables.terminal import number, short


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(0.12345, 3, "0.123"), (-0.0, 3, "0.000"), (-0.0, 0, "0"), (0.00012345, 3, "0.000123"),
     (-0.25, 2, "-0.25"), (12345.6, 3, "1.23e+04"), (float("nan"), 3, ""), (None, 3, "")],
)  # fmt: skip
def test_number_shows_no_sign_of_zero_and_no_hidden_digits(
    value: float | None, digits: int, said: str
) -> None:
    """Fixed decimals, a short form where these would hide it, nothing where there is none."""
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
