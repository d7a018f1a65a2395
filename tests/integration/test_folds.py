"""A suite with folds from end to end: checked, planned, run, resumed, reproduced and reported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.config.run import Block
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.reports.results.items import ScoredCell, samples
from gapbench.reports.results.load import load
from gapbench.reports.stats.resampling import Resampling
from gapbench.reports.tables.data_dictionary import described
from tests.support.small_suite import SmallSuite, call, make, rows

Capture = pytest.CaptureFixture[str]
METHODS = ["majority", {"method": "lora", "config": {"rank": 2}}]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of four folds of 40 rows."""
    folds = {"folds": 4}
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS, seeds=4, resample=folds)


def example_ids(store: Store, record: Record, split: str) -> list[int]:
    """Return the rows of a split that a run saw."""
    table = store.predictions(record.run, split)
    assert table is not None
    return list(table["example_id"].to_pylist())


def test_blocks_are_run_resumed_reproduced_and_reported(small: SmallSuite, capsys: Capture) -> None:
    """Each record tells its block; more repeats add runs; reports know what seeds share."""
    assert call(capsys, "run", *small.running).code == 0
    first = small.records()
    small.write_suite(resample={"folds": 4, "repeats": 2}, seeds=5)
    assert "10 runs, 2 to do" in call(capsys, "plan", *small.running).err
    assert call(capsys, "run", *small.running).code == 0
    assert len(small.records()) == 10
    assert first.items() <= small.records().items()

    store = Store(small.results)
    records = [each for each in store.records() if isinstance(each, Record)]
    held_out: dict[str, list[int]] = {}
    for record in records:
        assert record.block == Block(repeat=record.seed // 4, fold=record.seed % 4)
        assert record.splits["validation"].examples == pytest.approx(10, abs=1)
        assert record.train_share == pytest.approx(0.75, abs=0.03)
        assert len(example_ids(store, record, "test")) == record.splits["test"].examples == 16
        if record.seed < 4:
            seen = held_out.setdefault(record.cell.method, [])
            seen += sorted(example_ids(store, record, "validation"))
    assert sorted(held_out["lora"]) == list(range(40))
    assert held_out["lora"] == held_out["majority"]

    path = next(small.results.glob("runs/animals/*/lora/*/seed-4.json"))
    assert json.loads(path.read_text())["block"] == {"repeat": 1, "fold": 0}
    place = ("--results", small.results, "--data", small.data, "--backbone", small.backbone)
    answer = call(capsys, "reproduce", path, *place, "--json")
    assert (answer.code, answer.json["drifts"]) == (0, {})

    results = load(store)
    lora = next(each for each in records if each.cell.method == "lora")
    scores = {each.seed: {"accuracy": each.score("test") or 0.0} for each in records}
    found = samples(results, {"lora": ScoredCell(lora.cell_hash, scores)})["lora"]
    assert found.resampling == Resampling(pytest.approx(0.75, abs=0.03), 4)  # type: ignore[arg-type]
    runs = results.runs
    blocks = [*zip(runs["repeat"], runs["fold"], strict=True)]
    assert blocks == [divmod(seed, 4) for seed in runs["seed"]]
    assert described(["repeat", "fold", "train_share"])


def test_cuts_into_other_numbers_of_folds_are_not_mixed_up(
    small: SmallSuite, capsys: Capture
) -> None:
    """The first fold of two holds twice the rows of the first of four, whichever was cut before."""
    for folds, rows_of_one in ((2, 20), (4, 10)):
        small.write_suite(resample={"folds": folds}, seeds=1, methods=["majority"])
        (row,) = call(capsys, "check", *small.planning, "--json").json
        assert row["validation"] == pytest.approx(rows_of_one, abs=1)


def test_check_and_plan_tell_the_rows_of_a_fold_and_what_it_lacks(
    small: SmallSuite, capsys: Capture
) -> None:
    """A class of two rows is missing from two of four folds, which are named."""
    table = rows("train")
    table["label"] = [2 if row < 2 else label for row, label in enumerate(table["label"])]
    small.write_rows("train", table)
    small.write_task(labels=["no", "yes", "odd"])
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 0
    lines = answer.err.splitlines()
    (lacking,) = [line for line in lines if "validation has no example of class odd" in line]
    assert lacking.count("repeat 0, fold ") == 2
    assert "give fewer folds" in lacking
    sizes = next(line for line in lines if line.startswith("task 'animals': 4 blocks of 40 rows"))
    assert sizes.endswith("16 test rows stay sealed")
    assert sizes in call(capsys, "plan", *small.running).err
