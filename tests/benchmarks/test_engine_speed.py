"""How long the engine's hot parts take: masks, optimiser, one step of stacks of growing size."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.loading import load
from gapbench.bench.models.masks import keep_mask, site_keys
from tests.benchmarks.stepping import make_step
from tests.support.small_stack import CPU, make_runs, random_data


@pytest.mark.parametrize("draw", ["counter-based", "framework"])
def test_drawing_the_masks_of_one_layer(benchmark: BenchmarkFixture, draw: str) -> None:
    """Masks of 8 runs x 16 examples x 64 tokens x 384 features, against plain sampling."""
    rates = torch.full((8,), 0.1)
    seeds = list(range(8))
    if draw == "framework":
        benchmark(lambda: torch.empty(8, 16, 64, 384).bernoulli_(0.9))
    else:
        benchmark(lambda: keep_mask(site_keys(seeds, "site", 3), rates, (16, 64, 384)))


@pytest.mark.parametrize("runs", [1, 2, 4, 8, 16])
def test_one_training_step(benchmark: BenchmarkFixture, runs: int) -> None:
    """One LoRA step on the built-in encoder, 16 examples a run; divide by the number of runs."""
    benchmark(make_step("lora", "tiny-encoder", runs))


@pytest.mark.parametrize("runs", [1, 8])
def test_one_optimiser_update(benchmark: BenchmarkFixture, runs: int) -> None:
    """AdamW over all LoRA parameters of a stack."""
    planned = make_runs("lora", range(runs), precision="fp32")
    fingerprint = Sources().backbone("tiny-encoder")
    backbone = load("tiny-encoder", fingerprint, SEQUENCE_CLASSIFICATION, 2, "fp32")
    _, state = set_up(planned, backbone, random_data(), CPU)
    settings = [run.cell.training for run in planned]
    optimizer = StackedAdamW(state.bank, settings, 10_000, state.axis)
    state.bank.grads.normal_()
    benchmark(optimizer.step)
