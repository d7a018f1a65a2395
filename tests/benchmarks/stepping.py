"""One training step of any method on a backbone of a given shape, ready to be timed."""

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.profiling import random_models
from gapbench.bench.profiling.step_timer import Stepper

SHAPES = ("tiny-encoder", "bert-base")
CPU = torch.device("cpu")


def make_step(name: str, shape: str, runs: int = 1) -> Stepper:
    """Return what makes one step of a stack: 16 examples of 32 tokens for each run."""
    backbone = random_models.load(shape, "fp32")
    cell = random_models.cell(name, backbone, 16, 32, "fp32")
    rows = random_models.random_rows(backbone.config.vocab_size, 16, 32)
    return Stepper([Run(cell, seed) for seed in range(runs)], backbone, rows, CPU)


def stepping_methods() -> list[str]:
    """Return every method that has steps; of PEFT's types, LoRA."""
    trained = [name for name, cls in registry.discover().items() if cls.trains]
    return [name if name != "peft" else "peft:LORA" for name in trained]
