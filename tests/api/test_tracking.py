"""Runs on their way to a tracker: as they end, after the work, and when the tracker fails."""

import json
import logging
import sys
from pathlib import Path

import pytest

import gapbench
from gapbench.bench import tracking
from gapbench.bench.core.errors import ConfigError, StoreError, TrackerError
from gapbench.bench.tracking.base import TrackedRun
from tests.support.small_suite import SmallSuite, call


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[TrackedRun]:
    """What a tracker got that takes everything."""
    got: list[TrackedRun] = []

    def send(run: TrackedRun, results: Path) -> bool:
        """Take a run whose record is stored already."""
        assert list(results.rglob("seed-*.json"))
        sys.stdout.write("I chat")
        got.append(run)
        return True

    monkeypatch.setattr(tracking, "find", lambda _name: send)
    return got


def _never(run: TrackedRun, results: Path) -> bool:
    raise ConnectionError(f"no route for {run.id} of {results.name}")


def test_runs_are_sent_as_they_end(
    small: SmallSuite, sent: list[TrackedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    """One tracked run a run; nothing that the tracker prints gets between the results."""
    answer = call(capsys, "run", *small.running, "--track", "wandb", "--json")
    assert answer.json["now"] == {"ok": 6}
    assert sorted({run.id for run in sent}) == sorted(gapbench.load(small.results).runs["run_hash"])
    assert len(sent) == 6
    assert {run.tags for run in sent} == {("small",)}
    assert len({run.group for run in sent}) == 3
    lora = next(run for run in sent if "lora" in run.name)
    assert lora.settings["config"]["rank"] == 2
    assert [step for step, _ in lora.curve] == [0, 2, 4]
    assert json.loads(Path(lora.settings["record"].removeprefix("file://")).read_text())
    assert call(capsys, "run", *small.running, "--track", "wandb").code == 0
    assert len(sent) == 6


def test_costs_of_a_method_with_a_fit_are_numbers(
    small: SmallSuite, sent: list[TrackedRun]
) -> None:
    """What its fit read is a count by split, and is left out."""
    small.write_suite(methods=["laplace_lora"], seeds=1)
    gapbench.run(small.path, data=small.data, results=small.results, track="wandb", progress=False)
    (run,) = sent
    assert run.scores["cost/inference_passes"] >= 1
    assert not [name for name in run.scores if "fit_examples" in name]


def test_failing_tracker_costs_a_warning_and_no_run(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All runs are done; the warning comes once and says how to send them later."""
    monkeypatch.setattr(tracking, "find", lambda _name: _never)
    with caplog.at_level(logging.WARNING):
        results = gapbench.run(
            small.path, data=small.data, results=small.results, track="mlflow", progress=False
        )
    assert results.outcome.now == {"ok": 6}
    (warning,) = [r.getMessage() for r in caplog.records if "tracker" in r.getMessage()]
    assert "ConnectionError: no route for" in warning
    assert f"gapbench track {small.results} --to mlflow" in warning
    with pytest.raises(TrackerError, match=r"tracker mlflow: run .* no route"):
        gapbench.track(small.results, to="mlflow", progress=False)


def test_trials_are_sent_when_the_search_has_ended(
    small: SmallSuite, sent: list[TrackedRun]
) -> None:
    """With the name of their study, and without a score of the sealed test split."""
    small.write_suite(methods=["lora"], seeds=1)
    results = gapbench.tune(
        small.path,
        data=small.data,
        results=small.results,
        trials=8,
        workers=1,
        track="trackio",
        progress=False,
    )
    (study,) = results.studies["name"]
    trials = [run for run in sent if run.settings["study"]]
    assert {run.tags for run in trials} == {(study,)}
    assert len(trials) == 8
    assert not any(name.startswith("final/test") for run in trials for name in run.scores)
    final = [run for run in sent if run not in trials]
    assert "default" in {run.settings["variant"] for run in final}
    assert {run.tags for run in final} == {("small",)}
    before = len(sent)
    assert gapbench.track(results.path, to="trackio", progress=False).sent == before


def test_tracker_that_cannot_be_is_refused_before_any_work(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name, a package that is not there, a folder without runs."""
    given = {"data": small.data, "results": small.results, "progress": False}
    with pytest.raises(ConfigError, match="tracker 'neptune' is unknown; give one of mlflow"):
        gapbench.run(small.path, track="neptune", **given)
    for name in tracking.names():
        for module in (name, "torch.utils.tensorboard", f"gapbench.bench.tracking.{name}"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf"{name}.*pip install 'gapbench\[{name}\]'"):
            gapbench.run(small.path, track=name, **given)
    assert not small.results.exists()
    monkeypatch.setattr(tracking, "find", lambda _name: _never)
    with pytest.raises(StoreError, match="holds no record"):
        gapbench.track(small.folder, to="wandb")
