"""How many training examples a run draws, part by part."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.small_stack import make_runs, random_data, train

DRAWN = {
    "lora": {"train": 240},  # of 48, batches of 8: thirty full ones
    "r_drop": {"train": 240},
    "bilora": {"train": 228, "upper": 150},  # of 38 and 10: batches of 8 8 8 8 6, and of 8 2
    "bidora": {"train": 228, "upper": 150},
}


@pytest.mark.parametrize("method", DRAWN)
def test_draws_are_counted_by_part(method: str, make_backbone: Callable[[str], Path]) -> None:
    """Partial batches, which parts of other sizes have, count with what they hold."""
    runs = make_runs(method, (0, 1), steps=30)
    done = train(make_backbone("bert"), runs, random_data(train=48))
    assert [trace.drawn for trace in done.trainer.traces] == [DRAWN[method]] * 2
