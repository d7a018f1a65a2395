"""What the figure of speed says in words."""

from collections.abc import Sequence

import pandas as pd
import pytest

from gapbench.reports.figures.throughput import _finding
from gapbench.reports.tables.words import times

BY_TASK = "Which methods train faster than lora differs by task."


@pytest.mark.parametrize(
    ("multiples", "said"),
    [
        ({}, ""),
        ({"dora": [0.5]}, f"dora trains at {times(0.5)} lora's tokens per second."),
        (
            {"dora": [1.5, 2.5], "full": [0.1, 0.1], "head": [0.9, 0.5]},
            f"dora, the fastest, trains at {times(2)} lora's tokens per second; full, the "
            f"slowest, trains at {times(0.1)} lora's tokens per second.",
        ),
        (
            {"dora": [1.0, 1.02], "full": [0.5, 0.7]},
            f"full, the slowest, trains at {times(0.6)} lora's tokens per second.",
        ),
        ({"head": [0.6, 3.6]}, BY_TASK),
        ({"head": [0.6, 3.6], "dora": [0.9, 2.0]}, BY_TASK),
        ({"head": [1.3, 1.4], "dora": [1.25, 1.6]}, ""),  # each leads on one task
        ({"head": [1.02, 1.05, 1.2]}, ""),  # faster everywhere, though not clearly
        (
            {"head": [1.05, 1.04], "dora": [0.95, 1.0]},
            "In tokens per second, all methods are within a tenth of lora.",
        ),
    ],
)
def test_finding_names_a_method_only_where_tasks_agree(
    multiples: dict[str, Sequence[float]], said: str
) -> None:
    """And where it is a tenth faster or slower than the reference, in the median."""
    rows = [
        (name, f"t{k}", "b", each) for name, own in multiples.items() for k, each in enumerate(own)
    ]
    data = pd.DataFrame(rows, columns=["name", "task", "backbone", "tokens_per_second"])
    assert _finding(data.astype({"tokens_per_second": float}), "lora") == said
