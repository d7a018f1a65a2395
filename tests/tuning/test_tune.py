"""The command `tune` on a small suite: sealed test data, stacks, winners, files and bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import SealedError
from gapbench.bench.data.encoded import SealedSplit, TaskData
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import dataset
from gapbench.bench.tuning.budget import WAVE
from gapbench.bench.tuning.study_plan import SEEDS_FROM
from gapbench.bench.tuning.summary import read_summaries
from tests.support.planted_study import REGRESSION
from tests.support.small_stack import random_data
from tests.support.small_suite import SmallSuite, call, make

METHODS = ["majority", "head", {"method": "lora", "config": {"rank": 2}}]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of two methods that train and one that does not."""
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS)


def trials(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Return everything about the trials of each study that must not depend on the execution."""
    return {
        summary.study.name: [
            trial.model_dump(exclude={"seconds"}) for trial in summary.study.trials
        ]
        for summary in read_summaries(results)
    }


def test_tune_puts_default_and_tuned_rows_side_by_side(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Winners and defaults are run on the suite's seeds and shown; status tells the studies."""
    answer = call(capsys, "tune", *small.running, "--trials", 10)
    assert answer.code == 0, answer.err
    assert "3: learning_rate, rank, dropout" in answer.out
    assert "3: learning_rate, weight_decay, warmup_fraction" in answer.out
    assert "2 studies, each of 10: trials" in answer.err
    assert "up to 10 trials, with the compute of 10 of plain LoRA: head, lora" in answer.err
    columns = ("study", "dimensions", "trials", "compute")
    assert tuple(answer.out.split("\n")[0].split()[:4]) == columns
    assert "no study of animals" in answer.err
    assert "majority/default: nothing trains" in answer.err
    rows = Store(small.results).plans()
    labels = {(row.method, row.variant) for row in rows}
    tuned = {("head", "tuned"), ("lora", "tuned")}
    assert labels == tuned | {(m, "default") for m in ("head", "lora", "majority")}
    assert {row.seed for row in rows} == {0, 1}
    for summary in read_summaries(small.results):
        study = summary.study
        assert study.best_number is not None
        best, default = study.trials[study.best_number], study.trials[0]
        assert (best.validation_score or 0) >= (default.validation_score or 0)
        assert study.tuned_test is not None
        assert study.default_test is not None
        assert {seed for trial in study.trials for seed in trial.seeds} == {SEEDS_FROM}
        assert study.spent == len(study.trials) == 10
    status = call(capsys, "status", small.results, "--json").json
    assert {row["suite"] for row in status[:1]} == {"small"}
    studies = [row for row in status if "study" in row]
    assert [(r["trials"], r["spent"], r["left"]) for r in studies] == [(10, 10, 0)] * 2


def test_trials_do_not_depend_on_stacks_or_workers(
    small: SmallSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight in a stack and one at a time give the same trials and values, and so does again."""
    ways: dict[str, list[object]] = {
        "stacked": ["--stack", WAVE],
        "alone": ["--stack", 1],
        "again": ["--storage", f"journal:{tmp_path / 'journal.log'}"],
    }
    small.write_task(**REGRESSION)
    for name, flags in ways.items():
        folder = tmp_path / name
        arguments = (*small.planning, "--results", folder, "--trials", 12, *flags)
        assert call(capsys, "tune", *arguments).code == 0
    stacked, alone = trials(tmp_path / "stacked"), trials(tmp_path / "alone")
    assert stacked == trials(tmp_path / "again")
    assert stacked.keys() == alone.keys()
    for name, expected in alone.items():
        assert len({trial["validation_score"] for trial in expected}) > 1
        for ours, theirs in zip(stacked[name], expected, strict=True):
            assert ours["params"] == theirs["params"]
            for score in ("validation_score", "train_score", "gap"):
                assert ours[score] == pytest.approx(theirs[score], rel=1e-4)


def test_sealed_split_refuses_every_use() -> None:
    """Length, arrays, units and copies of a sealed split raise; the other splits are as before."""
    whole = random_data()
    sealed = whole.seal()
    uses: list[Callable[[], object]] = [
        lambda: len(sealed.test),
        lambda: sealed.test.targets,
        lambda: sealed.test.lengths,
        lambda: sealed.test.sequences,
        lambda: sealed.test.input_ids,
        lambda: vars(sealed.test),
        lambda: bool(sealed.test),
    ]
    for use in uses:
        with pytest.raises(SealedError, match="test split is sealed while settings are tuned"):
            use()
    assert sealed.open == {"train": whole.train, "validation": whole.validation}
    assert (sealed.eval_split, whole.eval_split) == ("validation", "test")
    assert not any("test" in name for name in sealed.train_overlap)


def test_whole_tuning_never_touches_test(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With test rows that cannot be used in any way, every trial still ends the same.

    Sealed or not is all the difference: the search runs through while every use would raise, and
    its records know no test split.
    """
    sealed: list[bool] = []
    original = TaskData.seal

    def counted(task_data: TaskData) -> TaskData:
        sealed.append(True)
        return original(task_data)

    monkeypatch.setattr(TaskData, "seal", counted)
    assert call(capsys, "tune", *small.running, "--trials", 8).code == 0
    assert len(sealed) == 2  # stacks of trials; the runs after the search are not sealed
    records = list(_tuning_records(small.results))
    assert len(records) == 16
    for record in records:
        assert record.splits.keys() == {"train", "validation"}
        assert record.truth is None
        assert all(point.test_score is None and point.test_loss is None for point in record.curve)
    assert not list((small.results / "tuning").rglob("*.parquet"))
    assert all(
        record.splits.keys() == {"train", "validation", "test"}
        for record in Store(small.results).records()
        if isinstance(record, Record)
    )


def test_use_of_test_while_tuning_ends_the_search(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that looks at test data is no failed trial: the command stops and says so."""

    def peek(cell: Cell, *more: Any) -> TaskData:
        made = data_prepare(cell, *more)
        seen.append(made)
        return made

    seen: list[TaskData] = []
    data_prepare = dataset.prepare
    monkeypatch.setattr(dataset, "prepare", peek)
    monkeypatch.setattr(
        "gapbench.bench.execution.stack_executor.set_up",
        lambda _runs, _backbone, task_data, _device, **_: len(task_data.test),
    )
    answer = call(capsys, "tune", *small.running, "--trials", 8)
    assert answer.code == 2
    assert "sealed while settings are tuned" in answer.err
    assert not any(isinstance(made.test, SealedSplit) for made in seen)


def _tuning_records(results: Path) -> Any:
    for path in sorted((results / "tuning").glob("*/runs")):
        for record in Store(path.parent).records():
            assert isinstance(record, Record)
            yield record


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--trials", "7"], ["7 trials is too small", "give --trials 8 or more"]),
        (["--steps", "31"], ["31 steps is too small", "give --steps 32 or more"]),
        (["--examples", "100"], ["100 examples is too small", "give --examples 128 or more"]),
        (["--trials", "9", "--steps", "99"], ["not allowed with argument"]),
        (["--pruner", "wilcoxon"], ["--trial-seeds 5 or more"]),
        (["--pruner", "asha", "--trial-seeds", "2"], ["--trial-seeds 1"]),
        (["--pruner", "asha", "--objective", "score+ece"], ["needs a single objective"]),
        (["--storage", "sqlite:////no/such/folder/s.db"], ["cannot be reached", "sqlite:///FILE"]),
        (["--storage", "nonsense://x"], ["cannot be reached"]),
        (["--storage", "oracle://x/y"], ["driver", "not installed", "psycopg"]),
        (["--storage", "journal:/no/such/folder/j.log"], ["cannot be reached"]),
        (["--seed", "-1"], ["a whole number from 0 up"]),
    ],
)
def test_bad_flag_is_refused_with_the_way_out(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], flags: list[str], says: list[str]
) -> None:
    """Nothing is run, and the message says what to give instead."""
    answer = call(capsys, "tune", *small.running, *flags)
    assert answer.code == 2
    assert all(text in answer.err for text in says), answer.err
    assert "Traceback" not in answer.err
    assert not list(small.results.rglob("seed-*.json"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"protocol": "paper"}, "protocol 'paper' validation is the test split"),
        ({"seeds": [SEEDS_FROM]}, "belong to trials, and winners need other seeds"),
        (
            {"methods": ["head", {"method": "head", "variant": "tuned"}]},
            "has a variant 'tuned' already",
        ),
    ],
)
def test_suite_that_cannot_be_tuned_is_refused(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], says: str
) -> None:
    """A suite whose winners could not be scored fairly is an error."""
    small.write_suite(**changes)
    answer = call(capsys, "tune", *small.running)
    assert answer.code == 2
    assert says in answer.err


def test_asha_ends_runs_in_their_stack(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pruned runs leave the stack, cost less, and are stored as pruned."""
    small.write_task(**REGRESSION)
    small.write_suite(budget={"steps": 24, "batch_size": 4, "evaluations": 4})
    flags = ("--methods", "lora", "--trials", 16, "--pruner", "asha", "--json")
    answer = call(capsys, "tune", *small.running, *flags)
    assert answer.code == 0, answer.err
    (summary,) = read_summaries(small.results)
    states = [trial.state for trial in summary.study.trials]
    assert states[0] == "complete"
    assert "pruned" in states
    assert summary.study.direction == "minimize"
    pruned = {trial.steps for trial in summary.study.trials if trial.state == "pruned"}
    assert pruned <= {6, 12, 24}
    assert min(pruned) < 24
    assert {r.status for r in _tuning_records(small.results)} == {"ok", "pruned"}


def test_failing_method_spends_its_budget_and_is_named(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that fail are told once each; there is no winner, and the exit code says so."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("gapbench.methods.lora.Lora.adapt", fail)
    answer = call(capsys, "tune", *small.running, "--methods", "lora", "--trials", 8)
    assert answer.code == 3
    assert "is complete; the first is failed: RuntimeError: no such layer" in answer.err
    (summary,) = read_summaries(small.results)
    assert [trial.state.value for trial in summary.study.trials] == ["failed"] * 8
    assert all("no such layer" in (trial.detail or "") for trial in summary.study.trials)


def test_storage_is_one_that_optuna_reads(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dashboard finds studies, values, parameters and rows where the documentation says."""
    assert call(capsys, "tune", *small.running, "--trials", 8, "--methods", "lora").code == 0
    url = f"sqlite:///{small.results / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 8
    assert study.trials[3].params.keys() == {"learning_rate", "rank", "dropout"}
    row = study.trials[3].user_attrs["gapbench"]
    assert row["values"] == study.trials[3].values
    assert json.dumps(row)
