"""Second tests of a training: the adapter that validation chose, scored on other tasks."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import gapbench
from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.config.run import Cell, Fingerprint
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import stack_executor
from gapbench.bench.execution.reproduce import compare
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.mirror import wanted
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tasks.kinds import Outputs
from gapbench.bench.training import second_tests
from gapbench.bench.training.second_tests import ReadyTest
from tests.support.causal_files import (
    CHOOSE,
    COLOURS,
    NOUNS,
    STORIES,
    TALK,
    make_decoder,
    questions,
)
from tests.support.small_stack import CPU

ASK = CHOOSE | {"name": "ask", "validation_size": 0, "splits": {"train": None, "test": "test"}}
SUITE: dict[str, Any] = {
    "name": "second",
    "tasks": [{"task": CHOOSE, "also_test": [ASK, STORIES]}],
    "methods": ["lora", "full", "lora_ensemble", "untuned"],
    "seeds": 2,
    "budget": {"steps": 8, "batch_size": 4, "evaluations": 2},
    "training": {"learning_rate": 0.02},
}


@dataclass(frozen=True)
class Files:
    """Rows of all tasks, and a decoder."""

    folder: Path

    def suite(self, **changes: Any) -> dict[str, Any]:
        """Return the suite with other fields."""
        return SUITE | {"backbones": [str(self.folder / "decoder")]} | changes

    def run(self, results: Path, **changes: Any) -> dict[tuple[str, int], Record]:
        """Run the suite with other fields; return its records by method and seed."""
        gapbench.run(self.suite(**changes), results=results, data=self.folder / "data", workers=1)
        found = [each for each in Store(results).records() if isinstance(each, Record)]
        assert all(each.status == "ok" for each in found), [each.detail for each in found]
        return {(each.cell.method, each.seed): each for each in found}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """Questions for training and testing, and stories."""
    folder = tmp_path_factory.mktemp("second")
    make_decoder(folder / "decoder", "llama")
    for name in ("choose", "ask", "stories"):
        (folder / "data" / name).mkdir(parents=True)
    for seed, (place, n) in enumerate(
        {"choose/train": 40, "choose/test": 20, "ask/test": 24}.items()
    ):
        pd.DataFrame(questions(n, seed)).to_parquet(folder / "data" / f"{place}.parquet")
    texts = [f"the {noun} is {colour} and {noun}" for noun in NOUNS for colour in COLOURS]
    pd.DataFrame({"text": texts}).to_parquet(folder / "data" / "stories" / "test.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAPBENCH_CACHE", str(folder / "cache"))
        yield Files(folder)


@pytest.fixture(scope="module")
def done(files: Files) -> dict[tuple[str, int], Record]:
    """Records of the suite, whose runs of a method shared a stack."""
    return files.run(files.folder / "results")


def _plain(record: Record) -> dict[str, Any]:
    """Return the numbers of a run that second tests must leave alone."""
    kept = {name: record.splits[name] for name in ("train", "validation", "test")}
    return {"splits": kept, **record.model_dump(include={"curve", "checkpoint", "calibration"})}


def test_second_tests_change_no_number_of_the_training(
    files: Files, done: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    """Runs without second tests are other runs, and equal to the last digit in what both have."""
    alone = files.run(tmp_path, tasks=[CHOOSE])
    for key, record in done.items():
        assert [*record.splits][-2:] == ["ask", "stories"]
        assert _plain(record) == _plain(alone[key])
        assert record.cell_hash != alone[key].cell_hash
        assert "also_test" not in alone[key].cell.model_dump()


def test_a_stack_scores_as_its_runs_alone_and_again(
    files: Files, done: dict[tuple[str, int], Record]
) -> None:
    """`reproduce` trains a run by itself and compares second tests and the bare backbone too."""
    for method in ("lora", "lora_ensemble"):
        again = gapbench.reproduce(
            done[method, 1].run_hash,
            results=files.folder / "results",
            data=files.folder / "data",
            backbone=files.folder / "decoder",
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
    files: Files, done: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    """Another suite of this process had the same backbone in full, whose scores differ."""
    record = files.run(tmp_path, methods=["untuned"], seeds=1, quantization="int4")["untuned", 0]
    full = done["untuned", 0].splits["stories"].bare["token_loss"]
    bare = record.splits["stories"].bare["token_loss"]
    assert bare == pytest.approx(record.splits["stories"].metrics["token_loss"], abs=1e-6)
    assert abs(bare - full) > 1e-5


def test_an_untouched_adapter_forgets_nothing(files: Files, tmp_path: Path) -> None:
    """An adapter whose B stays at zero leaves every item's value as it was, to the last digit."""
    record = files.run(tmp_path, methods=["lora"], seeds=1, training={"learning_rate": 1e-30})[
        "lora", 0
    ]
    scores = record.splits["stories"]
    assert scores.metrics == scores.bare
    table = Store(tmp_path).predictions(record.run, "stories")
    assert table is not None
    assert table["bare_token_loss"].equals(table["item_token_loss"])


def test_numbers_reach_data_frame_and_files(files: Files, done: Any, tmp_path: Path) -> None:
    """Score, difference and change are means over seeds of what records hold."""
    results = gapbench.load(files.folder / "results")
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
    assert row["change"] == pytest.approx(row["score"] - bare)
    paired = [value["full", seed] - value["lora", seed] for seed in (0, 1)]
    assert row["vs_reference"] == pytest.approx(np.mean(paired))
    assert row["vs_reference_low"] < row["vs_reference"] < row["vs_reference_high"]
    assert row["change_ci_low"] < row["change"] < row["change_ci_high"]
    assert not table.loc["stories", "full"]["higher_is_better"]
    runs = results.runs
    assert runs["stories/bare_token_loss"].notna().all()
    written = {path.name: path for path in results.report(tmp_path)}
    assert len(pd.read_csv(written["second_tests.csv"])) == len(table)
    page = written["report.html"].read_text(encoding="utf-8")
    assert "Beyond the test split" in page
    assert "ask, accuracy, higher is better" in page


def test_nothing_is_scored_beyond_validation_while_settings_are_chosen(
    files: Files, tmp_path: Path
) -> None:
    """A sealed run knows no second test."""
    sources = Sources(files.folder / "data")
    suite, _ = suites.load(files.suite(methods=["lora"], seeds=1))
    runs = [each.run for each in suites.expand(suite, sources)]
    store = store_at(tmp_path)
    Executor(store, sources, CPU, sealed=True).run(runs, lambda _: None)
    record = store.find(runs[0])
    assert record is not None
    assert [*record.splits] == ["train", "validation"]


def test_missing_rows_are_named(files: Files, tmp_path: Path) -> None:
    """A second test needs its test file alone, and says which is missing."""
    gone = STORIES | {"name": "tales"}
    with pytest.raises(DataError, match=r"tales.*test\.parquet does not exist"):
        gapbench.plan(
            files.suite(tasks=[{"task": CHOOSE, "also_test": [gone]}]),
            data=files.folder / "data",
            results=tmp_path,
        )


def test_check_names_a_faulty_column(files: Files) -> None:
    """Rows of second tests are read before anything is trained."""
    wrong = STORIES | {"text": ["words"]}
    table = gapbench.check(
        files.suite(tasks=[{"task": CHOOSE, "also_test": [wrong]}], methods=["lora"], seeds=1),
        data=files.folder / "data",
    )
    assert "no column 'words'" in table["verdict"].iloc[0]


def test_check_says_which_second_test_loses_words(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompts that are cut would be scored without their beginning, and nobody would know."""
    longer = ASK | {"name": "longer", "prompt": f"{'the ' * 60}{{who}} is"}
    (files.folder / "data" / "longer").symlink_to(files.folder / "data" / "ask")
    table = gapbench.check(
        files.suite(
            tasks=[{"task": CHOOSE, "also_test": [ASK, longer]}], methods=["lora"], seeds=1
        ),
        data=files.folder / "data",
    )
    assert table[["cut_ask", "cut_longer"]].to_numpy().tolist() == [[0, 24]]
    assert "24 of 24 longer inputs are too long" in capsys.readouterr().err


def test_time_on_the_bare_backbone_is_charged_to_the_stack_that_scores_it(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation takes at least as long as scoring it did, shared by the runs."""
    seconds = 0.5

    def slow(tests: Any, *_: Any) -> Any:
        time.sleep(seconds)
        return tests

    monkeypatch.setattr(stack_executor, "with_bare", slow)
    records = files.run(tmp_path, methods=["untuned"], seeds=2)
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


def test_identity_of_a_cell_counts_what_is_tested(files: Files) -> None:
    """Another task, map of classes, or other rows make another run; a description does not."""
    sources = Sources(files.folder / "data")

    def cell(**changes: Any) -> Cell:
        suite, _ = suites.load(
            files.suite(
                tasks=[{"task": CHOOSE, "also_test": [STORIES | changes]}], methods=["lora"]
            )
        )
        return suites.expand(suite, sources)[0].run.cell

    assert cell().hash == cell(description="other words").hash
    assert cell().hash != cell(max_length=16).hash
    (test,) = cell().also_test
    for change in ({"classes": (1, 0)}, {"data": Fingerprint(name="files", digest="0" * 16)}):
        assert test.model_copy(update=change).identity() != test.identity()
    stored = Cell.model_validate_json(cell().model_dump_json())
    assert stored.hash == cell().hash


def test_chat_template_counts_where_a_second_test_is_written_by_it(
    files: Files, tmp_path: Path
) -> None:
    """By another template its texts are others; those of stories stay as they are."""
    folder = shutil.copytree(files.folder / "decoder", tmp_path / "decoder")
    for name in ("choose", "stories"):
        (tmp_path / name).symlink_to(files.folder / "data" / name)
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "test.parquet").touch()

    def digest(test: dict[str, Any]) -> str:
        tasks = [{"task": CHOOSE, "also_test": [test]}]
        content = files.suite(tasks=tasks, methods=["lora"], seeds=1, backbones=[str(folder)])
        planned = suites.expand(suites.load(content)[0], Sources(tmp_path))
        return planned[0].run.cell.backbone.digest

    tests = STORIES, TALK | {"splits": {"train": None}, "validation_size": 0}
    before = [digest(test) for test in tests]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    after = [digest(test) for test in tests]
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_fetch_copies_the_test_rows(files: Files, tmp_path: Path) -> None:
    """A folder for a computer without a network has second tests too, of these the test alone."""
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(files.suite(methods=["lora"])))
    items = wanted(str(path), Sources(files.folder / "data"))
    found = {item.folder: [*item.files] for item in items if item.folder.startswith("data/")}
    assert found == {
        "data/choose": ["train.parquet", "test.parquet"],
        "data/ask": ["test.parquet"],
        "data/stories": ["test.parquet"],
    }


@pytest.mark.parametrize("stated", ["an output of the chosen checkpoint", "the bare backbone"])
def test_what_is_not_finite_on_a_second_test_is_missing_there_alone(
    files: Files,
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
    found = files.run(tmp_path, methods=["lora", "lora_ensemble"])
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
