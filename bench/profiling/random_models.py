"""Backbones of well-known shapes with random weights, to measure speed without downloads."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import transformers

from gapbench.bench.adaptation.registry import resolve_config
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Budget, Cell, Fingerprint, Precision, Training
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import FileSource
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone

_ROBERTA: dict[str, Any] = {"vocab_size": 50265, "max_position_embeddings": 514, "pad_token_id": 1}
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base": ("bert", {}),
    "roberta-base": ("roberta", _ROBERTA),
    "roberta-large": ("roberta", _ROBERTA | _LARGE),
    "minilm-l6": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    ),
}
"""Family, and the settings that differ from its defaults in the model library."""

_FIRST_WORD = 5  # smaller ids may be special
_BATCHES = 4


def load(name: str, precision: Precision, *, offline: bool = False) -> Backbone:
    """Return a backbone for two classes, by name, folder, hub id or known shape.

    Raises:
        BackboneError: if there is none of that name, or it is only on the hub while ``offline``.
    """
    if name in SHAPES:
        return draw(name, precision)
    return loading.load(
        name, Sources(offline=offline).backbone(name), SEQUENCE_CLASSIFICATION, 2, precision
    )


@lru_cache(maxsize=1)
def draw(shape: str, precision: Precision) -> Backbone:
    """Return a classifier with two classes and random weights; the last one is cached."""
    family, settings = SHAPES[shape]
    config = transformers.AutoConfig.for_model(family, num_labels=2, **settings)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    torch.set_rng_state(generator_state)
    model = model.to(loading.DTYPES[precision]).eval()
    tokenizer = loading.load_tokenizer("tiny-encoder")
    return Backbone(Fingerprint(name=shape, digest="random"), model, tokenizer, ["classifier"])


def random_rows(vocabulary: int, examples: int, tokens: int) -> TaskData:
    """Return several batches of random token sequences of one length, with two labels."""
    rows = _BATCHES * examples
    rng = np.random.default_rng(0)
    split = EncodedSplit(
        input_ids=rng.integers(_FIRST_WORD, vocabulary, rows * tokens).astype(np.int32),
        offsets=np.arange(rows + 1) * tokens,
        targets=np.arange(rows) % 2,
        example_ids=np.arange(rows),
        pad_id=0,
    )
    return TaskData(train=split, validation=split, test=split)


def cell(method: str, backbone: Backbone, examples: int, tokens: int, precision: Precision) -> Cell:
    """Return the settings of a run of a method on such rows.

    Raises:
        ConfigError: if there is no such method.
    """
    task = Task(
        name="random",
        version=1,
        kind="classification",
        description="",
        source=FileSource(files="parquet"),
        text=("text",),
        labels=("0", "1"),
        metrics=("accuracy",),
        validation_size=1,
        max_length=tokens,
    )
    return Cell(
        task=task,
        data=Fingerprint(name="random", digest="random"),
        backbone=backbone.fingerprint,
        method=method,
        config=resolve_config(method, {}, "gapbench bench"),
        training=Training(),
        budget=Budget(steps=1, batch_size=examples),
        precision=precision,
    )
