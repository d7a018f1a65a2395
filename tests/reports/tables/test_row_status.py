"""What a row is beside others: collapsed seeds are told from seeds that vary."""

import numpy as np
import pytest

from gapbench.reports.stats.estimates import Sample
from gapbench.reports.tables.row_status import collapsed_seeds
from gapbench.reports.tables.standing import depths

FLOOR = Sample({0: 0.5})


def study(rng: np.random.Generator, seeds: int, gain: float) -> dict[str, dict[int, float]]:
    """Return seven equal methods with normal seeds of standard deviation 0.02."""
    scores = 0.5 + gain + 0.02 * rng.standard_normal((7, seeds))
    return {str(name): dict(enumerate(map(float, row))) for name, row in enumerate(scores)}


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("gain", [0.05, 0.1])
def test_seeds_that_only_vary_seldom_count_as_collapsed(seeds: int, gain: float) -> None:
    """However little training gains."""
    rng = np.random.default_rng(seeds)
    found = [bool(collapsed_seeds(study(rng, seeds, gain), FLOOR, up=True)) for _ in range(400)]
    assert np.mean(found) <= 0.02


@pytest.mark.parametrize(("seeds", "floor"), [(5, FLOOR), (10, FLOOR), (10, None)])
def test_seed_that_learns_nothing_is_found(seeds: int, floor: Sample | None) -> None:
    """Where training gains much, with an untrained row to compare with or without."""
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(200):
        scores = study(rng, seeds, 0.4)
        scores["3"][1] = 0.5
        found.append(collapsed_seeds(scores, floor, up=True) == {"3": 1})
    assert np.mean(found) >= 0.9


def test_saturated_task_hides_no_collapse() -> None:
    """Seeds that are all right vary in nothing, which is no reason to trust those at chance."""
    scores = {"a": dict(enumerate((1.0, 1.0, 0.5, 1.0, 0.5))), "b": dict.fromkeys(range(5), 1.0)}
    assert collapsed_seeds(scores, FLOOR, up=True) == {"a": 2}
    errors = {name: {s: -v for s, v in own.items()} for name, own in scores.items()}
    assert collapsed_seeds(errors, Sample({0: -0.5}), up=False) == {"a": 2}


def test_group_counts_what_is_above_in_any_order() -> None:
    """A row may be beaten by one whose mean is below its own, where seeds differ."""
    beaten = {"b": ("a",), "a": (), "c": ("b", "a"), "d": ("hidden",)}
    assert depths(beaten) == {"b": 2, "a": 1, "c": 3, "d": 1}
    assert max(depths({"a": ("b",), "b": ("a",)}).values()) <= 3  # a circle ends
