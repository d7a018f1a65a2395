"""The memory that `plan` and `check` tell before a stack runs, beside what the stack then takes.

Each number comes from a process of its own, which has loaded the libraries and used none.

    python -m tests.benchmarks.memory_told
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import transformers

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config import task_files
from gapbench.bench.config.run import Fingerprint, Precision, Quantization, Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.process import prepare
from gapbench.bench.data.encoded import CausalSplit, TaskData, Texts
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.loading import load_tokenizer
from gapbench.bench.profiling import random_models
from gapbench.bench.profiling.dry_run import first_steps
from gapbench.bench.profiling.footprint import measured
from tests.support.small_stack import CPU
from tests.support.small_suite import PROCESSES

_MEBIBYTE = 2**20
_STEPS = 6


class Shape(NamedTuple):
    """A stack of runs on random rows."""

    backbone: str
    precision: Precision
    quantization: Quantization | None
    method: str
    runs: int
    examples: int
    tokens: int
    repeated: bool = False
    parts: int = 1


SHAPES = (
    Shape("tiny-encoder", "fp32", None, "lora", 12, 16, 64),
    Shape("tiny-encoder", "fp32", None, "lora_dropout", 6, 8, 32),
    Shape("tiny-encoder", "fp32", "int8", "hiddenkey", 8, 16, 64),
    Shape("minilm-l6", "fp32", None, "lora", 4, 16, 64),
    Shape("minilm-l6", "fp32", "nf4", "lora", 3, 8, 64),
    Shape("minilm-l6", "bf16", None, "lora", 4, 8, 64),
    Shape("minilm-l6", "fp32", None, "full", 1, 8, 64),
)
SPARING = (
    Shape("minilm-l6", "fp32", None, "lora", 4, 16, 64, repeated=True),
    Shape("minilm-l6", "fp32", None, "lora", 4, 16, 64, parts=4),
    Shape("minilm-l6", "bf16", None, "hiddenkey", 2, 16, 128, repeated=True, parts=2),
    Shape("minilm-l6", "fp32", None, "lora_dropout", 2, 8, 64, parts=2),
    Shape("minilm-l6", "fp32", None, "lora", 4, 8, 32, parts=2),
    Shape("tiny-encoder", "fp32", None, "lora_dropout", 6, 16, 32, parts=2),
)
"""Shapes with settings that save memory."""
DECODER = Shape("llama-6x576", "fp32", None, "lora", 3, 8, 64)
"""A language model that learns the loss of text, with logits over 16,384 words."""
_LLAMA = {
    "vocab_size": 16_384,
    "hidden_size": 576,
    "num_hidden_layers": 6,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "tie_word_embeddings": True,
}


def main() -> None:
    """Print a row for each shape."""
    for shape in (*SHAPES, *SPARING, DECODER):
        before, then = *in_processes(told, shape), *in_processes(taken, shape)
        print(
            f"{', '.join(map(str, shape))}: told {before / _MEBIBYTE:.0f} MiB, taken "
            f"{then / _MEBIBYTE:.0f} MiB, ratio {before / then:.3f}"
        )


def in_processes(measure: Callable[[Shape], int], shape: Shape, times: int = 1) -> list[int]:
    """Return the bytes that are told or taken, each time in a process of its own."""
    with ProcessPoolExecutor(1, PROCESSES, max_tasks_per_child=1) as pool:
        return list(pool.map(measure, [shape] * times))


def told(shape: Shape) -> int:
    """Return the memory that is told before a stack runs."""
    return measured(*_given(shape), CPU).of(shape.runs)


def taken(shape: Shape) -> int:
    """Return the peak memory of the stack: set up and checked as runs are, and some steps."""
    run, backbone, rows = _given(shape)
    runs = [Run(run.cell, seed) for seed in range(shape.runs)]
    peak = MemoryPeak(CPU)
    method, state = set_up(runs, backbone, rows, CPU, check=True)
    first_steps(runs, method, state, rows.train, steps=_STEPS)
    return peak.growth() + backbone.stored_bytes


def _given(shape: Shape) -> tuple[Run, Backbone, TaskData]:
    prepare(1)
    if shape == DECODER:
        return _given_decoder(shape)
    backbone = random_models.load(shape.backbone, shape.precision)
    if shape.quantization is not None:
        backbone.quantize(shape.quantization)
    settings = shape.examples, shape.tokens, shape.precision
    cell = random_models.cell(shape.method, backbone, *settings)
    cell = cell.changed({"gradient_checkpointing": shape.repeated, "accumulation": shape.parts})
    rows = random_models.random_rows(backbone.config.vocab_size, shape.examples, shape.tokens)
    return Run(cell, 0), backbone, rows


def _given_decoder(shape: Shape) -> tuple[Run, Backbone, TaskData]:
    """Return a run of a language model with random weights, and texts of random tokens."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("llama", **_LLAMA)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    tokenizer = load_tokenizer("tiny-decoder")
    backbone = Backbone(Fingerprint(name=shape.backbone, digest="random"), model, tokenizer, [])
    plain = random_models.random_rows(config.vocab_size, shape.examples, shape.tokens).test
    count = len(plain.lengths)
    texts = CausalSplit(
        **vars(plain),
        sequence_offsets=np.arange(count + 1),
        prompts=np.ones(count, dtype=np.int64),
        characters=np.zeros(count, dtype=np.int64),
        texts=Texts.of([]),
    )
    cell = random_models.cell(
        shape.method, backbone, shape.examples, shape.tokens, shape.precision
    ).changed({"task": task_files.load("syn_text")})
    return Run(cell, 0), backbone, TaskData(train=texts, validation=texts, test=texts)


if __name__ == "__main__":
    main()
