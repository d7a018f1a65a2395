"""Which row is cheap: by what is counted, and what is measured compares where it was alike."""

import math

import pytest

from gapbench.reports.verdict.costs import Place, cheapest, multiples_of

CPU: Place = (("cpu", (5,)),)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({"a": (5, 1, 1, 1), "b": (4, 9, 9, 9), "c": (6, 1, 1, 1)}, "b"),
        ({"a": (5.02, 4, 1, 1), "b": (5, 1, 9, 9), "c": (5, 1, 1, 1)}, "b"),
        ({"a": (5, 1, 9, 9), "b": (5, 1, 1, 1), "c": (5, 1, 1, 1)}, "a"),
        (dict.fromkeys("abc", (math.inf, math.inf, 1, 1)), "a"),
    ],
)
def test_cheapest_row_is_told_by_what_is_counted(
    costs: dict[str, tuple[float, ...]], expected: str
) -> None:
    """Of equally cheap ones it is the first; seconds and memory, which vary, choose none."""
    assert cheapest("abc", costs) == expected


@pytest.mark.parametrize(
    ("place", "scoring", "memory"),
    [
        (CPU, 3.0, 0.5),
        ((("cpu", (1,)),), 3.0, None),
        ((("cpu (2 threads)", (5,)),), None, None),
        ((("", (5,)),), None, None),
    ],
)
def test_what_was_measured_compares_where_it_was_measured_alike(
    place: Place, scoring: float | None, memory: float | None
) -> None:
    """Seconds on one machine, memory of as many runs; what is counted compares anywhere."""
    costs = {"lora": (1.0, 1.0, 1.0, 2.0), "a": (2.0, 4.0, 3.0, 1.0)}
    found = multiples_of("a", "lora", costs, {"lora": CPU, "a": place})
    assert found == {"training": 2.0, "passes": 4.0, "scoring": scoring, "memory": memory}
