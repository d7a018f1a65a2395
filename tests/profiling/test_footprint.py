"""The memory of a stack, told before it runs, is what the stack then takes."""

import multiprocessing
from typing import Any

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.process import prepare
from gapbench.bench.profiling import footprint as subject
from gapbench.bench.profiling import random_models
from gapbench.bench.profiling.footprint import Footprint, footprint
from gapbench.bench.profiling.step_timer import Stepper
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

# Backbone, format of its layers, method, runs, examples, tokens.
SHAPES: list[tuple[Any, ...]] = [
    ("tiny-encoder", None, "lora", 12, 16, 64),
    ("tiny-encoder", None, "lora_dropout", 6, 16, 64),
    ("tiny-encoder", "int8", "hiddenkey", 8, 16, 64),
    ("tiny-decoder", None, "lora", 6, 8, 128),
]


def given(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a run of a shape, its backbone and its rows."""
    name, few_bits, method, _, examples, tokens = shape
    prepare(1)
    backbone = random_models.load(name, "fp32")
    if few_bits is not None:
        backbone.quantize(few_bits)
    cell = random_models.cell(method, backbone, examples, tokens, "fp32")
    rows = random_models.random_rows(backbone.config.vocab_size, examples, tokens)
    return Run(cell, 0), backbone, rows, CPU


def told(shape: tuple[Any, ...]) -> int:
    """Return the memory that is told before a stack runs, as `plan` and `check` do."""
    run, *place = given(shape)
    return subject._measured(run, *place).of(shape[3])


def taken(shape: tuple[Any, ...]) -> int:
    """Return the peak memory of the stack, without that of the process before it."""
    run, backbone, *place = given(shape)
    peak = MemoryPeak(CPU)
    step = Stepper([Run(run.cell, seed) for seed in range(shape[3])], backbone, *place)
    for _ in range(4):
        step()
    return peak.growth() + backbone.stored_bytes


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_memory_is_what_was_told(shape: tuple[Any, ...]) -> None:
    """Within 15 % of the peak of a process that trains the stack, each in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        before, then = pool.apply(told, (shape,)), pool.apply(taken, (shape,))
    assert before == pytest.approx(then, rel=0.15)


def test_a_stack_is_what_runs_share_and_what_each_adds(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sizes are measured, once for each subject; a method without stacks has one size."""
    sizes: list[int] = []

    def grow(runs: list[Run], *_: object) -> int:
        sizes.append(len(runs))
        return 1000 + 100 * len(runs)

    monkeypatch.setattr(subject, "_growth", grow)
    (run,) = make_runs("lora")
    backbone, data = load_backbone(make_backbone("bert"), [run]), random_data()
    found = footprint(run, backbone, data, CPU)
    assert found == Footprint(backbone.stored_bytes + 1000, 100)
    assert found.of(5) == backbone.stored_bytes + 1500
    assert footprint(run, backbone, data, CPU) == found
    assert sizes == [1, 1, 2]
    (alone,) = make_runs("full")
    assert footprint(alone, backbone, data, CPU).of(1) == backbone.stored_bytes + 1100
    (longer,) = make_runs("lora", configs=[{"rank": 4}])
    footprint(longer, backbone, data, CPU)
    assert sizes == [1, 1, 2, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(("few_bits", "size"), [(None, 8), ("int8", 1), ("int4", 0.5625)])
def test_stored_bytes_count_weights_once(
    make_backbone: MakeBackbone, few_bits: Any, size: float
) -> None:
    """Of a backbone in float64, shared and quantised weights included."""
    (run,) = make_runs("lora", quantization=few_bits)
    backbone = load_backbone(make_backbone("bert"), [run])
    (full,) = make_runs("lora")
    plain = load_backbone(make_backbone("bert"), [full])
    model: Any = plain.model()
    inside = sum(model.get_submodule(n).weight.numel() for n in plain.linear_layers())
    saved = plain.stored_bytes - backbone.stored_bytes
    assert saved == pytest.approx(inside * (8 - size), rel=0.03)
