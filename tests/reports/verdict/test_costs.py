"""Which row is cheap: by operations, then by what was measured on one machine."""

import math

import pytest

from gapbench.reports.verdict.costs import cheapest

ONE = {"a": "cpu", "b": "cpu", "c": "cpu"}


@pytest.mark.parametrize(
    ("costs", "machines", "expected"),
    [
        ({"a": (5, 1, 1), "b": (4, 9, 9), "c": (6, 1, 1)}, ONE, "b"),
        ({"a": (5.02, 9, 1), "b": (5, 4, 9), "c": (5, 9, 1)}, ONE, "b"),
        ({"a": (5, 1.2, 1), "b": (5, 1.0, 1), "c": (5, 1.1, 1)}, ONE, "a"),
        ({"a": (5, 1.2, 9), "b": (5, 1.0, 9), "c": (5, 1.1, 1)}, ONE, "c"),
        ({"a": (5, 9, 9), "b": (5, 1, 1), "c": (5, 9, 9)}, ONE | {"b": "gpu"}, "a"),
        ({"a": (5, 9, 9), "b": (5, 1, 1), "c": (5, 9, 9)}, dict.fromkeys("abc", ""), "a"),
        (dict.fromkeys("abc", (math.inf, math.inf, math.inf)), ONE, "a"),
    ],
)
def test_cheapest_row_is_told_by_what_is_no_noise(
    costs: dict[str, tuple[float, ...]], machines: dict[str, str], expected: str
) -> None:
    """Of equally cheap ones it is the first; seconds of unlike machines tell nothing."""
    assert cheapest("abc", costs, machines) == expected
