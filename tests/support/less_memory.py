"""Runs with settings that save memory, beside the same runs without."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import unsupported_reason
from gapbench.bench.config.run import Run
from tests.support.conformance import NAMES, quick_runs
from tests.support.counting import counting_once
from tests.support.small_stack import load_backbone, random_data, train

TRAINED = [name for name in NAMES if registry.get(name).trains]
LIVELY: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.3},
    "drop_lora": {"rank_rate": 0.4, "dropout": 0.1},
    "lora_dropout": {"rate": 0.4, "dropout": 0.2},
    "lora_ensemble": {"dropout": 0.2},
    "unified_dropout": {
        "logit_rate": 0.2,
        "logit_pattern": "span",
        "weight_rate": 0.1,
        "ffn_rate": 0.2,
        "embedding_rate": 0.1,
        "consistency": "kl_both",
        "consistency_weight": 1.0,
        "reduction": "sum",
    },
    "flexora": {"search_share": 0.6, "outer_learning_rate": 0.3},
}
"""Settings under which a method draws many masks, or searches within few steps."""


def changed(runs: list[Run], **fields: Any) -> list[Run]:
    """Return runs whose cells have other values of some fields."""
    return [Run(run.cell.changed(fields), run.seed) for run in runs]


def assert_same_numbers(
    folder: Path,
    name: str,
    fields: dict[str, Any],
    config: dict[str, Any] | None = None,
    runs_at_once: int = 2,
) -> None:
    """Train runs with and without some fields to the same numbers; skip what is refused."""
    seeds = range(runs_at_once if registry.get(name).stackable else 1)
    configs = [LIVELY.get(name, {}) | (config or {})]
    runs = quick_runs(name, seeds, configs=configs, steps=4, outputs=3, evaluations=1)
    others, data = changed(runs, **fields), random_data(outputs=3)
    if reason := unsupported_reason(others[0].cell, load_backbone(folder, others)):
        pytest.skip(reason)
    plain = train(folder, runs, data, scored=False).state.bank.values
    with counting_once():
        again = train(folder, others, data).state.bank.values
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-11)
