"""A sample of a folder's runs, run again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import gapbench
from gapbench.bench.config.run import NestedFolds, Run
from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.store.store import store_at
from tests.support.small_suite import SmallSuite, call, make, planned


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, make_backbone: Callable[[str], Path]
) -> SmallSuite:
    """A suite of six runs, all of them done."""
    small = make(tmp_path_factory.mktemp("verified") / "small", make_backbone("bert"))
    gapbench.run(small.path, data=small.data, results=small.results, progress=False)
    return small


def test_sample_comes_out_the_same(
    done: SmallSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder and of an archive of it; the seed decides which runs are drawn."""
    given = {"data": done.data, "backbone": done.backbone}
    found = gapbench.verify(done.results, rows=2, seed=1, **given)
    assert (found.same, found.runs, len(found.found), found.manifest) == (True, 6, 2, None)
    assert gapbench.verify(done.results, rows=2, seed=1, **given) == found
    archive = gapbench.submit(done.results, tmp_path / "packed.zip").path
    sources = ("--data", done.data, "--backbone", done.backbone)
    answer = call(capsys, "verify", archive, "--rows", 1, *sources)
    assert answer.code == 0
    assert "1 of 1 runs are the same, drawn from 6. All " in answer.out
    with pytest.raises(RecordError, match="holds no run that ended"):
        gapbench.verify(tmp_path)


def test_run_that_served_a_choice_stays_sealed(done: SmallSuite, tmp_path: Path) -> None:
    """Run again it has no test score either, and it has no adapter to give away."""
    runs, sources = planned(done)
    store = store_at(tmp_path / "race")
    executor = Executor(store, sources, choose_device("cpu"), sealed=True)
    executor.run(runs[-1:], lambda _: None)
    given = {"data": done.data, "backbone": done.backbone}
    found = gapbench.verify(store.root, rows=1, **given)
    assert (found.same, found.runs) == (True, 1)
    with pytest.raises(RecordError, match="test stayed sealed"):
        gapbench.export(runs[-1].hash, out=tmp_path / "out", results=store.root, **given)


def test_run_of_a_race_has_no_adapter_to_give_away(done: SmallSuite, tmp_path: Path) -> None:
    """Its test split is a fold, which its model card would call the official one."""
    runs, sources = planned(done)
    store = store_at(tmp_path / "race")
    cell = runs[-1].cell.changed({"resample": NestedFolds(folds=3, nested=True)})
    Executor(store, sources, choose_device("cpu")).run([Run(cell, 0)], lambda _: None)
    given = {"data": done.data, "backbone": done.backbone}
    with pytest.raises(RecordError, match="is scored on a fold of its rows"):
        gapbench.export(Run(cell, 0).hash, out=tmp_path / "out", results=store.root, **given)


def test_run_that_drifted_is_told(
    done: SmallSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 3 and the numbers that differ; the words are those of `reproduce`."""
    folder = gapbench.submit(done.results, tmp_path / "packed").path
    (folder / "submission.json").unlink()
    for path in (folder / "runs").rglob("*.json"):
        content = json.loads(path.read_text())
        content["splits"]["test"]["loss"] += 0.01
        path.write_text(json.dumps(content))
    sources = ("--data", done.data, "--backbone", done.backbone)
    answer = call(capsys, "verify", folder, "--rows", 1, *sources)
    assert answer.code == 3
    assert "drifted: test.loss" in answer.out
    made = call(capsys, "verify", folder, "--rows", 1, *sources, "--json").json
    assert made["same"] is False
    assert made["runs"][0]["drifts"].keys() == {"test.loss"}
