"""Suites as data: what a file expands to, and what its runs are called."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from gapbench.bench.config import task_files
from gapbench.bench.config.run import Budget
from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.suite import PlannedRun
from tests.support.small_suite import TASK, SmallSuite, make, stand_ins


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite of 3 methods and 2 seeds."""
    return make(tmp_path / "small", make_backbone("bert"))


def expand(small: SmallSuite) -> list[PlannedRun]:
    """Read and expand a suite file with its own data."""
    suite, path = suites.load(str(small.path))
    return suites.expand(suite, Sources(small.data), path)


VARIANTS = [
    {"method": "dora", "variant": f"rank {rank}", "config": {"rank": rank}} for rank in (2, 4)
]


def hashes(small: SmallSuite) -> list[str]:
    """Return the run hashes of a suite file in order."""
    return [planned.run.hash for planned in expand(small)]


def test_expand_gives_every_combination_once(
    tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """A grid of t tasks, b backbones, m methods and s seeds has t * b * m * s distinct runs."""
    bert, gpt2 = make_backbone("bert"), make_backbone("gpt2")
    small = make(tmp_path / "grid", bert, backbones=[str(bert), str(gpt2)], seeds=[5, 1, 3])
    planned = expand(small)
    assert len(planned) == len(set(hashes(small))) == 1 * 2 * 3 * 3
    assert [p.run.seed for p in planned[:3]] == [5, 1, 3]
    assert {p.run.cell.backbone.name for p in planned} == {"random-bert", "random-gpt2"}


def test_hash_does_not_depend_on_the_order_of_keys(small: SmallSuite) -> None:
    """Suite and task files may list their fields in any order."""
    before = hashes(small)
    for path in (small.path, small.task_path):
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(dict(reversed(content.items())), sort_keys=False))
    config = {"targets": "default", "rank": 2}
    small.write_suite(methods=["majority", "head", {"config": config, "method": "lora"}])
    assert hashes(small) == before


def test_hash_does_not_depend_on_labels_and_descriptions(small: SmallSuite) -> None:
    """Renaming a variant or rewording a description keeps finished runs."""
    before = hashes(small)
    lora = {"method": "lora", "variant": "small rank", "config": {"rank": 2}}
    small.write_suite(
        name="renamed", description="Other words.", methods=["majority", "head", lora]
    )
    small.write_task(description="Other words.", citation="Somebody 2020")
    assert hashes(small) == before
    assert expand(small)[-1].variant == "small rank"


def test_hash_of_a_written_out_default_is_equal(small: SmallSuite) -> None:
    """Two ways to write the same run share one hash."""
    before = hashes(small)
    lora = {"method": "lora", "config": {"rank": 2, "alpha": 16, "dropout": 0}}
    training = {"learning_rate": "1e-2", "weight_decay": 0}
    small.write_suite(methods=["majority", "head", lora], training=training, seeds=[0, 1])
    assert hashes(small) == before


def test_identical_runs_under_two_labels_share_one_hash(small: SmallSuite) -> None:
    """A grid that names the same run twice shows it twice and trains it once."""
    same = [{"method": "head"}, {"method": "head", "variant": "again"}]
    small.write_suite(methods=same)
    planned = expand(small)
    assert len(planned) == 4
    assert len({p.run.hash for p in planned}) == 2


def test_training_of_a_method_is_laid_over_that_of_the_suite(small: SmallSuite) -> None:
    """A method may have its own learning rate, and keeps what it does not name."""
    head = {"method": "head", "training": {"learning_rate": 0.5}}
    small.write_suite(methods=["lora", head], training={"learning_rate": 0.1, "patience": 2})
    trainings = {p.run.cell.method: p.run.cell.training for p in expand(small)}
    assert trainings["lora"].learning_rate == 0.1
    assert trainings["head"].learning_rate == 0.5
    assert trainings["head"].patience == 2


def test_budget_of_a_task_is_the_same_for_all_methods(small: SmallSuite) -> None:
    """A task may have its own length of training; it then counts for every method of the task."""
    small.write_suite(tasks=[{"task": "animals", "budget": {"epochs": 2}}])
    budgets = {p.run.cell.method: p.run.cell.budget for p in expand(small)}
    expected = Budget(epochs=2, batch_size=4, evaluations=2)
    assert budgets == dict.fromkeys(("majority", "head", "lora"), expected)


def test_backbones_of_a_task_stand_in_for_those_of_the_suite(
    small: SmallSuite, make_backbone: Callable[[str], Path]
) -> None:
    """A task may name backbones of its own; a flag replaces them like any other."""
    gpt2 = str(make_backbone("gpt2"))
    small.write_suite(tasks=[{"task": "animals", "backbones": [gpt2]}])
    assert {p.run.cell.backbone.name for p in expand(small)} == {"random-gpt2"}
    suite, path = suites.load(str(small.path))
    other = suites.restrict(suite, backbone=str(make_backbone("bert")))
    planned = suites.expand(other, Sources(small.data), path)
    assert {p.run.cell.backbone.name for p in planned} == {"random-bert"}


def test_settings_of_a_task_are_laid_over_its_file(small: SmallSuite) -> None:
    """A suite may set a task otherwise, down to a nested field; that is another run by its hash."""
    before = hashes(small)
    change = {"max_length": 12, "splits": {"train": "train"}}
    small.write_suite(tasks=[{"task": "animals", "settings": change}])
    (task,) = {p.run.cell.task.name: p.run.cell.task for p in expand(small)}.values()
    assert (task.max_length, task.splits.test) == (12, "validation")
    assert set(before).isdisjoint(hashes(small))
    small.write_suite(tasks=[{"task": "animals", "settings": {"max_length": 16}}])
    assert hashes(small) == before


def test_path_in_settings_of_a_task_is_relative_to_the_suite(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is called; what the task's own file says stays relative to that one."""
    monkeypatch.chdir("/")
    source = {"train": "rows.csv", "test": "old.csv"}
    own = TASK | {"source": source, "label": "label", "licence": "CC0"}
    small.task_path.write_text(yaml.safe_dump({n: own[n] for n in own if n != "splits"}))
    change = {"source": {"test": "other.csv"}}
    small.write_suite(tasks=[{"task": "animals", "settings": change}])
    for path in (small.task_path.parent / "rows.csv", small.folder / "other.csv"):
        path.write_text("sentence,label\na cat,yes\na dog,no\n")
    (task, *_) = (planned.run.cell.task for planned in expand(small))
    assert isinstance(task.source, OwnSource)
    assert task.source.train == str(small.task_path.parent.resolve() / "rows.csv")
    assert task.source.test == str(small.folder.resolve() / "other.csv")


def test_training_is_laid_over_from_the_general_to_the_particular(small: SmallSuite) -> None:
    """Suite, task, method, method on the task, variant on it: the later wins, field by field."""
    lora = {"method": "lora", "training": {"weight_decay": 0.2}, "config": {"rank": 2}}
    changes = {
        "lora": {"training": {"learning_rate": 0.3}, "config": {"rank": 4}},
        "lora/wide": {"training": {"schedule": "cosine"}, "config": {"rank": 16}},
    }
    task = {"task": "animals", "training": {"learning_rate": 0.2, "weight_decay": 0.1}}
    small.write_suite(
        tasks=[task | {"methods": changes}],
        methods=["head", lora, {**lora, "variant": "wide"}],
        training={"learning_rate": 0.1, "patience": 2},
    )
    cells = {(p.run.cell.method, p.variant): p.run.cell for p in expand(small)}
    found = {
        name: (c.training.learning_rate, c.training.weight_decay, c.training.schedule)
        for name, c in cells.items()
    }
    assert found == {
        ("head", "default"): (0.2, 0.1, "linear"),
        ("lora", "default"): (0.3, 0.2, "linear"),
        ("lora", "wide"): (0.3, 0.2, "cosine"),
    }
    assert [cells["lora", variant].config["rank"] for variant in ("default", "wide")] == [4, 16]
    assert {cell.training.patience for cell in cells.values()} == {2}


@pytest.mark.parametrize("reference", ["head", "lora", "dora / rank 2", "dora/rank 4"])
def test_reference_changes_no_hash(small: SmallSuite, reference: str) -> None:
    """It is a choice of what is compared, not of what is run."""
    small.write_suite(methods=["head", "lora", *VARIANTS])
    before = hashes(small)
    small.write_suite(methods=["head", "lora", *VARIANTS], reference=reference)
    assert hashes(small) == before


def test_suite_without_lora_needs_no_reference(small: SmallSuite) -> None:
    """Its methods are then compared with each other alike."""
    small.write_suite(methods=["head", "bitfit"])
    assert expand(small)


def test_restricted_suite_keeps_the_hashes_of_its_runs(small: SmallSuite) -> None:
    """Flags pick a part of the grid; what is picked is the same run as in the whole."""
    suite, path = suites.load(str(small.path))
    part = suites.restrict(suite, methods=["lora"], task_names=["animals"], seeds=3)
    chosen = {p.run.hash for p in suites.expand(part, Sources(small.data), path)}
    whole = {p.run.hash for p in expand(small) if p.run.cell.method == "lora"}
    assert whole < chosen
    assert len(chosen) == 3


def test_task_beside_a_suite_hides_the_builtin_one(small: SmallSuite) -> None:
    """A suite's own task file is read first."""
    name = task_files.builtin_names()[0]
    own = small.task_path.with_name(f"{name}.yaml")
    own.write_text(yaml.safe_dump(TASK | {"name": name, "version": 99}))
    assert task_files.load(name, small.folder).version == 99
    assert task_files.load(name).version != 99


def test_listed_tasks_are_all_the_files_and_each_is_valid() -> None:
    """Every task file of the package is found by listing and can be read."""
    names = task_files.builtin_names()
    assert len(names) >= 4
    assert len(names) == len(list(Path(str(files("gapbench.suites"))).rglob("tasks/*.yaml")))
    assert [task_files.load(name).name for name in names] == names


def test_listed_suites_are_all_the_files_and_each_expands(tmp_path: Path) -> None:
    """Every suite file of the package is found by listing, and resolves without a network."""
    names = [name for name in suites.builtin_names() if "/" not in name]
    assert names
    assert len(names) == len(list(Path(str(files("gapbench.suites"))).glob("*.yaml")))
    for name in names:
        suite, path = suites.load(name)
        planned = suites.expand(suite, stand_ins(tmp_path, name), path)
        grid = len(suite.tasks) * len(suite.backbones) * len(suite.methods) * len(suite.seeds)
        assert suite.name == name
        assert len(planned) == grid > 0


FOLDS = {"folds": 5, "repeats": 2}


def test_suite_with_folds_has_a_seed_for_each_block_and_more_repeats_add_runs(
    small: SmallSuite,
) -> None:
    """What was run before stays as it is; another number of folds is another cell."""
    content = yaml.safe_load(small.path.read_text())
    del content["seeds"]
    small.path.write_text(yaml.safe_dump(content | {"resample": FOLDS}))
    assert suites.load(str(small.path))[0].seeds == tuple(range(10))
    before = hashes(small)
    small.write_suite(resample={"folds": 5, "repeats": 3})
    more = hashes(small)
    assert set(before) < set(more)
    assert len(more) == 3 * 15
    small.write_suite(resample={"folds": 4, "repeats": 2})
    assert not set(hashes(small)) & set(more)
