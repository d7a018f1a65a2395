"""Stacks that start from an adapter, and PEFT's model of the same adapter under their heads."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config.run import Run
from gapbench.bench.data.batching import collate
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import read
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import CPU, Trained, load_backbone, random_data

RANK = 3
TARGETS = {"bert": ("query", "output.dense"), "gpt2": ("c_attn", "mlp.c_proj")}  # not all square
MakeAdapter = Callable[..., Path]


def settings(family: str, **others: Any) -> dict[str, Any]:
    """Return settings that fit the adapter, with an alpha of their own."""
    return {"rank": RANK, "alpha": 0.7, "targets": TARGETS[family]} | others


def started(folder: Path, runs: Sequence[Run], adapter: Path) -> Backbone:
    """Return the backbone of runs with the adapter that they start from."""
    return load_backbone(folder, runs).starting_from(read(adapter))


def begin(folder: Path, runs: Sequence[Run], adapter: Path) -> Trained:
    """Return a stack that starts from an adapter, before its first step."""
    data = random_data()
    method, state = set_up(runs, started(folder, runs, adapter), data, CPU)
    return Trained(method, state, Trainer(runs, method, state, data, lambda _: None))


def peft_model(folder: Path, adapter: Path) -> Any:
    """Return the backbone with an adapter for three classes, as a user of PEFT loads it."""
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=3, pad_token_id=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float64
        )
        return peft.PeftModel.from_pretrained(base, adapter).eval()


def peft_logits(folder: Path, adapter: Path, merged: dict[str, torch.Tensor]) -> np.ndarray:
    """Return what PEFT's model answers on the test split under the head of a merged run."""
    model = peft_model(folder, adapter)
    inner = model.base_model.model
    (name,) = {key.split(".")[0] for key in merged} & {"classifier", "score"}
    head = {key.split(".")[1]: v for key, v in merged.items() if key.startswith(f"{name}.")}
    linear = torch.nn.Linear(*head["weight"].shape[::-1], bias="bias" in head).double()
    linear.load_state_dict(head)
    setattr(inner, name, linear)
    inner.num_labels = inner.config.num_labels = len(head["weight"])
    return logits_of(model)


def logits_of(model: torch.nn.Module, weights: dict[str, torch.Tensor] | None = None) -> Any:
    """Return what a model answers on the test split, with other weights if any are given."""
    batch = collate(random_data().test, np.arange(30)[None], CPU)
    with torch.no_grad():
        if weights is None:
            return model(**batch.inputs).logits.numpy()
        answer = torch.func.functional_call(model, weights, kwargs=batch.inputs)
        return answer.logits.numpy()
