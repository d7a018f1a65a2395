"""Each method's step time beside plain LoRA's, in alternation, so that other load hits both alike.

Prints one line a method: median ratio of step times, milliseconds, and the share of a step that
drawing masks takes. With ``--runs`` every method is timed with so many runs in its stack, or alone
where it does not stack.

    python -m tests.benchmarks.method_costs --shape bert-base --rounds 5
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.models import masks
from tests.benchmarks.stepping import SHAPES, make_step, stepping_methods


class MaskClock:
    """Adds up the time spent in drawing masks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._draw = masks.keep_mask
        masks.keep_mask = self._timed  # type: ignore[assignment]

    def _timed(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        drawn = self._draw(*arguments)
        self.seconds += time.perf_counter() - started
        return drawn


def main() -> None:
    """Print the table."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    clock = MaskClock()
    lora = make_step("lora", options.shape, options.runs)
    print(f"{'method':<20} {'x lora':>7} {'ms':>8} {'masks':>7}   ({options.shape})")
    for name in options.methods or stepping_methods():
        stackable = registry.get(name).stackable
        step = make_step(name, options.shape, options.runs if stackable else 1)
        _time(lora), _time(step)
        clock.seconds = 0.0
        pairs = [(_time(lora), _time(step)) for _ in range(options.rounds)]
        ratio = statistics.median(own / base for base, own in pairs)
        own = statistics.median(own for _, own in pairs)
        share = clock.seconds / sum(own for _, own in pairs)
        print(f"{name:<20} {ratio:7.2f} {1000 * own:8.1f} {share:7.1%}", flush=True)


def _time(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tiny-encoder")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="*")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
