"""The memory of a stack, told before it runs, is what the stack then takes."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.profiling import footprint as subject
from gapbench.bench.profiling.footprint import Footprint, footprint
from tests.benchmarks.memory_told import (
    DECODER,
    SHAPES,
    SPARING,
    Shape,
    in_processes,
    taken,
    told,
)
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "times"),
    [
        (SHAPES[0], (7, 5)),
        (SHAPES[1], (5, 5)),
        (SPARING[-2], (1, 1)),
        (SPARING[-1], (7, 7)),
        (DECODER, (1, 1)),
    ],
    ids=str,
)
def test_memory_is_what_was_told(shape: Shape, times: tuple[int, int]) -> None:
    """Within 15 % of the peak of a process that trains the stack, each in a process of its own.

    Of the built-in encoder's stacks both are medians: the same stack takes up to a sixth more in
    one process than in another, as the allocator leaves more or fewer gaps, and what is told
    varies likewise. Larger backbones vary by a few per cent.
    """
    before, then = (
        median(in_processes(measure, shape, each))
        for measure, each in zip((told, taken), times, strict=True)
    )
    assert before == pytest.approx(then, rel=0.15)


@pytest.mark.parametrize(("scale", "runs"), [(1, 4), (2**20, 2)])
def test_a_stack_is_what_runs_share_and_what_each_adds(
    scale: int,
    runs: int,
    make_backbone: MakeBackbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two sizes are measured, once for each subject; a method without stacks has one size.

    Of small runs the second size is larger, since gaps in the heap are the same.
    """
    sizes: list[int] = []

    def grow(runs: list[Run], *_: object) -> int:
        sizes.append(len(runs))
        return scale * (1000 + 100 * len(runs))

    monkeypatch.setattr(subject, "_growth", grow)
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    (run,) = make_runs("lora")
    backbone, data = load_backbone(make_backbone("bert"), [run]), random_data()
    found = footprint(run, backbone, data, CPU)
    assert found == Footprint(backbone.stored_bytes + scale * 1000, scale * 100)
    assert found.of(5) == backbone.stored_bytes + scale * 1500
    assert footprint(run, backbone, data, CPU) == found
    assert sizes == [1, 1, runs]
    (alone,) = make_runs("full")
    assert footprint(alone, backbone, data, CPU).of(1) == backbone.stored_bytes + scale * 1100
    (longer,) = make_runs("lora", configs=[{"rank": 4}])
    footprint(longer, backbone, data, CPU)
    assert sizes == [1, 1, runs, 1, 1, 1, 1, runs]


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
