"""Stored predictions as values of single items: when they count, and when they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gapbench.bench.config.run import Cell, Run
from gapbench.bench.metrics.base import get
from gapbench.bench.metrics.classification import score
from gapbench.bench.store.record import SplitScores
from gapbench.bench.store.store import Store
from gapbench.reports.results.items import Scored, pseudovalues, samples
from gapbench.reports.results.load import Results, load
from tests.support.results_folder import make_cell, make_record, make_task

N = 60


def predicted(seed: int, ids: Any = None) -> pa.Table:
    """Return predictions of a classifier."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 2
    logit = labels + rng.normal(0, 1, N) - 0.5
    ids = np.arange(N) if ids is None else ids
    return pa.table({"example_id": ids, "label": labels, "logit_0": -logit, "logit_1": logit})


def metrics_of(table: pa.Table) -> dict[str, float | None]:
    """Return the metrics that the benchmark computes from predictions."""
    logits = np.stack([table["logit_0"].to_numpy(), table["logit_1"].to_numpy()], axis=1)
    return score(["accuracy", "f1"], logits, table["label"].to_numpy())


def stored(root: Path, cell: Cell, tables: dict[int, pa.Table | None]) -> Results:
    """Return a folder with runs of a cell, whose records agree with their predictions."""
    store = Store(root)
    store.open_for_writing()
    store.write_plan("s", [(Run(cell, seed), "default") for seed in tables])
    for seed, table in tables.items():
        found = metrics_of(table if table is not None else predicted(seed))
        splits = {
            **make_record(cell, seed).splits,
            "test": SplitScores(metrics=found, loss=1.0, examples=N),
        }
        store.write(make_record(cell, seed, splits=splits), table)
    return load(store)


def scored(results: Results, cell: Cell, *metrics: str) -> Scored:
    """Return the recorded scores of a cell."""
    runs = results.runs.set_index("seed")
    columns = {"accuracy": "test_score", "f1": "test/f1"}
    return Scored(
        cell.hash,
        {int(s): {m: float(runs.loc[s, columns[m]]) for m in metrics} for s in runs.index},
    )


def test_samples_hold_the_values_of_every_item(tmp_path: Path) -> None:
    """Their means are the scores, of one metric or of the mean of two."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    one = scored(results, cell, "accuracy")
    two = scored(results, cell, "accuracy", "f1")
    for wanted in (one, two):
        found = samples(results, {"a": wanted})["a"]
        assert found.values is not None
        assert found.n_items == N
        for seed, recorded in wanted.scores.items():
            assert found.scores[seed] == pytest.approx(np.mean(list(recorded.values())))
            assert found.values[seed].mean() == pytest.approx(found.scores[seed])


@pytest.mark.parametrize(
    "tables",
    [
        {0: predicted(0), 1: None},
        {0: predicted(0), 1: predicted(1, np.arange(N) + 1)},
        {0: predicted(0).slice(0, 1), 1: predicted(1).slice(0, 1)},
    ],
    ids=["a run without predictions", "a run on other items", "one item"],
)
def test_items_count_only_if_all_runs_have_the_same(
    tables: dict[int, pa.Table | None], tmp_path: Path
) -> None:
    """Otherwise the sample is over seeds alone, with all its scores."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, tables)
    found = samples(results, {"a": scored(results, cell, "accuracy")})["a"]
    assert found.values is None
    assert sorted(found.scores) == [0, 1]


def test_predictions_that_do_not_give_the_recorded_score_are_not_used(tmp_path: Path) -> None:
    """An interval around a score is never made from items that score otherwise."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    recorded = scored(results, cell, "accuracy")
    wrong = {seed: {"accuracy": each["accuracy"] + 0.01} for seed, each in recorded.scores.items()}
    assert samples(results, {"a": Scored(cell.hash, wrong)})["a"].values is None


def test_damaged_predictions_are_none(tmp_path: Path) -> None:
    """A file that cannot be read costs the cell its items, and the report nothing else."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    path = results.store.record_path(Run(cell, 1)).with_suffix(".parquet")
    path.write_bytes(path.read_bytes()[:40])
    found = samples(results, {"a": scored(results, cell, "accuracy")})["a"]
    assert found.values is None
    assert len(found.scores) == 2


def test_metric_that_predictions_do_not_give_adds_what_was_recorded() -> None:
    """A second test set shifts every item alike; by itself it gives no items."""
    table = predicted(3)
    accuracy = metrics_of(table)["accuracy"] or 0.0
    found = pseudovalues(table, {"accuracy": accuracy, "mismatched/accuracy": 0.9})
    assert found is not None
    assert found.mean() == pytest.approx((accuracy + 0.9) / 2)
    assert np.ptp(found) == pytest.approx(0.5)
    assert pseudovalues(table, {"bleu": 0.3}) is None


def test_choices_that_a_question_lacks_are_never_chosen() -> None:
    """They are null in the table, and the others decide."""
    third = pa.array([None, 5.0, None], from_pandas=True)
    table = pa.table(
        {"label": [1, 2, 0], "logit_0": [-2.0, -1.0, -1.0], "logit_1": [-1.0, 0, 0.5],
         "logit_2": third}
    )  # fmt: skip
    found = pseudovalues(table, {"accuracy": 2 / 3})
    assert found is not None
    assert found.tolist() == [1, 1, 0]


def test_values_and_tokens_have_items_too() -> None:
    """Regression compares its only output, generation its losses weighed by tokens."""
    rng = np.random.default_rng(0)
    truth, output = rng.normal(size=30), rng.normal(size=30)
    table = pa.table({"label": truth, "logit_0": output})
    expected = get("pearson").function(output, truth) or 0.0
    assert pseudovalues(table, {"pearson": expected}) is not None
    tokens, losses = rng.integers(1, 9, 30), rng.random(30)
    table = pa.table({"text": ["a"] * 30, "loss": losses, "tokens": tokens})
    perplexity = float(np.exp(np.average(losses, weights=tokens)))
    assert pseudovalues(table, {"perplexity": perplexity}) is not None
    assert pseudovalues(pa.table({"text": ["a"]}), {"span_f1": 0.5}) is None
