"""Second tests of a training: the adapter that validation chose, scored on other tasks."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import gapbench
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import stack_executor
from gapbench.bench.execution.reproduce import compare
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.experiment import suite as suites
from gapbench.bench.metrics.calibration import calibration_report
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tasks.kinds import Outputs
from gapbench.bench.training import second_tests
from gapbench.bench.training.second_tests import ReadyTest
from gapbench.reports.document.model import Folded, Table
from gapbench.reports.render.report import gather
from gapbench.reports.sections import second_tests as beyond
from tests.support.causal_files import CHOOSE
from tests.support.second_files import Files
from tests.support.small_stack import CPU
from tests.support.small_suite import call, make


@pytest.fixture(scope="module")
def done(second_files: Files) -> dict[tuple[str, int], Record]:
    """Records of the suite, whose runs of a method shared a stack."""
    return second_files.run(second_files.folder / "results")


def _plain(record: Record) -> dict[str, Any]:
    """Return the numbers of a run that second tests must leave alone."""
    kept = {name: record.splits[name] for name in ("train", "validation", "test")}
    return {"splits": kept, **record.model_dump(include={"curve", "checkpoint", "calibration"})}


def test_second_tests_change_no_number_of_the_training(
    second_files: Files, done: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    """Runs without second tests are other runs, and equal to the last digit in what both have."""
    alone = second_files.run(tmp_path, tasks=[CHOOSE])
    for key, record in done.items():
        assert [*record.splits][-2:] == ["ask", "stories"]
        assert _plain(record) == _plain(alone[key])
        assert record.cell_hash != alone[key].cell_hash
        assert "also_test" not in alone[key].cell.model_dump()


def test_a_stack_scores_as_its_runs_alone_and_again(
    second_files: Files, done: dict[tuple[str, int], Record]
) -> None:
    """`reproduce` trains a run by itself and compares second tests and the bare backbone too."""
    for method in ("lora", "lora_ensemble"):
        again = gapbench.reproduce(
            done[method, 1].run_hash,
            results=second_files.folder / "results",
            data=second_files.folder / "data",
            backbone=second_files.folder / "decoder",
        )
        assert again.same, again.drifts
    wrong = done["lora", 1].splits["stories"].model_copy(update={"bare": {"token_loss": 9.0}})
    before = done["lora", 1]
    changed = before.model_copy(update={"splits": before.splits | {"stories": wrong}})
    assert "stories.bare.token_loss" in compare(changed, before).drifts


def test_change_is_from_the_bare_backbone(done: dict[tuple[str, int], Record]) -> None:
    """The bare backbone scores the same in all runs, and what trains nothing is just it."""
    for name in ("ask", "stories"):
        bare = [record.splits[name].bare for record in done.values()]
        assert all(each == bare[0] for each in bare)
        assert bare[0].keys() == done["lora", 0].splits[name].metrics.keys()
        for metric, value in done["untuned", 0].splits[name].metrics.items():
            assert value == pytest.approx(bare[0][metric], abs=1e-6)


def test_bare_backbone_has_the_numbers_that_its_format_gives(
    second_files: Files, done: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    """Another suite of this process had the same backbone in full, whose scores differ."""
    record = second_files.run(tmp_path, methods=["untuned"], seeds=1, quantization="int4")[
        "untuned", 0
    ]
    full = done["untuned", 0].splits["stories"].bare["token_loss"]
    bare = record.splits["stories"].bare["token_loss"]
    assert bare == pytest.approx(record.splits["stories"].metrics["token_loss"], abs=1e-6)
    assert abs(bare - full) > 1e-5


def test_an_untouched_adapter_forgets_nothing(second_files: Files, tmp_path: Path) -> None:
    """An adapter whose B stays at zero leaves every item's value as it was, to the last digit."""
    record = second_files.run(
        tmp_path, methods=["lora"], seeds=1, training={"learning_rate": 1e-30}
    )["lora", 0]
    scores = record.splits["stories"]
    assert scores.metrics == scores.bare
    table = Store(tmp_path).predictions(record.run, "stories")
    assert table is not None
    assert table["bare_token_loss"].equals(table["item_token_loss"])


def test_numbers_reach_data_frame_and_files(second_files: Files, done: Any, tmp_path: Path) -> None:
    """Score, difference and change are means over seeds of what records hold."""
    results = gapbench.load(second_files.folder / "results")
    table = results.second_tests().set_index(["test", "method"])
    assert {*table.index.get_level_values("test")} == {"ask", "stories"}
    value = {
        (name, seed): record.splits["stories"].metrics["token_loss"]
        for (name, seed), record in done.items()
    }
    bare = done["lora", 0].splits["stories"].bare["token_loss"]
    row = table.loc["stories", "full"]
    assert row["score"] == pytest.approx(np.mean([value["full", 0], value["full", 1]]))
    assert row["bare"] == pytest.approx(bare)
    assert row["n_items"] == results.predictions(done["full", 0].run_hash, "stories").shape[0] > 1
    assert row["change"] == pytest.approx(row["score"] - bare)
    paired = [value["full", seed] - value["lora", seed] for seed in (0, 1)]
    assert row["vs_reference"] == pytest.approx(np.mean(paired))
    assert row["vs_reference_low"] < row["vs_reference"] < row["vs_reference_high"]
    assert row["change_ci_low"] < row["change"] < row["change_ci_high"]
    assert not table.loc["stories", "full"]["higher_is_better"]
    runs = results.runs
    assert runs["stories/bare_token_loss"].notna().all()
    for test in ("ask", "stories"):
        own = [done["full", seed].splits[test].ece for seed in (0, 1)]
        assert table.loc[test, "full"]["ece"] == pytest.approx(np.mean(own))
        assert sorted(runs.query("method == 'full'")[f"{test}/ece"]) == sorted(own)
    written = {path.name: path for path in results.report(tmp_path)}
    assert len(pd.read_csv(written["second_tests.csv"])) == len(table)
    page = written["report.html"].read_text(encoding="utf-8")
    assert "Beyond the test split" in page
    assert "ask, accuracy, higher is better; " in page
    section = beyond.section(gather(second_files.folder / "results"))
    assert section is not None
    (folded,) = (each for each in section.parts if isinstance(each, Folded))
    assert folded.title.endswith("ask: by group, without intervals")
    for shown, name in zip(folded.parts, ("accuracy", "ece"), strict=True):
        assert isinstance(shown, Table)
        assert [column.heading for column in shown.columns] == ["first", "second"]
        read = {row.name: [each.key for each in row.values] for row in shown.rows}  # noqa: PD011
        for place, group in enumerate(("first", "second")):
            own = [done["full", seed].splits["ask"].parts[group][name] for seed in (0, 1)]
            assert read["full"][place] == pytest.approx(np.mean(own))


def test_calibration_error_is_that_of_the_stored_outputs(
    second_files: Files, done: dict[tuple[str, int], Record]
) -> None:
    """Without a temperature; the record of a split of the trained task has none."""
    record = done["lora", 1]
    table = Store(second_files.folder / "results").predictions(record.run, "ask")
    assert table is not None
    names = [name for name in table.column_names if name.startswith("logit_")]
    logits = np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float64)
    logits = np.where(np.isnan(logits), -1e9, logits)
    report = calibration_report(logits, table["label"].to_numpy(), None)
    assert record.splits["ask"].ece == pytest.approx(report["ece"], abs=1e-6)
    assert 0 < (record.splits["stories"].ece or 0) < 1
    assert record.splits["test"].ece is None
    assert "ece" not in record.splits["test"].model_dump()


def test_records_from_before_have_no_calibration_error_there_and_reproduce(
    done: dict[tuple[str, int], Record],
) -> None:
    """They are read and written as they are; a number that both have is compared."""
    now = done["lora", 0]
    content = now.model_dump(mode="json")
    for name in ("ask", "stories"):
        del content["splits"][name]["ece"]
    before = Record.model_validate(content)
    assert before.model_dump(mode="json") == content
    assert before.run.hash == now.run_hash
    assert compare(before, now).same
    wrong = now.splits["ask"].model_copy(update={"ece": 0.9})
    changed = now.model_copy(update={"splits": now.splits | {"ask": wrong}})
    assert [*compare(changed, now).drifts] == ["calibration.ask.ece"]


def test_nothing_is_scored_beyond_validation_while_settings_are_chosen(
    second_files: Files, tmp_path: Path
) -> None:
    """A sealed run knows no second test."""
    sources = Sources(second_files.folder / "data")
    suite, _ = suites.load(second_files.suite(methods=["lora"], seeds=1))
    runs = [each.run for each in suites.expand(suite, sources)]
    store = store_at(tmp_path)
    Executor(store, sources, CPU, sealed=True).run(runs, lambda _: None)
    record = store.find(runs[0])
    assert record is not None
    assert [*record.splits] == ["train", "validation"]


def test_time_on_the_bare_backbone_is_charged_to_the_stack_that_scores_it(
    second_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation takes at least as long as scoring it did, shared by the runs."""
    seconds = 0.5

    def slow(tests: Any, *_: Any) -> Any:
        time.sleep(seconds)
        return tests

    monkeypatch.setattr(stack_executor, "with_bare", slow)
    records = second_files.run(tmp_path, methods=["untuned"], seeds=2)
    spent = [each.cost.evaluation_seconds for each in records.values() if each.cost]
    assert len(spent) == 2
    assert all(each >= seconds / 2 for each in spent)


def test_full_fine_tuning_forgets_more_than_lora(tmp_path: Path) -> None:
    """At the same rate, the same steps on the built-in choices move all of the weights."""
    suite = {
        "name": "forgetting",
        "tasks": [{"task": "syn_choice", "also_test": ["syn_text"]}],
        "backbones": ["tiny-decoder"],
        "methods": ["lora", "full"],
        "seeds": 1,
        "budget": {"steps": 24, "batch_size": 16, "evaluations": 1},
        "training": {"learning_rate": 3e-3},
    }
    gapbench.run(suite, results=tmp_path, workers=1)
    change = gapbench.load(tmp_path).second_tests().set_index("method")["change"]
    assert change["full"] > 2 * change["lora"]
    assert change["full"] > 0.02


@pytest.mark.parametrize("stated", ["an output of the chosen checkpoint", "the bare backbone"])
def test_what_is_not_finite_on_a_second_test_is_missing_there_alone(
    second_files: Files,
    done: dict[tuple[str, int], Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stated: str,
) -> None:
    """The run ends well with all of its other numbers, and the reason reaches every table."""
    bare = stated.startswith("the bare")
    outputs = ReadyTest.outputs

    def overflow(ready: ReadyTest, method: AnyMethod, state: TrainState, tokenizer: Any) -> Outputs:
        made = outputs(ready, method, state, tokenizer)
        wanted = "untuned" if bare else "lora_ensemble"
        if (ready.test.name, method.name) == ("stories", wanted):
            next(each for each in made.values() if each.dtype.kind == "f")[0, -1] = np.inf
        return made

    monkeypatch.setattr(ReadyTest, "outputs", overflow)
    monkeypatch.setattr(second_tests, "_known", {})
    found = second_files.run(tmp_path, methods=["lora", "lora_ensemble"])
    first, second = found["lora_ensemble", 0], found["lora_ensemble", 1]
    assert _plain(first) == _plain(done["lora_ensemble", 0])
    assert first.splits["ask"] == done["lora_ensemble", 0].splits["ask"]
    table = gapbench.load(tmp_path).second_tests().set_index(["test", "method"])
    assert (table.loc["ask", "missing"] == "").all()
    row = table.loc["stories", "lora_ensemble"]
    if bare:
        assert first.splits["stories"].metrics == done["lora_ensemble", 0].splits["stories"].metrics
        assert first.splits["stories"].bare == {}
        assert row["missing"].startswith("the bare backbone has no score: an output of the bare")
        assert pd.isna(row["change"])
        assert pd.notna(row["vs_reference"])
        return
    assert "stories" not in first.splits
    assert first.untested == {"stories": "an output of the chosen checkpoint is not finite"}
    assert second.splits["stories"] == done["lora_ensemble", 1].splits["stories"]
    assert Store(tmp_path).predictions(first.run, "stories") is None
    assert row["missing"].startswith("1 of 2 runs without a score: an output of the chosen")
    assert (row["n_seeds"], row["vs_reference_claim"]) == (1, "")
    assert pd.isna(row["vs_reference"])


def test_training_rows_in_a_second_test_are_told(
    make_backbone: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its scores would reward memorisation, as those of the main test would."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=["lora"])
    task = yaml.safe_load(small.task_path.read_text()) | {"name": "again"}
    (small.task_path.parent / "again.yaml").write_text(yaml.safe_dump(task))
    shutil.copytree(small.data / "animals", small.data / "again")
    shutil.copy(
        small.data / "animals" / "train.parquet", small.data / "again" / "validation.parquet"
    )
    small.write_suite(tasks=[{"task": "animals", "also_test": ["again"]}])
    answer = call(capsys, "check", *small.planning, "--json")
    assert answer.code == 0
    (row,) = answer.json
    assert row["train"] <= row["train_overlap_again"] <= row["again"] == row["train"] + 8
    assert f"{row['train_overlap_again']} of {row['again']} again inputs are in train" in answer.err
