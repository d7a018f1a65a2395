"""Stored predictions as values of single items: when they count, and when they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gapbench.bench.config.run import Cell, Resample, Run
from gapbench.bench.metrics.base import get
from gapbench.bench.metrics.classification import score
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import SplitScores
from gapbench.bench.store.store import Store
from gapbench.reports.results.items import Quantity, ScoredCell, samples
from gapbench.reports.results.load import LoadedResults, load
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


def stored(root: Path, cell: Cell, tables: dict[int, pa.Table | None]) -> LoadedResults:
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
        store.write(
            make_record(cell, seed, splits=splits), {} if table is None else {"test": table}
        )
    return load(store)


def scored(results: LoadedResults, cell: Cell, *metrics: str) -> ScoredCell:
    """Return the recorded scores of a cell."""
    runs = results.runs.set_index("seed")
    columns = {"accuracy": "test_score", "f1": "test/f1"}
    return ScoredCell(
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
        assert found.strata
        assert found.n_items == N
        for seed, recorded in wanted.scores.items():
            assert found.scores[seed] == pytest.approx(np.mean(list(recorded.values())))
            assert sum(each[seed].mean() for each in found.strata) == pytest.approx(
                found.scores[seed]
            )


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
    assert found.strata == ()
    assert sorted(found.scores) == [0, 1]


def test_predictions_that_do_not_give_the_recorded_score_are_not_used(tmp_path: Path) -> None:
    """An interval around a score is never made from items that score otherwise."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    recorded = scored(results, cell, "accuracy")
    wrong = {seed: {"accuracy": each["accuracy"] + 0.01} for seed, each in recorded.scores.items()}
    assert samples(results, {"a": ScoredCell(cell.hash, wrong)})["a"].strata == ()


def test_damaged_predictions_are_none(tmp_path: Path) -> None:
    """A file that cannot be read costs the cell its items, and the report nothing else."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    path = results.store.record_path(Run(cell, 1)).with_suffix(".parquet")
    path.write_bytes(path.read_bytes()[:40])
    found = samples(results, {"a": scored(results, cell, "accuracy")})["a"]
    assert found.strata == ()
    assert len(found.scores) == 2


def test_no_part_of_a_score_counts_as_certain(tmp_path: Path) -> None:
    """Where one of several values has no items, there is no interval over those of the others."""
    cell = make_cell(task=make_task())
    results = stored(tmp_path, cell, {0: predicted(0), 1: predicted(1)})
    recorded = {
        seed: {**each, "mismatched/accuracy": 0.9}
        for seed, each in scored(results, cell, "accuracy").scores.items()
    }
    found = samples(results, {"a": ScoredCell(cell.hash, recorded)})["a"]
    assert found.strata == ()
    assert found.scores[0] == pytest.approx((recorded[0]["accuracy"] + 0.9) / 2)


def test_choices_that_a_question_lacks_are_never_chosen() -> None:
    """They are null in the table, and the others decide; the rest have all probability."""
    third = pa.array([None, 5.0, None], from_pandas=True)
    table = pa.table(
        {"label": [1, 2, 0], "logit_0": [-2.0, -1.0, -1.0], "logit_1": [-1.0, 0, 0.5],
         "logit_2": third}
    )  # fmt: skip
    found = ItemTable(table).checked("accuracy", 2 / 3)
    assert found is not None
    assert found.tolist() == [1, 1, 0]
    losses = ItemTable(table).values("nll")
    assert losses is not None
    assert losses[0] == pytest.approx(np.log1p(np.exp(-1)))


def test_values_and_tokens_have_items_too() -> None:
    """Regression compares its only output, generation its losses weighed by tokens."""
    rng = np.random.default_rng(0)
    truth, output = rng.normal(size=30), rng.normal(size=30)
    table = pa.table({"label": truth, "logit_0": output})
    expected = get("pearson").function(output, truth) or 0.0
    assert ItemTable(table).checked("pearson", expected) is not None
    assert ItemTable(table).values("nll") is None
    tokens, losses = rng.integers(1, 9, 30), rng.random(30)
    table = pa.table({"text": ["a"] * 30, "loss": losses, "tokens": tokens})
    nll = float(np.average(losses, weights=tokens))
    assert ItemTable(table).checked("nll", nll) is not None
    assert ItemTable(table).checked("perplexity", float(np.exp(nll))) is not None
    assert ItemTable(table).values("bleu") is None
    assert ItemTable(pa.table({"text": ["a"]})).values("span_f1") is None


def test_stored_items_of_a_metric_are_used_as_they_are() -> None:
    """What a run has stored of a metric needs no references in a report."""
    values = np.array([0.1, 0.7, 0.4], dtype=np.float32)
    table = pa.table({"text": ["a", "b", "c"], "item_bleu": values, "item_token_ece": values})
    for metric in ("bleu", "ece"):
        found = ItemTable(table).checked(metric, 0.4)
        assert found is not None
        np.testing.assert_array_equal(found, values)
    assert ItemTable(table).checked("bleu", 0.41) is None


def with_splits(root: Path, resample: Resample = "fixed", *, kept: bool = True) -> LoadedResults:
    """Return a folder with the predictions of all splits of two runs, 20 of them of train."""
    cell = make_cell(task=make_task()).model_copy(update={"resample": resample})
    store = Store(root)
    store.open_for_writing()
    store.write_plan("s", [(Run(cell, seed), "default") for seed in (0, 1)])
    for seed in (0, 1):
        tables = {
            "train": predicted(seed + 10).slice(0, 20),
            "validation": predicted(seed + 20),
            "test": predicted(seed),
        }
        found = {split: metrics_of(table) for split, table in tables.items()}
        splits = {
            split: SplitScores(metrics=metrics, loss=1.0, examples=tables[split].num_rows)
            for split, metrics in found.items()
        }
        gap = (found["train"]["accuracy"] or 0) - (found["test"]["accuracy"] or 0)
        record = make_record(cell, seed, splits=splits, generalization_gap=gap)
        store.write(record, tables if kept else {"test": tables["test"]})
    return load(store)


def main_scores(results: LoadedResults) -> ScoredCell:
    """Return the recorded main scores of the only cell."""
    (config_hash,) = results.cells
    runs = results.runs.set_index("seed")
    return ScoredCell(
        config_hash, {int(s): {"accuracy": runs.loc[s, "test_score"]} for s in (0, 1)}
    )


@pytest.mark.parametrize("outcome", ["train_score", "validation_score", "gap"])
def test_outcomes_of_other_splits_have_the_items_of_these(
    tmp_path: Path, outcome: Quantity
) -> None:
    """Their means are what the records say; without stored predictions there are seeds alone."""
    results = with_splits(tmp_path / "all")
    runs = results.runs.set_index("seed")
    column = "generalization_gap" if outcome == "gap" else outcome
    found = samples(results, {"a": main_scores(results)}, outcome)["a"]
    assert found.strata
    sizes = {"train_score": (20,), "validation_score": (N,), "gap": (20, N)}
    assert found.sizes == sizes[outcome]
    for seed in (0, 1):
        assert found.scores[seed] == pytest.approx(runs.loc[seed, column])
        assert sum(each[seed].mean() for each in found.strata) == pytest.approx(
            runs.loc[seed, column]
        )
    only_test = with_splits(tmp_path / "test", kept=False)
    assert samples(only_test, {"a": main_scores(only_test)}, outcome)["a"].strata == ()


def test_variance_of_a_gap_is_that_of_both_splits(tmp_path: Path) -> None:
    """Of two independent means the variances add up, each over its own number of items."""
    results = with_splits(tmp_path)
    wanted = {"a": main_scores(results)}
    gap, test, train = (
        samples(results, wanted, outcome)["a"].strata for outcome in ("gap", "score", "train_score")
    )
    for seed in (0, 1):
        assert np.var(gap[0][seed]) == pytest.approx(np.var(train[0][seed]))
        assert np.var(gap[1][seed]) == pytest.approx(np.var(test[0][seed]))


def test_training_items_that_seeds_draw_anew_count_as_chance_of_the_seeds(tmp_path: Path) -> None:
    """Only the test items of a gap are the same for all seeds; of the train score, none are."""
    results = with_splits(tmp_path, "per_seed")
    wanted = {"a": main_scores(results)}
    gap = samples(results, wanted, "gap")["a"]
    assert gap.n_items == N
    assert gap.strata
    assert sum(each[0].mean() for each in gap.strata) == pytest.approx(gap.scores[0])
    assert samples(results, wanted, "train_score")["a"].strata == ()
