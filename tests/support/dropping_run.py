"""A run of a dropping method on a small backbone, ready for a step, for the tests of the family."""

from typing import Any

import numpy as np
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.data.batching import Batch, collate
from gapbench.methods._shared.dropout_masks import Pattern
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

FAMILIES = ["bert", "roberta", "gpt2", "llama", "qwen2", "deberta-v2"]
PRESETS = ["dropkey", "dropattention", "hiddencut", "r_drop", "hiddenkey_minus", "hiddenkey"]
PATTERNS: list[Pattern] = ["element", "column", "span"]
EVERYWHERE = {
    "logit_rate": 0.2,
    "weight_rate": 0.15,
    "ffn_rate": 0.3,
    "embedding_rate": 0.1,
    "head_rate": 0.25,
    "dropout": 0.1,
    "layers": "all",
}


def ready(
    make_backbone: MakeBackbone,
    name: str,
    family: str = "bert",
    outputs: int = 3,
    precision: str = "fp64",
    **config: Any,
) -> tuple[AnyMethod, TrainState, Batch]:
    """Return one run with moved parameters, in training mode, and a batch."""
    runs = make_runs(name, (4,), configs=[config], outputs=outputs, precision=precision)
    data = random_data(outputs=outputs)
    method, state = set_up(runs, load_backbone(make_backbone(family), runs), data, CPU)
    method.begin(state, Phase(), [runs[0].cell.training], 10)
    moved = torch.randn(state.bank.values.shape, generator=torch.Generator().manual_seed(1))
    state.bank.values.add_(0.1 * moved)
    state.model.train()
    return method, state, collate(data.train, np.arange(8)[None], CPU)
