"""No small file stands for endless work: it is refused in little time and memory."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from gapbench.bench.config.run import Run
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BenchError, ConfigError
from gapbench.bench.core.safe_parsing import MOST_LEVELS, MOST_VALUES, parse_json, read_yaml
from gapbench.bench.data.manifest import load as load_manifest
from gapbench.bench.data.readers import read as read_table
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.schema import Suite
from gapbench.bench.models.initial_adapter import read as read_start
from gapbench.bench.store.event_log import events
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tasks.predictions import Predictions
from gapbench.bench.training.checkpoint import Checkpoints
from gapbench.bench.tuning.summary import read_summaries
from tests.support.bad_case import Bad
from tests.support.bad_messages import CASES
from tests.support.small_suite import CELL, SUITE, TASK, SmallSuite, blank, call

DEEP = "[" * 100_000
HUGE = {
    "a billion seeds",
    "too many runs",
    "endless steps",
    "a million million rows",
    "ten thousand lists",
    "a billion laughs",
    "large file",
    "number of thousands of digits",
}


def loaded(small: SmallSuite) -> tuple[Suite, Sources, Path]:
    """Return what a suite is expanded from."""
    suite, path = suites.load(str(small.path))
    return suite, Sources(small.data), path


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in HUGE], ids=lambda case: case.name
)
def test_huge_input_is_refused_in_little_memory(small: SmallSuite, case: Bad) -> None:
    """What a suite asks for is bounded before any of it is built."""
    case.spoil(small)
    tracemalloc.start()
    try:
        with pytest.raises(BenchError):
            suites.expand(*loaded(small))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6


def test_huge_cases_are_those_of_the_table() -> None:
    """The names above are names of the table, so that the test above looks at all of them."""
    assert {case.name for case in CASES} >= HUGE


def test_many_entries_are_compared_in_little_time(small: SmallSuite) -> None:
    """Tens of thousands of entries are told apart, or refused, without comparing all pairs."""
    names = [f"m{number}" for number in range(30_000)]
    small.path.write_text(yaml.safe_dump(SUITE | {"backbones": ["b"], "methods": names}))
    with pytest.raises(ConfigError, match="unknown method 'm0'"):
        suites.expand(*loaded(small))
    small.path.write_text(yaml.safe_dump(SUITE | {"backbones": ["b"], "methods": [*names, "m0"]}))
    with pytest.raises(ConfigError, match=r"its own 'variant': \['m0/default'\]"):
        suites.load(str(small.path))


@pytest.mark.parametrize("prompt", ["{a:>9999999999}", "{a.__class__}", "{a!r}", "{0}", "{", "{b}"])
def test_prompt_holds_columns_and_no_formats(prompt: str) -> None:
    """A format could ask for gigabytes of blanks, or for what lies behind a text."""
    fields = TASK | {"text": ["a"], "prompt": prompt, "kind": "generation", "labels": []}
    fields |= {"generation": {}, "metrics": ["perplexity"]}
    with pytest.raises(ValueError, match=r"field 'prompt' does not fit .* write \{column\}, and"):
        Task.model_validate(fields)
    assert Task.model_validate(fields | {"prompt": "{{{a}}}"}).fill(["x"]) == "{x}"


def test_aliases_within_the_limits_are_read(tmp_path: Path) -> None:
    """Sharing parts of a file is what aliases are for, up to the limit of what they stand for."""
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: *a}\n")
    part = {"x": [1, 2]}
    assert read_yaml(path) == {"a": part, "b": part, "c": part | {"y": part}}
    row = f"&r [{', '.join('x' * 1000)}]"
    path.write_text(f"a: {row}\nb: [{', '.join(['*r'] * (MOST_VALUES // 1001 - 2))}]\n")
    assert len(read_yaml(path)["b"]) == MOST_VALUES // 1001 - 2
    path.write_text(f"a: {row}\nb: [{', '.join(['*r'] * (MOST_VALUES // 1001 + 1))}]\n")
    with pytest.raises(ConfigError, match="more than 200,000 values with its aliases written out"):
        read_yaml(path)


@pytest.mark.parametrize("nested", ["[{}]", '{{"a": {}}}'])
def test_depth_is_limited_at_its_limit(tmp_path: Path, nested: str) -> None:
    """As many levels as the limit are read, one more is refused, in YAML and JSON alike."""
    text = "1"
    for _ in range(MOST_LEVELS):
        text = nested.format(text)
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert read_yaml(path) == parse_json(text) == json.loads(text)
    path.write_text(nested.format(text))
    with pytest.raises(ConfigError, match="nested deeper than 50 levels, line 1"):
        read_yaml(path)
    with pytest.raises(ValueError, match="nested deeper than 50 levels"):
        parse_json(nested.format(text))


def _record(folder: Path) -> object:
    store = Store(folder)
    store.open_for_writing()
    run = Run(CELL, 0)
    store.write(blank(run))
    store.record_path(run).write_text(DEEP)
    assert not store.settled(run)
    assert store.find(run) is None
    return read_record(store.record_path(run))


def _plan(folder: Path) -> object:
    (folder / "plans").mkdir()
    (folder / "plans" / "a.json").write_text(DEEP)
    return Store(folder).plans()


def _summary(folder: Path) -> object:
    (folder / "tuning" / "a").mkdir(parents=True)
    (folder / "tuning" / "a" / "summary.json").write_text(DEEP)
    return read_summaries(folder)


def _manifest(folder: Path) -> object:
    (folder / "manifest.json").write_text(DEEP)
    return load_manifest(folder)


def _adapter(folder: Path) -> object:
    (folder / "adapter_config.json").write_text(DEEP)
    return read_start(folder)


def _rows(folder: Path) -> object:
    (folder / "rows.jsonl").write_text(f'{{"a": 1}}\n{DEEP}')
    return read_table(folder / "rows.jsonl")


def _answers(folder: Path) -> object:
    (folder / "answers.json").write_text(DEEP)
    return Predictions(folder / "answers.json", 1, "1 input").texts(["a"])


@pytest.mark.parametrize("read", [_record, _plan, _summary, _manifest, _adapter, _rows, _answers])
def test_deep_json_is_refused_wherever_it_is_read(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """A file of brackets is an error of the kind that its reader has, and no crash."""
    with pytest.raises(BenchError, match=r"deeper than 50|not JSON|not a plan|manifest"):
        read(tmp_path)


def test_deep_json_in_a_log_or_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Files that work goes on without stop nobody."""
    store = store_at(tmp_path)
    (store.logs / "000001-run.jsonl").write_text(f'{DEEP}\n{{"event": "end"}}\n')
    assert list(events(store.logs / "000001-run.jsonl")) == [{"event": "end"}]
    run = Run(CELL, 0)
    save_file({"a": torch.zeros(1)}, store.checkpoints / "planted.safetensors", {"gapbench": DEEP})
    assert Checkpoints(store, torch.device("cpu")).divide([run]) == [([run], None)]


@pytest.mark.parametrize("field", ["suite", "seed", "path", "unknown"])
def test_plan_that_holds_anything_is_refused(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    """A plan whose fields are of other types is an error that names it, and no crash."""
    assert call(capsys, "run", *small.running, "--methods", "majority").code == 0
    path = small.results / "plans" / "small.json"
    content = json.loads(path.read_text())
    content["runs"][0][field] = ["anything"]
    path.write_text(json.dumps(content))
    for command in (["status", small.results], ["report", small.results], ["run", *small.running]):
        answer = call(capsys, *command)
        assert answer.code == 2
        assert f"{path}: not a plan; delete it and run the suite again" in answer.err


def test_errors_of_one_file_are_counted_beyond_the_first(small: SmallSuite) -> None:
    """A message stays readable whatever number of fields is wrong."""
    small.write_suite(**{f"unknown{number}": 1 for number in range(1000)})
    with pytest.raises(ConfigError, match=r"; and 990 more$") as caught:
        suites.load(str(small.path))
    assert len(str(caught.value)) < 4000
