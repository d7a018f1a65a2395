"""Splits: validation is cut from train, test is left alone, every class keeps its share."""

from pathlib import Path

import pandas as pd
import pytest
import transformers

from gapbench.bench.config.run import Budget, Cell, Fingerprint, Protocol, Training
from gapbench.bench.config.task import Splits
from gapbench.bench.config.task_files import load
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks.dataset import prepare, read_rows
from tests.support.small_stack import MakeBackbone, make_task

TEXT = [f"the cat number {i}" for i in range(60)]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A data folder with 60 training and 10 test rows of the toy task."""
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    labels = [int(i % 3 == 0) for i in range(60)]
    pd.DataFrame({"text": TEXT, "label": labels}).to_parquet(folder / "train.parquet")
    pd.DataFrame({"text": TEXT[:10], "label": labels[:10]}).to_parquet(folder / "test.parquet")
    return Sources(tmp_path / "data")


def _cell(sources: Sources, protocol: Protocol = "strict", train_size: int | None = None) -> Cell:
    task = make_task().model_copy(update={"validation_size": 12})
    return Cell(
        task=task,
        data=sources.data(task),
        backbone=Fingerprint(name="random", digest="0"),
        method="head",
        config={},
        training=Training(),
        protocol=protocol,
        budget=Budget(steps=1, train_size=train_size),
    )


@pytest.fixture
def reader(make_backbone: MakeBackbone) -> Reader:
    """The tokenizer of the small random BERT, and a window that is wide enough."""
    return Reader(transformers.AutoTokenizer.from_pretrained(make_backbone("bert")), 512)


def test_validation_is_cut_from_train_and_test_is_the_official_one(
    sources: Sources, reader: Reader
) -> None:
    """Train and validation partition the official train rows; test has its own row numbers."""
    data = prepare(_cell(sources), sources, reader)
    train, validation = set(data.train.example_ids), set(data.validation.example_ids)
    assert not train & validation
    assert train | validation == set(range(60))
    assert len(validation) == 12
    assert data.validation.targets.mean() == pytest.approx(1 / 3, abs=0.01)
    assert data.test.example_ids.tolist() == list(range(10))


def test_paper_protocol_validates_on_test_and_trains_on_everything(
    sources: Sources, reader: Reader
) -> None:
    """Under `paper`, validation is the test split and no training row is held out."""
    data = prepare(_cell(sources, "paper"), sources, reader)
    assert len(data.train) == 60
    assert data.validation.input_ids.tolist() == data.test.input_ids.tolist()


def test_train_size_keeps_a_stratified_subset_outside_validation(
    sources: Sources, reader: Reader
) -> None:
    """A smaller training set changes neither validation nor the share of classes."""
    whole = prepare(_cell(sources), sources, reader)
    small = prepare(_cell(sources, train_size=18), sources, reader)
    assert len(small.train) == 18
    assert small.train.targets.sum() == 6
    assert set(small.train.example_ids) < set(whole.train.example_ids)
    assert small.validation.example_ids.tolist() == whole.validation.example_ids.tolist()


def test_a_few_data_sets_stay_open(sources: Sources, reader: Reader) -> None:
    """Those of a task and of its second tests are not encoded again for every stack."""
    cells = [_cell(sources, train_size=size) for size in range(8, 18)]
    opened = [prepare(cell, sources, reader) for cell in cells]
    assert prepare(cells[-1], sources, reader) is opened[-1]
    assert prepare(cells[-8], sources, reader) is opened[-8]
    assert prepare(cells[0], sources, reader) is not opened[0]


def test_resampled_training_sets_differ_by_seed_and_nothing_else_does(
    sources: Sources, reader: Reader
) -> None:
    """Each is stratified and outside validation; a fixed one is the same for every seed."""
    fixed = _cell(sources, train_size=18)
    own = fixed.model_copy(update={"resample": "per_seed"})
    whole = set(prepare(_cell(sources), sources, reader).train.example_ids)
    made = {}
    for cell in (fixed, own):
        for seed in (0, 1):
            data = prepare(cell, sources, reader, seed)
            assert len(data.train) == 18
            assert data.train.targets.sum() == 6
            assert set(data.train.example_ids) < whole
            made[cell.resample, seed] = data
    for split in ("validation", "test"):
        ids = [getattr(data, split).example_ids.tolist() for data in made.values()]
        assert ids.count(ids[0]) == len(ids)
    drawn = {key: tuple(data.train.example_ids) for key, data in made.items()}
    assert drawn["fixed", 0] == drawn["fixed", 1]
    assert len(set(drawn.values())) == 3


def test_encoding_equals_the_tokenizer_and_is_read_back_from_the_cache(
    sources: Sources, reader: Reader
) -> None:
    """Cached token ids are the tokenizer's own, truncated at the task's limit."""
    for _ in range(2):
        test = prepare(_cell(sources), sources, reader).test
        for i in range(10):
            ids = test.input_ids[test.offsets[i] : test.offsets[i + 1]].tolist()
            assert ids == reader.tokenizer(TEXT[i], truncation=True, max_length=16)["input_ids"]
        assert test.token_type_ids is not None


def test_generated_rows_carry_their_truth() -> None:
    """A built-in task's rows come with true probabilities that explain the labels."""
    rows = read_rows(load("syn_sentiment"), Sources())["test"]
    assert rows.truth is not None
    assert rows.truth.shape == (800, 2)
    agreement = (rows.truth.argmax(1) == rows.targets).mean()
    assert agreement == pytest.approx(rows.truth.max(1).mean(), abs=0.04)


def test_further_test_splits_come_beside_the_test_split(sources: Sources, reader: Reader) -> None:
    """They are read, encoded and counted as the test split is, which stays what it was."""
    assert sources.data_folder is not None
    odd = pd.DataFrame({"text": ["a cat", TEXT[0], "a dog"], "label": [0, 1, 1]})
    odd.to_parquet(sources.data_folder / "toy" / "odd.parquet")
    cell = _cell(sources)
    splits = Splits(more={"strange": "odd"})
    more = cell.model_copy(update={"task": cell.task.model_copy(update={"splits": splits})})
    data = prepare(more, sources, reader)
    assert {name: len(split) for name, split in data.more.items()} == {"strange": 3}
    assert data.more["strange"].targets.tolist() == [0, 1, 1]
    assert set(data.train_overlap) == {"validation", "test", "strange"}
    plain = prepare(cell, sources, reader)
    assert plain.more == {}
    assert plain.test.input_ids.tolist() == data.test.input_ids.tolist()
    assert sources.data(more.task) != cell.data


def test_as_many_test_rows_are_scored_as_the_task_says(sources: Sources, reader: Reader) -> None:
    """Evenly spaced ones of every test split, neighbours of a document; training rows all."""
    cell = _cell(sources)
    fewer = cell.changed({"task": cell.task.model_copy(update={"test_size": 4})})
    data, whole = (prepare(each, sources, reader) for each in (fewer, cell))
    assert data.test.example_ids.tolist() == [0, 2, 5, 7]
    assert data.test.targets.tolist() == whole.test.targets[[0, 2, 5, 7]].tolist()
    assert data.train.example_ids.tolist() == whole.train.example_ids.tolist()
    paper = prepare(fewer.changed({"protocol": "paper"}), sources, reader)
    assert paper.validation.example_ids.tolist() == [0, 2, 5, 7]
    further = Splits(more={"again": "test"})
    twice = fewer.changed({"task": fewer.task.model_copy(update={"splits": further})})
    assert prepare(twice, sources, reader).more["again"].example_ids.tolist() == [0, 2, 5, 7]
    most = cell.changed({"task": cell.task.model_copy(update={"test_size": 11})})
    says = r"split 'test': field 'test_size' is 11, but there are 10 rows; give at most as many"
    with pytest.raises(DataError, match=says):
        prepare(most, sources, reader)
    spaced = load("syn_text").model_copy(update={"test_size": 3})
    document = spaced.model_copy(update={"join": " "})
    third = len(read_rows(load("syn_text"), sources)["test"]) // 3
    assert read_rows(spaced, sources)["test"].numbers[1] == third > 1
    assert read_rows(document, sources)["test"].numbers.tolist() == [0, 1, 2]


@pytest.mark.parametrize("task", ["cola", "mrpc", "rte", "stsb", "sst2", "qnli", "qqp", "wnli"])
def test_real_glue_rows_fit_their_tasks(task: str, shared_folder: Path) -> None:
    """Every GLUE task reads its real files without an exception to its schema."""
    rows = read_rows(load(task), Sources(shared_folder / "data"))
    assert len(rows["train"].targets) > load(task).validation_size
    assert len(rows["test"].targets) > 0
