"""Values far from unit size are learned in a unit of their own, and reported as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gapbench
from gapbench.bench.config.task import Task
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.kinds.regression import scale_of
from tests.support.small_suite import TASK, SmallSuite, make, rows

VALUES: dict[str, Any] = {
    "kind": "regression",
    "labels": [],
    "metrics": ["pearson", "mse"],
    "checkpoint_metric": "mse",
}
CENTRE, SIZE = 1000.0, 64.0


@pytest.fixture
def trained(tmp_path: Path, make_backbone: Callable[[str], Path]) -> Callable[..., SmallSuite]:
    """Return a function that trains on values, which stand for the same ones in another unit."""

    def train(name: str, unit: tuple[float, float], **fields: Any) -> SmallSuite:
        small = make(tmp_path / name, make_backbone("bert"), methods=["lora", "majority"], seeds=1)
        ends = [unit[0] - 8 * unit[1], unit[0] + 8 * unit[1]]
        small.write_task(**VALUES, label_range=ends, **fields)
        for split in ("train", "validation"):
            table = rows(split)
            lengths = np.array([len(text.split()) for text in table["sentence"]], dtype=np.float64)
            small.write_rows(split, table | {"label": unit[0] + unit[1] * (lengths - 6) / 2})
        gapbench.run(small.path, data=small.data, results=small.results, progress=False)
        return small

    return train


def test_scaled_values_are_learned_as_unit_ones(trained: Callable[..., SmallSuite]) -> None:
    """The run is that of values that were divided before; what it reports is in their unit."""
    unit = trained("unit", (0.0, 1.0))
    far = trained("far", (CENTRE, SIZE), scale=[CENTRE, SIZE])
    found = [
        {r["method"]: r for _, r in gapbench.load(s.results).runs.iterrows()} for s in (unit, far)
    ]
    for method, before in found[0].items():
        after = found[1][method]
        assert after["status"] == "ok"
        assert after["checkpoint_step"] == before["checkpoint_step"]
        for column in ("test_loss", "train_loss", "test/mse"):
            assert after[column] == pytest.approx(before[column] * SIZE**2, rel=1e-4)
        if method == "lora":
            assert after["test_score"] == pytest.approx(before["test_score"], abs=1e-5)
    tables = [_predictions(small) for small in (unit, far)]
    for column in ("label", "logit_0"):
        again = (np.array(tables[1][column]) - CENTRE) / SIZE
        np.testing.assert_allclose(again, tables[0][column], rtol=0, atol=1e-4)


def _predictions(small: SmallSuite) -> dict[str, list[float]]:
    store = Store(small.results)
    record = next(
        r for r in store.records() if not isinstance(r, Exception) and r.cell.method == "lora"
    )
    table = store.predictions(record.run)
    assert table is not None
    return table.to_pydict()


def test_scale_changes_the_run_and_its_absence_does_not() -> None:
    """It is part of what a hash covers; tasks without one keep theirs."""
    task = TASK | VALUES | {"label_range": [0, 9]}
    plain, scaled = (Task.model_validate(task | more) for more in ({}, {"scale": [4.0, 2.0]}))
    assert "scale" not in plain.identity()
    assert scaled.identity()["scale"] == [4.0, 2.0]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 1.0, 2.0], None),
        ([1.0, 5.0, 3.0], None),
        ([1200.0, 1400.0], (1300.0, 100.0)),
        ([-3e5, 3e5], (0.0, 3e5)),
        ([0.001, 0.003], (0.002, 0.001)),
    ],
)
def test_scale_is_that_of_values_far_from_unit_size(
    values: list[float], scale: tuple[float, float] | None
) -> None:
    """Stars and unit values stay; prices and shares of a percent do not."""
    assert scale_of(values) == scale


@pytest.mark.parametrize("scale", [[0.0, 0.0], [1.0, -2.0]])
def test_scale_without_size_is_refused(scale: list[float]) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match="field 'scale'"):
        Task.model_validate(TASK | VALUES | {"label_range": [0, 9], "scale": scale})
