"""Arms: every method at its default first, then learning rates, then ranks and own settings."""

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.advice.arms import Arm, design
from gapbench.bench.api.choices import ADVISED_METHODS as METHODS
from gapbench.bench.config.run import Cell, NestedFolds, Training
from gapbench.bench.core.errors import ConfigError
from tests.support.small_suite import CELL


def arms(*methods: str, rate: float = 1e-3) -> list[Arm]:
    """Return methods at their defaults."""
    fields = {name: getattr(CELL, name) for name in Cell.model_fields}
    return [
        Arm(
            Cell(
                **fields
                | {
                    "method": name,
                    "config": registry.resolve_config(name, {}, "test"),
                    "training": Training(learning_rate=rate),
                }
            )
        )
        for name in methods
    ]


def test_learning_rates_come_before_other_settings() -> None:
    """Twelve arms of four methods are three learning rates each."""
    found = design(arms(*METHODS), 12)
    assert [arm.cell.method for arm in found] == [*METHODS] * 3
    assert [arm.name for arm in found[::4]] == ["lora", "lora / rate 0.0003", "lora / rate 0.003"]
    assert found[4].cell.training.learning_rate == 3e-4


def test_more_arms_vary_the_rank_and_then_own_settings() -> None:
    """Every arm differs from all others, in its cell too."""
    found = [arm for arm in design(arms(*METHODS), 100) if arm.cell.method == "lora_dropout"]
    names = [arm.variant.split()[0] for arm in found]
    assert names[:5] == ["default", "rate", "rate", "rank", "rank"]
    assert len({arm.name for arm in found}) == len({arm.cell.hash for arm in found}) == len(found)


def test_plain_lora_is_the_first_arm() -> None:
    """It is the reference, wherever its user names it."""
    found = design(arms("hiddenkey", "lora"), 2)
    assert [arm.name for arm in found] == ["lora", "hiddenkey"]


def test_plain_lora_leads_under_any_label_and_has_to_be_there() -> None:
    """A suite may have only variants of it; without any there is nothing to compare with."""
    head, lora = arms("hiddenkey", "lora")
    assert design([head, Arm(lora.cell, "rank 1")], 2)[0].cell.method == "lora"
    with pytest.raises(ConfigError, match="name lora among the methods"):
        design([head], 2)


def test_no_arm_stands_twice() -> None:
    """A variant of the suite that is made here too is one arm."""
    (lora,) = arms("lora")
    (other,) = arms("lora", rate=3e-3)
    found = design([lora, Arm(other.cell, "fast")], 12)
    assert len({arm.cell for arm in found}) == len(found) == 12
    assert [arm.name for arm in found[:2]] == ["lora", "lora / fast"]


def test_rates_stay_inside_the_range_of_the_method() -> None:
    """At the upper end there is no larger rate to try."""
    found = design(arms("lora", rate=1e-2), 3)
    assert [arm.variant for arm in found] == ["default", "rate 0.003", "rank 2"]


def test_an_arm_on_folds_is_another_run() -> None:
    """Its hash differs, and everything else is the same."""
    (arm,) = arms("lora")
    folds = arm.on(NestedFolds(folds=5, nested=True))
    assert folds.hash != arm.cell.hash
    assert folds.training == arm.cell.training
    assert arm.on("fixed") == arm.cell


@pytest.mark.parametrize(
    ("methods", "count", "said"), [(["untuned"], 5, "untuned"), (["lora"], 1, "--arms 1")]
)
def test_what_cannot_race_is_refused(methods: list[str], count: int, said: str) -> None:
    """An arm must train, and one alone is no race."""
    with pytest.raises(ConfigError, match=said):
        design(arms(*methods), count)
