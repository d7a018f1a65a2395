"""Measure the time of a step here, by method, precision and stack size."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments
from gapbench.bench.cli.argument_types import names, numbers, positive, precisions

EXAMPLE = "gapbench bench --backbone bert-base --methods lora,hiddenkey --stacks 1,4,16"
ORDER = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument(
        "--backbone",
        default="tiny-encoder",
        metavar="NAME|DIR",
        help="built-in name, folder, GGUF file, or a shape with random weights: bert-base, "
        "roberta-base, roberta-large, minilm-l6 (default: tiny-encoder)",
    )
    arguments.offline(parser)
    parser.add_argument(
        "--methods",
        type=names,
        default=("lora",),
        metavar="A,B",
        help="methods to measure (default: lora)",
    )
    parser.add_argument(
        "--stacks",
        type=numbers,
        default=(1, 2, 4, 8, 16),
        metavar="N,M",
        help="stack sizes to measure (default: 1,2,4,8,16)",
    )
    parser.add_argument(
        "--precision",
        type=precisions,
        default=("fp32", "bf16"),
        metavar="A,B",
        help="precisions to measure (default: fp32,bf16)",
    )
    for name, default, what in (
        ("--batch-size", 16, "examples per step of a run"),
        ("--tokens", 64, "tokens per example"),
    ):
        parser.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--threads",
        type=positive,
        default=None,
        metavar="N",
        help="number of threads (default: one per core)",
    )
    arguments.device(parser)
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print the time of a run's step, by precision, method and stack size."""
    import torch

    from gapbench.bench.adaptation import registry
    from gapbench.bench.api.progress import progress_bar
    from gapbench.bench.cli.printing import print_notes, print_rows
    from gapbench.bench.core.process import choose_device, prepare
    from gapbench.bench.models.loading import DTYPES
    from gapbench.bench.profiling.step_timer import ceiling
    from gapbench.bench.store.provenance import device_name

    prepare(options.threads)
    device = choose_device(options.device)
    cases = [
        (precision, method, sizes)
        for precision in options.precision
        for method in options.methods
        if (sizes := options.stacks if registry.get(method).stackable else [1])
    ]
    dtypes = {**DTYPES, "bf16": torch.bfloat16}  # types of the products of frozen layers
    most = {name: ceiling(dtypes[name], device) for name in options.precision}
    products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in most.items())
    machine = f"{device_name(device)}, {torch.get_num_threads()} threads"
    print_notes([machine, f"matrix products reach {products}"])
    rows = []
    with progress_bar(sum(len(sizes) for *_, sizes in cases), " cases") as bar:
        for precision, method, sizes in cases:
            for row in _measured(options, precision, method, sizes, most[precision]):
                rows.append(row)
                bar.update()
    print_rows(rows, as_json=options.json)
    return OK


def _measured(
    options: argparse.Namespace, precision: Any, method: str, sizes: Sequence[int], most: float
) -> Iterator[dict[str, Any]]:
    """Yield a row for each stack size, relative to ``most`` FLOP/s of matrix products."""
    from gapbench.bench.config.run import Run
    from gapbench.bench.core.errors import BackboneError
    from gapbench.bench.core.process import choose_device
    from gapbench.bench.profiling import random_models
    from gapbench.bench.profiling.step_timer import Stepper, measure, operations
    from gapbench.bench.store.failure import status_of
    from gapbench.bench.store.record import Status

    device, shape = choose_device(options.device), (options.batch_size, options.tokens)
    backbone = random_models.load(options.backbone, precision, offline=options.offline)
    cell = random_models.cell(method, backbone, *shape, precision)
    examples = random_models.random_rows(backbone.config.vocab_size, *shape)
    try:
        flops = operations(Stepper([Run(cell, 0)], backbone, examples, device))
    except RuntimeError as error:
        if precision == "fp32" or status_of(error) == Status.OUT_OF_MEMORY:
            raise
        raise BackboneError(
            f"backbone {options.backbone!r}, method {method!r}: with precision {precision}, "
            f"{type(error).__name__}: {error}; if that is a matter of types, give --precision fp32"
        ) from None
    for size in sizes:
        speed = measure([Run(cell, seed) for seed in range(size)], backbone, examples, device)
        yield {
            "method": method,
            "precision": precision,
            "runs": size,
            "ms_a_run_step": round(1000 * speed.seconds, 2),
            "run_steps_an_hour": round(3600 / speed.seconds),
            "tokens_a_second": round(shape[0] * shape[1] / speed.seconds),
            "gflops": round(flops / speed.seconds / 1e9, 1),
            "utilisation": round(flops / speed.seconds / most, 3),
            "peak_mib": round(speed.peak_bytes / 2**20),
        }
