"""What a suite or task file may not say: each mistake is named, with the way out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import Budget
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from tests.support.small_suite import SmallSuite, make, planned

VARIANTS = [
    {"method": "dora", "variant": f"rank {rank}", "config": {"rank": rank}} for rank in (2, 4)
]
FOLDS = {"folds": 5, "repeats": 2}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite of 3 methods and 2 seeds."""
    return make(tmp_path / "small", make_backbone("bert"))


def test_change_for_a_method_that_the_suite_lacks_is_refused(small: SmallSuite) -> None:
    """A misspelt method of a task's changes is named; one that a flag left out is none."""
    task = {"task": "animals", "methods": {"lara": {"config": {"rank": 4}}}}
    small.write_suite(tasks=[task])
    with pytest.raises(ConfigError, match=r"no method 'lara'.*did you mean 'lora'"):
        suites.load(str(small.path))
    small.write_suite(tasks=[task | {"methods": {"lora": {"config": {"rank": 4}}}}])
    suite, path = suites.load(str(small.path))
    part = suites.restrict(suite, methods=["head"])
    assert len(suites.expand(part, Sources(small.data), path)) == 2


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        ("lara", r"'lara', which the suite does not run; .*did you mean 'lora'"),
        ("lora / rank 9", "which the suite does not run"),
        ("dora", "which may be any of several variants"),
        ("bitfit", "which the suite does not run"),
    ],
)
def test_reference_that_the_suite_does_not_run_is_refused(
    small: SmallSuite, reference: str, cause: str
) -> None:
    """A misspelt one would leave every method without its comparison."""
    small.write_suite(methods=["head", "lora", *VARIANTS], reference=reference)
    with pytest.raises(ConfigError, match=cause):
        planned(small)


@pytest.mark.parametrize("field", [*Budget.model_fields, "budget"])
def test_method_that_overrides_the_budget_is_refused(small: SmallSuite, field: str) -> None:
    """No place of a method entry takes a budget, since all methods get the same."""
    for part in ({field: 1}, {"training": {field: 1}}, {"config": {field: 1}}):
        small.write_suite(methods=[{"method": "lora", **part}], tasks=["animals"])
        with pytest.raises(ConfigError, match=f"unknown field '.*{field}'"):
            planned(small)
        task = {"task": "animals", "methods": {"lora": part}}
        small.write_suite(methods=["lora"], tasks=[task])
        with pytest.raises(ConfigError, match=f"unknown field '.*{field}'"):
            planned(small)


@pytest.mark.parametrize(
    ("change", "unknown", "meant"),
    [
        ({"seed": 3}, "seed", "seeds"),
        ({"budget": {"step": 4}}, "budget.step", "steps"),
        ({"training": {"learning_rates": 1e-3}}, "training.learning_rates", "learning_rate"),
        ({"methods": [{"method": "lora", "configs": {}}]}, "methods.0.configs", "config"),
        ({"methods": [{"method": "lora", "config": {"rnk": 2}}]}, "rnk", "rank"),
        ({"tasks": [{"task": "animals", "budgets": {}}]}, "tasks.0.budgets", "budget"),
        ({"tasks": [{"task": "animals", "budget": {"step": 2}}]}, "step", "steps"),
        ({"tasks": [{"task": "animals", "settings": {"metric": 1}}]}, "metric", "metrics"),
    ],
)
def test_unknown_key_of_a_suite_is_refused_with_a_suggestion(
    small: SmallSuite, change: dict[str, Any], unknown: str, meant: str
) -> None:
    """A misspelt key is never ignored; the message names it, the legal ones and the likely one."""
    small.write_suite(**change)
    with pytest.raises(ConfigError) as caught:
        planned(small)
    assert f"unknown field {unknown!r}" in str(caught.value)
    assert f"did you mean {meant!r}?" in str(caught.value)


def test_different_backbones_of_one_name_are_refused(small: SmallSuite) -> None:
    """The rows of one would stand for those of the other; a copy with the same weights is it."""
    place = small.folder / "others" / Path(small.backbone).name
    twin = Path(shutil.copytree(small.backbone, place))
    small.write_suite(backbones=[small.backbone, str(twin)])
    assert planned(small)
    (config,) = twin.glob("config.json")
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    with pytest.raises(ConfigError, match="would both be called"):
        planned(small)


def test_default_that_needs_what_is_wrong_is_not_a_second_mistake(small: SmallSuite) -> None:
    """Seeds by default follow from other fields: where one of these is wrong, it alone is told."""
    small.write_suite(keep="weights")
    content = small.path.read_text().replace("seeds: 2\n", "")
    small.path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        suites.load(str(small.path))
    wrong = "field 'keep': Input should be 'checkpoint'; got 'weights'"
    assert str(caught.value) == f"{small.path}: {wrong}"


def test_unknown_key_of_a_task_is_refused_with_a_suggestion(small: SmallSuite) -> None:
    """Task files are as strict as suite files, down to their nested parts."""
    small.write_task(metric=["accuracy"], splits={"tests": "validation"})
    with pytest.raises(ConfigError) as caught:
        planned(small)
    message = str(caught.value)
    assert str(small.task_path) in message
    assert "unknown field 'metric'" in message
    assert "did you mean 'metrics'?" in message
    assert "did you mean 'test'?" in message


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"methods": []}, "at least 1 item"),
        ({"methods": ["lora", "lora"]}, "own 'variant'"),
        ({"tasks": ["animals", "animals"]}, "once"),
        ({"budget": {"steps": 3, "epochs": 1}}, "exactly one of 'epochs' and 'steps'"),
        ({"budget": {"batch_size": 3}}, "exactly one of 'epochs' and 'steps'"),
        ({"name": "../escape"}, "may hold letters"),
        ({"protocol": "lenient"}, "'strict' or 'paper'"),
        ({"training": {"learning_rate": float("inf")}}, "finite"),
    ],
)
def test_contradiction_in_a_suite_is_refused(
    small: SmallSuite, change: dict[str, Any], cause: str
) -> None:
    """Values that cannot be meant are refused before anything runs."""
    small.write_suite(**change)
    with pytest.raises(ConfigError, match=cause):
        planned(small)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 12}, "asks for seed 11, but .* 10 blocks, seeds 0 to 9; give 3 repeats"),
        ({"seeds": [0, 99]}, "asks for seed 99, .* give 20 repeats, or fewer seeds"),
        ({"protocol": "paper"}, "field 'protocol' is 'paper'"),
        ({"resample": {"folds": 1}}, "'resample.*folds': .*greater than or equal to 2; got 1"),
        ({"resample": {"fold": 5}}, "unknown field 'resample.*fold'; allowed: folds, repeats"),
        ({"resample": {"repeats": 2}}, "field 'resample.*folds' is required"),
        ({"resample": "none"}, "'fixed' or 'per_seed'.*got 'none'"),
    ],
)
def test_folds_that_cannot_be_are_refused(
    small: SmallSuite, change: dict[str, Any], says: str
) -> None:
    """The message names the field and the way out."""
    small.write_suite(**({"resample": FOLDS} | change))
    with pytest.raises(ConfigError, match=says):
        suites.load(str(small.path))
