"""Running, tuning and looking at suites from Python: the same as by the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import gapbench
from gapbench.bench.core.errors import BackboneError, ConfigError, DataError, StoreError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import engines
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.execution.work_queue import Job
from gapbench.bench.store.event_log import events, log_files
from gapbench.bench.store.store import Store
from tests.support.small_suite import TASK, SmallSuite, call, numbers, planned, rows

Capture = pytest.CaptureFixture[str]


def fields(small: SmallSuite) -> dict[str, Any]:
    """Return what stands in the suite's file, with the task in place of its name."""
    content: dict[str, Any] = yaml.safe_load(small.path.read_text())
    return content | {"tasks": [TASK]}


def test_run_leaves_what_the_command_leaves(small: SmallSuite, capsys: Capture) -> None:
    """Records, predictions and plan are the same; the plan names the call of Python."""
    ours = small.folder / "ours"
    results = gapbench.run(small.path, data=small.data, results=ours)
    told = capsys.readouterr()
    assert told.out == ""
    assert "6 runs, 0 done before" in told.err
    assert call(capsys, "run", *small.running).code == 0
    assert numbers(Store(ours)) == numbers(Store(small.results))
    for run in planned(small)[0]:
        assert Store(ours).predictions(run) == Store(small.results).predictions(run)
    plans = [[vars(row) | {"command": ""} for row in Store(f).plans()] for f in both(small)]
    assert plans[0] == plans[1]
    command = f"gapbench.run({str(small.path)!r}, data={str(small.data)!r}, results={str(ours)!r})"
    assert {row.command for row in Store(ours).plans()} == {command}
    (log,) = log_files(Store(ours))
    start, *_, end = events(log)
    assert (start["command"], end["exit_code"]) == (command, 0)
    assert (results.outcome.code, results.outcome.now) == (0, {"ok": 6})
    assert results.outcome.messages == []


def both(small: SmallSuite) -> tuple[Path, Path]:
    """Return the folders of the API and of the command."""
    return small.folder / "ours", small.results


def test_second_call_trains_nothing_and_parts_are_what_is_asked_for(
    small: SmallSuite, capsys: Capture
) -> None:
    """Names may be a list, or text with commas; seeds a number, or a list."""
    where: dict[str, Any] = {"data": small.data, "results": small.results, "progress": False}
    part = gapbench.run(small.path, methods="head,majority", seeds=[1], **where)
    assert part.outcome.now == {"ok": 2}
    assert set(part.runs["seed"]) == {1}
    names = part.leaderboard()["method"].unique()  # any array, such as those of pandas
    again = gapbench.run(small.path, methods=names, seeds=np.arange(1, 2), **where)
    assert again.outcome.now == {}
    rest = gapbench.run(small.path, methods=["head", "lora", "majority"], **where)
    assert rest.outcome.now == {"ok": 4}
    assert gapbench.run(small.path, **where).outcome.now == {}
    assert capsys.readouterr() == ("", "")


def test_suite_as_object_or_fields_gives_the_same_runs(small: SmallSuite) -> None:
    """A task that is defined inside of a suite makes the same runs as one in a file."""
    content = fields(small)
    task = gapbench.Task.model_validate(TASK)
    entry = {"task": TASK, "budget": {"steps": 4}}
    kinds: list[Any] = [
        content,
        gapbench.Suite.model_validate(content),
        content | {"tasks": [task]},
        content | {"tasks": [{"task": task}]},
        content | {"tasks": [entry]},
    ]
    wanted = {run.hash for run in planned(small)[0]}
    for number, suite in enumerate(kinds):
        frame = gapbench.plan(suite, data=small.data, results=small.results)
        assert frame["runs"].sum() == 6, number
        results = gapbench.run(
            suite, data=small.data, results=small.folder / str(number), methods="majority"
        )
        assert set(results.runs["run_hash"]) < wanted
        assert {row.command for row in Store(results.path).plans()} == {
            f"gapbench.run(suite, methods='majority', data={str(small.data)!r}, "
            f"results={str(results.path)!r})"
        }


def test_run_of_an_inline_task_can_be_reproduced(small: SmallSuite, capsys: Capture) -> None:
    """All that a record needs is in it: the command line finds the same numbers."""
    results = gapbench.run(
        fields(small), methods="head", seeds=1, data=small.data, results=small.results
    )
    run = results.runs["run_hash"].iloc[0]
    where = ("--results", small.results, "--data", small.data, "--backbone", small.backbone)
    assert call(capsys, "reproduce", run, *where).code == 0


def test_own_rows_of_an_inline_task_are_found_from_here(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths are relative to the working folder where no suite file is."""
    monkeypatch.chdir(small.folder)
    pd.DataFrame(rows("train")).to_csv("rows.csv", index=False)
    source = {"train": "rows.csv", "test_share": 0.25}
    task = {**TASK, "source": source}
    task.pop("splits")
    results = gapbench.run(fields(small) | {"tasks": [task]}, methods="majority", progress=False)
    assert results.outcome.now == {"ok": 2}
    assert set(results.runs["test_examples"]) == {10}


@pytest.mark.parametrize("command", ["check", "plan"])
def test_check_and_plan_show_what_the_commands_show(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The same rows as data frames, the same sentences on stderr."""
    monkeypatch.setattr("gapbench.bench.execution.calibration.run_seconds", lambda *_: 2.0)
    frame = getattr(gapbench, command)(small.path, data=small.data)
    said = capsys.readouterr().err
    answer = call(capsys, command, *small.planning, "--json")
    pd.testing.assert_frame_equal(frame, pd.DataFrame(answer.json))
    assert said.splitlines()[-2:] == answer.err.splitlines()[-2:]


def test_tune_leaves_studies_and_winners(small: SmallSuite) -> None:
    """The studies are data frames, and winners stand beside defaults."""
    results = gapbench.tune(
        small.path, methods="head", trials=8, data=small.data, results=small.results, progress=False
    )
    assert results.outcome.code == 0
    (study,) = results.outcome.studies
    assert (study["trials"], study["left"]) == (8, 0)
    assert results.studies["trials"].tolist() == [8]
    assert results.studies["name"].tolist() == [study["study"]]
    assert set(results.leaderboard()["variant"]) == {"default", "tuned"}
    (command,) = {row.command for row in Store(small.results).plans()}
    assert command.startswith("gapbench.tune(")


def test_failures_are_shown_with_the_call_that_tries_again(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody overlooks a failure: it is told after the run and in every form of the results."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", _fail)
        results = gapbench.run(small.path, seeds=1, data=small.data, results=small.results)
    assert "failed: animals/" in capsys.readouterr().err
    assert (results.outcome.code, results.outcome.now) == (3, {"ok": 2, "failed": 1})
    (failure,) = results.failures.to_dict("records")
    assert (failure["status"], failure["method"], failure["seed"]) == ("failed", "head", 0)
    assert failure["cause"] == "RuntimeError: broken <b>on purpose</b>"
    assert "RuntimeError: broken <b>on purpose</b>" in repr(results)
    assert "RuntimeError: broken &lt;b&gt;on purpose" in results._repr_html_()
    retry = next(
        line for line in call(capsys, "status", small.results).err.splitlines() if "again" in line
    )
    assert retry.startswith(f"  try again: gapbench.run({str(small.path)!r}, seeds=1, ")
    assert retry.endswith(", retry='failed')")
    again = gapbench.run(
        small.path, seeds=1, data=small.data, results=small.results, retry="failed"
    )
    assert again.outcome.now == {"ok": 1}
    assert again.failures.empty


def _fail(*_: object) -> None:
    raise RuntimeError("broken <b>on purpose</b>")


def test_interrupt_leaves_finished_runs(small: SmallSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C goes through as it is, and what was done before it is kept."""
    real, stacks = Executor.run, list[object]()

    def run(self: Executor, runs: Any, *others: Any) -> Any:
        stacks.append(runs)
        if len(stacks) > 1:
            raise KeyboardInterrupt
        return real(self, runs, *others)

    monkeypatch.setattr(Executor, "run", run)
    with pytest.raises(KeyboardInterrupt):
        gapbench.run(small.path, data=small.data, results=small.results, workers=1)
    results = gapbench.load(small.results)
    assert sorted(results.runs["status"]) == ["missing"] * 4 + ["ok"] * 2


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"suite": "quickstat"}, ConfigError, "did you mean 'quickstart'"),
        ({"suite": {"name": "x"}}, ConfigError, "field 'tasks' is required"),
        ({"methods": "dora"}, ConfigError, "has no method 'dora'"),
        ({"seeds": 0}, ConfigError, "seeds"),
        ({"engine": "cloud"}, ConfigError, "engine 'cloud' is unknown; give one of local, ray"),
        ({"device": "tpu"}, ConfigError, "device 'tpu' is unknown; give one of auto, cpu, cuda"),
        ({"methods": []}, ConfigError, r"methods: got \[\]; give at least one name, or None for"),
        ({"tasks": " ,"}, ConfigError, "tasks: got ' ,'; give at least one name, or None for all"),
        ({"methods": [3]}, ConfigError, r"methods: got \[3\]; give a list of names"),
        ({"workers": 0}, ConfigError, "workers must be a whole number above 0, got 0"),
        ({"workers": "2"}, ConfigError, "workers must be a whole number above 0, got '2'"),
        ({"stack": 1.5}, ConfigError, "stack must be a whole number above 0, got 1.5"),
        ({"time_budget": -1.0}, ConfigError, "time_budget must be a number above 0"),
        ({"retry": "ok"}, ConfigError, "retry 'ok' is unknown; give one of failed"),
        ({"precision": "fp8"}, ConfigError, "precision"),
        ({"data": "nowhere"}, DataError, "does not exist"),
        ({"backbone": "nowhere"}, BackboneError, "neither built in"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    small: SmallSuite, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Errors are those of gapbench, and say what is allowed."""
    usual = {"suite": small.path, "data": small.data, "results": small.results}
    with pytest.raises(error, match=message):
        gapbench.run(**(usual | given))
    assert not small.results.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 8, "steps": 100}, "a study has one budget, got trials, steps"),
        ({"space": "huge"}, "field 'level'"),
        ({"objective": "score+speed"}, "objective 'score.speed' is unknown; give one of score,"),
        ({"objective": "ece"}, "objective 'ece' is unknown"),  # whose best trial is its lowest
        ({"objective": ("score", "ece")}, "objective .* is unknown"),
        ({"sampler": "grid"}, "--sampler 'grid' is unknown; allowed: cmaes, gp"),
    ],
)
def test_search_that_cannot_be_meant_is_refused(
    small: SmallSuite, given: dict[str, Any], message: str
) -> None:
    """Likewise of `tune`."""
    with pytest.raises(ConfigError, match=message):
        gapbench.tune(small.path, data=small.data, results=small.results, **given)
    assert not small.results.exists()


@pytest.mark.parametrize("given", [{"engine": "cloud"}, {"workers": 0}, {"methods": []}])
def test_plan_refuses_what_run_would(small: SmallSuite, given: dict[str, Any]) -> None:
    """Whoever plans learns before the run that it cannot be meant."""
    for call_of in (gapbench.plan, gapbench.run):
        with pytest.raises(ConfigError, match=next(iter(given))):
            call_of(small.path, data=small.data, results=small.results, **given)


def test_definition_of_a_task_is_checked(small: SmallSuite) -> None:
    """An invalid task inside of a suite is refused by field; so is one under another name."""
    with pytest.raises(ConfigError, match=r"unknown field 'tasks\.0\.definition\.metric'"):
        gapbench.plan(fields(small) | {"tasks": [TASK | {"metric": "f1"}]}, data=small.data)
    wrong = {"task": "plants", "definition": TASK}
    with pytest.raises(ConfigError, match="task 'plants' is defined as 'animals'"):
        gapbench.plan(fields(small) | {"tasks": [wrong]}, data=small.data)


@pytest.mark.parametrize("suite", [None, 3, ["quickstart"]])
def test_suite_of_a_wrong_type_is_refused_with_what_is_allowed(suite: Any, tmp_path: Path) -> None:
    """The message names the argument and every form it may have."""
    with pytest.raises(ConfigError, match=r"suite: got .*built-in suite.*YAML file.*dict"):
        gapbench.run(suite, results=tmp_path)


def test_file_instead_of_a_results_folder_is_named(tmp_path: Path) -> None:
    """A file cannot be read as a folder, and running into it is no way out."""
    path = tmp_path / "records.csv"
    path.touch()
    with pytest.raises(StoreError, match="is a file"):
        gapbench.load(path)


def test_plan_counts_a_run_once_however_many_rows_show_it(
    small: SmallSuite, capsys: Capture
) -> None:
    """Rows of equal settings share their runs, in the plan as in `run`."""
    content = fields(small) | {"methods": ["head", {"method": "head", "variant": "same"}]}
    frame = gapbench.plan(content, data=small.data, results=small.results)
    assert len(frame) == 2
    assert "2 runs, 2 to do" in capsys.readouterr().err


@pytest.mark.parametrize(("stacks", "elements"), [(1, 1), (7, 1), (8, 2), (40, 10), (400, 16)])
def test_forecast_for_an_array_is_of_the_elements_that_it_would_have(
    stacks: int, elements: int
) -> None:
    """`plan --engine slurm` and `run --engine slurm` share the rule."""
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    slurm = engines.find("slurm")
    assert (
        slurm.suitable_workers([Job([], 1.0)] * stacks, Sources(), torch.device("cpu")) == elements
    )
