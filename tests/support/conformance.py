"""What the suites over all methods share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.models.backbone import Backbone
from tests.support.small_stack import Trained, make_runs, make_task, random_data

NAMES = [name if name != "peft" else "peft:LORA" for name in registry.discover()]
TRAINED = [name for name in NAMES if registry.get(name).trains]
STACKABLE = [name for name in TRAINED if registry.get(name).stackable]
STACKED_ON = {"bert": (4, 12), "llama": (2, 6), "deberta-v2": (2, 6)}
"""Runs and steps of the stacks of every method, by family of backbones."""

# Settings that only make these tests long where they are large.
QUICK: dict[str, dict[str, Any]] = {"tfb": {"samples": 3, "rounds": 2}}


def quick_runs(
    name: str, seeds: Sequence[int] = (0,), configs: Sequence[dict[str, Any]] = ({},), **given: Any
) -> list[Run]:
    """Return runs as `make_runs` does, quick ones where a method has settings for that."""
    quick = [QUICK.get(name, {}) | config for config in configs]
    return make_runs(name, seeds, configs=quick, **given)


def skip_unsupported(name: str, backbone: Backbone) -> None:
    """Skip a test where a method, with its defaults, does not support a backbone."""
    cls = registry.get(name)
    config = cls.Config.model_validate(registry.resolve_config(name, {}, "test"))
    reason = cls.supports(make_task(), backbone, config)
    if reason is not None:
        pytest.skip(reason)


def assert_healthy(trained: Trained) -> None:
    """Check that a stack of three classes ended well, and predicts."""
    assert np.isfinite(trained.logits(random_data(outputs=3))).all()
    assert [trace.diverged for trace in trained.trainer.traces if trace.diverged] == []
