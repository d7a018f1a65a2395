"""How long one training step of each method takes; factors in brackets are to the fastest."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.stepping import SHAPES, make_step, stepping_methods


@pytest.mark.parametrize("name", stepping_methods())
@pytest.mark.parametrize("shape", SHAPES)
def test_one_training_step_of(benchmark: BenchmarkFixture, shape: str, name: str) -> None:
    """One step of one run, 16 examples of 32 tokens."""
    benchmark.group = shape
    step = make_step(name, shape)
    benchmark.pedantic(step, rounds=20 if shape == "tiny-encoder" else 3, warmup_rounds=2)
