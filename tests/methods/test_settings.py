"""Every setting of every method: what is illegal is refused, and each legal value counts."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.core.errors import ConfigError
from tests.support.conformance import NAMES, quick_runs
from tests.support.dropping_run import PRESETS
from tests.support.setting_variations import OUTPUTS, SLOW_TO_SHOW, context, fields, illegal, others
from tests.support.small_stack import MakeBackbone, random_data, train

SETTINGS = [(name, field) for name in NAMES for field in fields(name)]


def _is_shared(name: str, field: str) -> bool:
    """Whether it is a setting of the dropout framework, with its default, in a preset of it.

    Presets differ from the framework by defaults alone, as `test_unified_dropout` checks.
    """
    framework = fields("unified_dropout")
    return name in PRESETS and fields(name)[field].default == framework[field].default


CHANGING = [setting for setting in SETTINGS if not _is_shared(*setting)]


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_setting_refuses_illegal_values_by_name(name: str, field: str) -> None:
    """A value outside the range is an error that names place and field."""
    for value in illegal(name, field):
        with pytest.raises(ConfigError, match=rf"here: .*{field}"):
            registry.resolve_config(name, {field: value}, "here")


@cache
def _outcomes(
    folder: Path, name: str, settings: tuple[str, ...], outputs: int, steps: int
) -> list[np.ndarray]:
    """Train one stack; return all numbers that each of its settings (as JSON) leaves."""
    configs = [json.loads(text) for text in settings]
    if len(settings) > 1:
        configs.append(configs[0])  # equal settings must leave equal numbers wherever they stand
    runs = quick_runs(
        name,
        [3] * len(configs),
        configs=configs,
        precision="bf16",  # where most is put in between
        outputs=outputs,
        steps=steps,
    )
    data = random_data(outputs=outputs)
    # What a search does is seen on the way; the rest, in what is scored at the end.
    trained = train(folder, runs, data, scored=name in SLOW_TO_SHOW)
    with trained.method.scoring(trained.state):
        logits = trained.logits(data)
    assert len(logits) == len(runs)
    curves = [[[p.train_loss, p.test_loss] for p in t.curve] for t in trained.trainer.traces]
    pairs = zip(curves, logits, strict=True)
    numbers = [np.concatenate([np.ravel(curve), np.ravel(own)]) for curve, own in pairs]
    assert np.array_equal(numbers[0], numbers[-1])
    return numbers


def _unchanging(folder: Path, name: str, field: str) -> list[Any]:
    """Return the other values of a setting that lead to the same numbers as its default does."""
    beside, left = context(name, field), others(name, field)
    stackable = field in registry.get(name).Config.PER_RUN

    def outcome(settings: dict[str, Any], steps: int) -> np.ndarray:
        tried = _settings_of_a_stack(name, field) if stackable else [settings]
        texts = tuple(json.dumps(each, sort_keys=True) for each in tried)
        made = _outcomes(folder, name, texts, OUTPUTS.get(field, 3), steps)
        return made[tried.index(settings)]

    # One stack shows all fields that may differ in it; of the others, most show in two steps.
    whole = stackable or name == "bidora"  # whose phases are shares of the steps
    lengths = [12] if name in SLOW_TO_SHOW else [6] if whole else [2, 6]
    for steps in lengths:
        before = outcome(beside, steps)
        left = [v for v in left if np.array_equal(before, outcome(beside | {field: v}, steps))]
    return left


def _settings_of_a_stack(name: str, field: str) -> list[dict[str, Any]]:
    """Return the settings to try of this field and of all that may differ beside it in a stack."""
    per_run = registry.get(name).Config.PER_RUN

    def shared(other: str) -> tuple[dict[str, Any], int]:
        common = {k: v for k, v in context(name, other).items() if k not in per_run}
        return common, OUTPUTS.get(other, 3)

    tried: list[dict[str, Any]] = []
    for other in sorted(per_run):
        if shared(other) == shared(field):
            changes = [{}, *({other: value} for value in others(name, other))]
            tried += [context(name, other) | change for change in changes]
    return [each for i, each in enumerate(tried) if each not in tried[:i]]


@pytest.mark.parametrize(("name", "field"), CHANGING)
def test_setting_changes_something(name: str, field: str, make_backbone: MakeBackbone) -> None:
    """Each other value of a setting leads to other numbers."""
    if name.startswith("peft:"):
        pytest.skip("PEFT's own settings are PEFT's to test")
    assert others(name, field)
    assert _unchanging(make_backbone("bert"), name, field) == []
