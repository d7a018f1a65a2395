"""One training step of any method on a backbone of a given shape, ready to be timed."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

from bench import backbone as backbones
from bench import registry
from bench.backbone import Backbone
from bench.batches import collate, training_batches
from bench.config import Fingerprint
from bench.set_up import set_up
from bench.sources import Sources
from bench.splits import EncodedSplit, TaskData
from tests.small_stack import CPU, make_runs, random_split

SHAPES = ("tiny-encoder", "bert-base")
TOKENS = 32


def make_step(name: str, shape: str, config: dict[str, Any] | None = None) -> Callable[[], None]:
    """Return a function that makes one step of one run: 16 examples of 32 tokens."""
    (run,) = make_runs(name, (0,), configs=[config or {}], precision="fp32", steps=1000)
    data = _data()
    method, state = set_up([run], _backbone(shape), data, CPU)
    # Where training has several phases, the first is the dear one.
    phase = method.phases(method.configs[0])[0]
    method.begin(state, phase, [run.cell.training], 1000)
    order = training_batches(data.train.lengths, 16, "toy", 0)
    state.model.train()

    def step() -> None:
        parts = [part for part, cut in phase.parts.items() if state.axis.step % cut.every == 0]
        batches = {part: collate(data.train, next(order)[None], CPU) for part in parts}
        method.step(state, batches)
        state.axis.step += 1

    return step


def stepping_methods() -> list[str]:
    """Return every method that has steps; of PEFT's types, LoRA."""
    trained = [name for name, cls in registry.discover().items() if cls.trains]
    return [name if name != "peft" else "peft:LORA" for name in trained]


@cache
def _backbone(shape: str) -> Backbone:
    if shape == "tiny-encoder":
        return backbones.load(shape, Sources().backbone(shape), "classification", 2, "fp32")
    config = transformers.BertConfig(
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer = backbones.load_tokenizer("tiny-encoder")
    return Backbone(Fingerprint(name=shape, digest="0"), model, tokenizer, ["classifier"])


@cache
def _data() -> TaskData:
    """Return random examples, all of the same length."""
    split = random_split(64, 0)
    rng = np.random.default_rng(0)
    fixed = EncodedSplit(
        input_ids=rng.integers(5, 20, 64 * TOKENS).astype(np.int32),
        token_type_ids=None,
        offsets=np.arange(65) * TOKENS,
        targets=split.targets,
        example_ids=split.example_ids,
        truth=None,
        pad_id=0,
    )
    return TaskData(train=fixed, validation=fixed, test=fixed)
