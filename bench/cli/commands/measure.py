"""The command that measures how fast stacks step on this machine: bench."""

import argparse
import sys
from typing import Any

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.cli.commands.printing import print_rows, progress_bar
from gapbench.bench.cli.main import EXIT_OK
from gapbench.bench.config.run import Precision, Run
from gapbench.bench.core.process import choose_device, prepare
from gapbench.bench.models import loading
from gapbench.bench.profiling import random_models
from gapbench.bench.profiling.step_timer import Stepper, ceiling, measure, operations
from gapbench.bench.store.provenance import device_name

_PRODUCTS: dict[Precision, torch.dtype] = {**loading.DTYPES, "bf16": torch.bfloat16}


def bench_command(options: argparse.Namespace) -> int:
    """Print what a step of a run takes, by precision, method and size of stack."""
    prepare(options.threads)
    device = choose_device(options.device)
    cases = [
        (precision, method, sizes)
        for precision in options.precision
        for method in options.methods
        if (sizes := options.stacks if registry.get(method).stackable else [1])
    ]
    most = {name: ceiling(_PRODUCTS[name], device) for name in options.precision}
    products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in most.items())
    print(f"{device_name(device)}, {torch.get_num_threads()} threads", file=sys.stderr)
    print(f"matrix products reach {products}", file=sys.stderr)
    rows = []
    with progress_bar(sum(len(sizes) for *_, sizes in cases), " cases") as bar:
        for precision, method, sizes in cases:
            for row in _Case(options, precision, method, device).rows(sizes, most[precision]):
                rows.append(row)
                bar.update()
    print_rows(rows, as_json=options.json)
    return EXIT_OK


class _Case:
    """One method in one precision on random rows."""

    def __init__(
        self, options: argparse.Namespace, precision: Precision, method: str, device: torch.device
    ) -> None:
        self._shape = (options.batch_size, options.tokens)
        self._backbone = random_models.load(options.backbone, precision, offline=options.offline)
        self._cell = random_models.cell(method, self._backbone, *self._shape, precision)
        self._rows = random_models.random_rows(self._backbone.config.vocab_size, *self._shape)
        self._device = device

    def rows(self, sizes: list[int], most: float) -> list[dict[str, Any]]:
        """Return a row for each size of stack, beside the rate ``most`` of matrix products."""
        one = Stepper(self._runs(1), self._backbone, self._rows, self._device)
        flops = operations(one)
        made = []
        for size in sizes:
            speed = measure(self._runs(size), self._backbone, self._rows, self._device)
            made.append(
                {
                    "method": self._cell.method,
                    "precision": self._cell.precision,
                    "runs": size,
                    "ms_a_run_step": round(1000 * speed.seconds, 2),
                    "run_steps_an_hour": round(3600 / speed.seconds),
                    "tokens_a_second": round(self._shape[0] * self._shape[1] / speed.seconds),
                    "gflops": round(flops / speed.seconds / 1e9, 1),
                    "utilisation": round(flops / speed.seconds / most, 3),
                    "peak_mib": round(speed.peak_bytes / 2**20),
                }
            )
        return made

    def _runs(self, size: int) -> list[Run]:
        return [Run(self._cell, seed) for seed in range(size)]
