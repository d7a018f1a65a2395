"""What the figure of speed says in words."""

import pandas as pd
import pytest

from gapbench.reports.figures.throughput import _finding
from gapbench.reports.tables.words import times


@pytest.mark.parametrize(
    ("multiples", "said"),
    [
        ({}, ""),
        ({"dora": 0.5}, f"dora trains on {times(0.5)} the tokens per second of lora."),
        (
            {"dora": 0.5, "full": 0.1},
            f"Of the methods beside lora, dora trains on {times(0.5)} the tokens per second of "
            f"lora, the most; full, the slowest, on {times(0.1)}.",
        ),
    ],
)
def test_finding_is_of_the_methods_beside_the_reference(
    multiples: dict[str, float], said: str
) -> None:
    """It may be faster than all of them."""
    assert _finding(pd.Series(multiples, dtype=float), "lora") == said
