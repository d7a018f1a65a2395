"""Arms: every method at its default first, then learning rates, then ranks and own settings."""

import pytest

from gapbench.bench.advice.arms import METHODS, design
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.experiment.schema import MethodEntry

ENTRIES = [MethodEntry(method=name) for name in METHODS]


def test_learning_rates_come_before_other_settings() -> None:
    """Twelve arms of four methods are three learning rates each."""
    arms = design(ENTRIES, 1e-3, 12)
    assert [arm.method for arm in arms] == [*METHODS] * 3
    assert [arm.variant for arm in arms[::4]] == ["default", "rate 0.0003", "rate 0.003"]
    assert arms[4].training == {"learning_rate": 3e-4}


def test_more_arms_vary_the_rank_and_then_own_settings() -> None:
    """Every arm differs from all others, and the default value is not an arm twice."""
    arms = [arm for arm in design(ENTRIES, 1e-3, 100) if arm.method == "lora_dropout"]
    names = [arm.variant.split()[0] for arm in arms]
    assert names[:5] == ["default", "rate", "rate", "rank", "rank"]
    assert len({arm.variant for arm in arms}) == len(arms)
    assert all(set(arm.config) <= {"rank", "rate", "dropout"} for arm in arms)


def test_plain_lora_is_always_an_arm_and_the_first() -> None:
    """It is the reference, wherever its user names it."""
    arms = design([MethodEntry(method="hiddenkey"), MethodEntry(method="lora")], 1e-3, 2)
    assert [arm.method for arm in arms] == ["lora", "hiddenkey"]


def test_rates_stay_inside_the_range_of_the_method() -> None:
    """At the upper end there is no larger rate to try."""
    arms = design([MethodEntry(method="lora")], 1e-2, 3)
    assert [arm.variant for arm in arms] == ["default", "rate 0.003", "rank 2"]


@pytest.mark.parametrize(
    ("methods", "count", "said"), [(["untuned"], 5, "untuned"), (["lora"], 1, "--arms 1")]
)
def test_what_cannot_race_is_refused(methods: list[str], count: int, said: str) -> None:
    """An arm must train, and one alone is no race."""
    with pytest.raises(ConfigError, match=said):
        design([MethodEntry(method=name) for name in methods], 1e-3, count)
