"""A language model's forward and backward pass with all logits at once and with some at a time.

Each way is a process of its own; both take turns. Rows are random tokens; all but the first are
targets, as in text.

    python -m tests.benchmarks.chunked_loss BACKBONE --rows 16 --tokens 256
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from gapbench.bench.adaptation import chunked_loss
from gapbench.bench.adaptation.losses import run_means
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.process import prepare
from gapbench.bench.data.batching import Batch
from gapbench.bench.models import head_hooks, loading
from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods.lora import Lora
from tests.support import causal_files
from tests.support.small_suite import PROCESSES

_WHOLE = 2**62
_CPU = torch.device("cpu")


def measured(options: argparse.Namespace, most: int) -> tuple[float, float]:
    """Return the median seconds of both passes and their peak memory in MiB.

    Args:
        options: of the command line.
        most: logits that are made at a time.
    """
    prepare(options.threads)
    chunked_loss.MAX_LOGITS = most
    fingerprint = Fingerprint(name="model", digest="0")
    backbone = loading.load(options.backbone, fingerprint, LANGUAGE_MODEL, 1, "fp32")
    axis = RunAxis(list(range(options.runs)), _CPU, torch.float32)
    model = Lora("lora", [Lora.Config()] * options.runs, axis).adapt(backbone.model(), backbone)
    head_hooks.attach(model, LANGUAGE_MODEL)
    rows = options.runs * options.rows
    ids = torch.randint(10, model.config.vocab_size, (rows, options.tokens))
    positions = torch.arange(options.tokens - 1).expand(rows, -1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "positions": positions}
    batch = Batch(inputs, ids[:, 1:], np.full(options.runs, rows // options.runs * options.tokens))
    task = causal_files.make_task(causal_files.TELL)
    peak, seconds = MemoryPeak(_CPU), []
    for _ in range(options.times):
        started = time.perf_counter()
        losses = chunked_loss.model_losses(model, batch, task, options.runs)
        run_means(losses, batch.targets, options.runs).sum().backward()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), peak.growth() / 2**20


def main() -> None:
    """Print a line for each way and turn."""
    options = _parser().parse_args()
    for turn in range(options.turns):
        for most in (_WHOLE, *options.at_a_time):
            with ProcessPoolExecutor(1, PROCESSES, max_tasks_per_child=1) as pool:
                seconds, mebibytes = pool.submit(measured, options, most).result()
            name = "all" if most == _WHOLE else f"{most:,}"
            print(f"turn {turn}, {name} logits: {seconds:.2f} s, {mebibytes:.0f} MiB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[chunked_loss.MAX_LOGITS])
    return parser


if __name__ == "__main__":
    main()
