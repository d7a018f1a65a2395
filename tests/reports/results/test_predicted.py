"""Stored predictions of a row, of tasks whose items have several numbers of choices too."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax

from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.results.predicted import Predicted, predicted
from gapbench.reports.stats.reliability import reliability
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.summary import summarise
from tests.support.results_folder import make_cell, make_record


def stored(root: Path, logits: list[list[float | None]], **more: Any) -> Predicted | None:
    """Return what is read of a run with these logits, whose labels are all 0."""
    store = Store(root)
    store.open_for_writing()
    columns = {f"logit_{place}": list(each) for place, each in enumerate(zip(*logits, strict=True))}
    content = {"example_id": range(len(logits)), "label": [0] * len(logits), **columns, **more}
    store.write(make_record(make_cell(), 0), {"test": pa.table(content)})
    results = load(store)
    (row,) = rows(summarise(results))
    return predicted(results, row, dict.fromkeys(row.ok_runs.values(), 2.0))


def test_choices_that_an_item_lacks_have_no_probability(tmp_path: Path) -> None:
    """All items count, with the probabilities that a softmax over their own choices gives."""
    found = stored(tmp_path, [[1.0, 0.0, 2.0], [3.0, 1.0, None], [None, 0.5, 0.0]])
    assert found is not None
    assert len(found.labels) == 3
    bins = reliability(found.logits, found.labels, bins=1)
    own = [softmax(each).max() for each in ([1.0, 0.0, 2.0], [3.0, 1.0], [0.5, 0.0])]
    assert bins.counts.tolist() == [3]
    assert bins.confidence[0] == pytest.approx(np.mean(own))
    assert bins.accuracy[0] == pytest.approx(1 / 3)


def test_distance_counts_no_choice_that_an_item_lacks(tmp_path: Path) -> None:
    """Two items are half as far off as the one that is wrong; scaling halves the logits."""
    truth = {"true_probability_0": [0.5, 1.0], "true_probability_1": [0.5, 0.0],
             "true_probability_2": [None, 0.0]}  # fmt: skip
    found = stored(tmp_path, [[0.0, 0.0, None], [2.0, 0.0, 0.0]], **truth)
    assert found is not None
    assert found.distance(calibrated=False) == pytest.approx((1 - softmax([2, 0, 0])[0]) / 2)
    assert found.distance(calibrated=True) == pytest.approx((1 - softmax([1, 0, 0])[0]) / 2)


def test_items_without_two_logits_give_no_probability(tmp_path: Path) -> None:
    """One choice alone is no prediction, and neither is an overflow."""
    found = stored(tmp_path, [[1.0, None], [float("inf"), 0.0], [0.0, 1.0]])
    assert found is not None
    assert found.logits.tolist() == [[0.0, 1.0]]
    assert stored(tmp_path / "none", [[1.0, None]]) is None
