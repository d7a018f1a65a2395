"""What a record says, recomputed from its stored predictions by other libraries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy.special import softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from gapbench.bench.config import task_files
from gapbench.bench.config.task import Task
from gapbench.bench.core.schema import validate
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.scheduler import execute
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.schema import Suite
from gapbench.bench.metrics.classification import score
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from tests.support.counting import counting

TEST_ROWS = 150


def _shorter(name: str) -> Task:
    """Return a built-in task with fewer rows, which are scored sooner."""
    task = task_files.load(name)
    sizes = {"train": 100, "test": TEST_ROWS}
    source = task.source.model_copy(update={"sizes": sizes})
    return task.model_copy(update={"source": source, "validation_size": 40})


SUITE = {
    "name": "outcome",
    "tasks": [_shorter("syn_sentiment"), _shorter("syn_similarity")],
    "backbones": ["tiny-encoder"],
    "methods": ["lora", "majority"],
    "seeds": 3,
    "budget": {"steps": 12, "batch_size": 8, "evaluations": 2, "train_size": 40},
    "training": {"learning_rate": 0.02},
    "precision": "fp64",
}


def _run(results: Path, stack: int, **change: Any) -> tuple[Store, list[Record]]:
    suite = validate(Suite, SUITE | change, "test")
    sources = Sources()
    planned = suites.expand(suite, sources)
    runs = [entry.run for entry in planned]
    settings = Settings(results, sources, "cpu", stack, predictions=suite.predictions)
    execute(runs, settings, lambda _done, _statuses: None)
    store = store_at(results)
    found = [store.find(run) for run in runs]
    return store, [record for record in found if record is not None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Record]]:
    """Twelve finished runs in stacks of three, and their store."""
    with counting():
        store, records = _run(tmp_path_factory.mktemp("stacked"), stack=3)
    assert [record.status for record in records] == ["ok"] * 12
    return store, records


def test_scores_of_every_split_follow_from_its_stored_predictions(
    finished: tuple[Store, list[Record]],
) -> None:
    """The metrics of train and validation too, to the last digit: these are what was scored."""
    store, records = finished
    for record in records:
        for split, scores in record.splits.items():
            table = store.predictions(record.run, split)
            assert table is not None
            assert table.num_rows == scores.examples
            logits = table.to_pandas().filter(like="logit_").to_numpy()
            found = score([*scores.metrics], logits, table["label"].to_numpy())
            assert found == scores.metrics
        assert record.splits["train"].examples == 40


def test_predictions_of_test_alone_take_one_file(tmp_path: Path) -> None:
    """The setting changes what is stored, and no run."""
    only = {"methods": ["majority"], "seeds": 1, "predictions": "test"}
    store, records = _run(tmp_path / "test", 1, **only)
    for record in records:
        assert store.predictions(record.run) is not None
        assert store.predictions(record.run, "train") is None
    _, others = _run(tmp_path / "all", 1, **only | {"predictions": "all"})
    assert [each.run_hash for each in others] == [each.run_hash for each in records]


def test_stacked_runs_on_samples_of_their_own_equal_single_ones(tmp_path: Path) -> None:
    """Runs of one seed share a stack and their sample; those of other seeds differ in both."""
    rates = [
        {"method": "lora", "variant": str(r), "training": {"learning_rate": r}}
        for r in (0.01, 0.02)
    ]
    change = {
        "tasks": [_shorter("syn_sentiment")],
        "methods": rates,
        "seeds": 2,
        "resample": "per_seed",
    }
    (stacked, together), (single, alone) = (
        _run(tmp_path / str(stack), stack, **change) for stack in (4, 1)
    )
    assert [each.cost.stack_size for each in together if each.cost] == [2] * 4
    for one, other in zip(together, alone, strict=True):
        assert one.splits["test"].loss == pytest.approx(other.splits["test"].loss, abs=1e-9)
        assert (
            stacked.predictions(one.run, "train")["example_id"]
            == single.predictions(  # type: ignore[index]
                other.run, "train"
            )["example_id"]
        )
    ids = {each.seed: stacked.predictions(each.run, "train") for each in together}
    assert ids[0]["example_id"] != ids[1]["example_id"]  # type: ignore[index]


def _logits(store: Store, record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, labels and truth of a record's test predictions."""
    table = store.predictions(record.run)
    assert table is not None
    frame = table.to_pandas()
    return (
        frame.filter(like="logit_").to_numpy(),
        frame["label"].to_numpy(),
        frame.filter(like="true_").to_numpy(),
    )


def test_test_scores_follow_from_the_stored_predictions(
    finished: tuple[Store, list[Record]],
) -> None:
    """Accuracy, losses and correlations equal scikit-learn's and numpy's on the parquet file."""
    store, records = finished
    for record in records:
        logits, labels, _ = _logits(store, record)
        scores = record.splits["test"]
        assert scores.examples == len(labels) == TEST_ROWS
        if record.cell.task.kind == "regression":
            assert scores.loss == pytest.approx(((logits[:, 0] - labels) ** 2).mean(), rel=1e-6)
            if record.cell.method == "majority":
                assert scores.metrics["pearson"] is None
            else:
                expected = np.corrcoef(logits[:, 0], labels)[0, 1]
                assert scores.metrics["pearson"] == pytest.approx(expected, abs=1e-6)
        else:
            predicted = logits.argmax(1)
            assert scores.metrics["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
            loss = sklearn.metrics.log_loss(labels, softmax(logits, 1))
            assert scores.loss == pytest.approx(loss, rel=1e-6)


def test_gaps_are_differences_of_the_splits(finished: tuple[Store, list[Record]]) -> None:
    """The gap is train minus test, the loss gap test minus train; undefined stays empty."""
    for record in finished[1]:
        train, test = record.score("train"), record.score("test")
        if train is None or test is None:
            assert record.generalization_gap is None
        else:
            assert record.generalization_gap == train - test
        loss = record.splits["test"].loss - record.splits["train"].loss
        assert record.loss_gap == pytest.approx(loss)


def test_calibration_follows_from_predictions_and_temperature(
    finished: tuple[Store, list[Record]],
) -> None:
    """ECE before and after scaling equals torchmetrics'; a regression has none."""
    store, records = finished
    for record in records:
        if record.cell.task.kind == "regression":
            assert record.calibration is None
            continue
        assert record.calibration is not None
        logits, labels, _ = _logits(store, record)
        for value, scale in (
            (record.calibration.ece, 1.0),
            (record.calibration.ece_calibrated, record.calibration.temperature),
        ):
            expected = multiclass_calibration_error(
                torch.tensor(softmax(logits / scale, 1)), torch.tensor(labels), logits.shape[1], 15
            )
            assert value == pytest.approx(float(expected), abs=1e-5)


def test_truth_is_the_score_of_the_true_probabilities(
    finished: tuple[Store, list[Record]],
) -> None:
    """The best possible score equals that of the stored truth, and no method beats it by luck."""
    store, records = finished
    for record in records:
        assert record.truth is not None
        assert record.truth.score is not None
        _, labels, truth = _logits(store, record)
        if record.cell.task.kind == "classification":
            assert record.truth.score == (truth.argmax(1) == labels).mean()
            assert record.truth.nll == pytest.approx(sklearn.metrics.log_loss(labels, truth))
        else:
            assert record.truth.score == pytest.approx(np.corrcoef(truth[:, 0], labels)[0, 1])


def test_stacked_record_differs_from_the_solo_record_only_in_cost_and_time(
    finished: tuple[Store, list[Record]], tmp_path: Path
) -> None:
    """Scores, curves, calibration, operations and hashes do not depend on the stack."""
    with counting():
        _, alone = _run(tmp_path, stack=1)
    timed = {"train_seconds", "evaluation_seconds", "tokens_per_second", "peak_memory_bytes"}
    timed |= {"stack_size", "train_flops"}
    for stacked, solo in zip(finished[1], alone, strict=True):
        first, second = (r.model_dump(exclude={"provenance", "cost"}) for r in (stacked, solo))
        _assert_close(first, second)
        assert stacked.cost is not None
        assert solo.cost is not None
        assert stacked.cost.model_dump(exclude=timed) == solo.cost.model_dump(exclude=timed)
        # Twelve steps have too few widths to tell the square term from the others exactly.
        assert stacked.cost.train_flops == pytest.approx(solo.cost.train_flops, rel=1e-3)


def _assert_close(first: object, second: object) -> None:
    """Compare nested plain data, numbers to 1e-9."""
    assert type(first) is type(second)
    if isinstance(first, dict) and isinstance(second, dict):
        assert first.keys() == second.keys()
        for key in first:
            _assert_close(first[key], second[key])
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            _assert_close(one, other)
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-9, abs=1e-9)
    else:
        assert first == second
