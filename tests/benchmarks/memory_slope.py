"""What one more run adds to a stack's memory, beside what it must hold: both and their ratio.

A run must hold its numbers, their gradients, the optimiser's state, and what the forward pass keeps
for the backward pass. Each size of stack is measured in a process of its own.

    python -m tests.benchmarks.memory_slope --backbone minilm-l6 --tokens 64
"""

import argparse
import multiprocessing
from collections.abc import Sequence

import torch
from torch import Tensor

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.process import prepare
from gapbench.bench.profiling import random_models
from gapbench.bench.profiling.step_timer import Stepper
from tests.support.small_stack import CPU

MEBIBYTE = 2**20
_STEPS = 3
_ROWS = 5  # of the matrix of trained numbers: values, gradients, two moments, one to work in


def main() -> None:
    """Print the peak by size of stack, its slope, and the sum of what a run holds."""
    options = _parser().parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = [pool.apply(peak, (options, size)) for size in options.stacks]
        held = pool.apply(holds, (options,))
    for size, found in zip(options.stacks, peaks, strict=True):
        print(f"{size:3d} runs: peak {found / MEBIBYTE:8.1f} MiB")
    slope = (peaks[-1] - peaks[0]) / (options.stacks[-1] - options.stacks[0])
    print(
        f"one more run: measured {slope / MEBIBYTE:.2f} MiB, computed {held / MEBIBYTE:.2f} MiB, "
        f"ratio {slope / held:.3f}"
    )


def peak(options: argparse.Namespace, runs: int) -> int:
    """Return the peak memory of some steps of a stack, in bytes."""
    prepare(1)
    cell, arguments = _stack(options)
    step = Stepper([Run(cell, seed) for seed in range(runs)], *arguments)
    measured = MemoryPeak(CPU)
    for _ in range(_STEPS):
        step()
    return measured.bytes()


def holds(options: argparse.Namespace) -> int:
    """Return the bytes that a run alone holds between its forward and its backward pass."""
    prepare(1)
    cell, (backbone, rows, device) = _stack(options)
    _, state = set_up([Run(cell, 0)], backbone, rows, device)
    frozen = {p.untyped_storage().data_ptr() for p in state.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    step = Stepper([Run(cell, 0)], backbone, rows, device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values()) + _ROWS * state.bank.values.nbytes


def _stack(options: argparse.Namespace) -> tuple[Cell, Sequence[object]]:
    backbone = random_models.load(options.backbone, "fp32")
    cell = random_models.cell(options.method, backbone, 16, options.tokens, "fp32")
    rows = random_models.random_rows(backbone.config.vocab_size, 16, options.tokens)
    return cell, (backbone, rows, CPU)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="minilm-l6")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 8])
    return parser


if __name__ == "__main__":
    main()
