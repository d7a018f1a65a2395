"""Layers that are computed anew in the backward pass: the same gradients, from less memory."""

import copy
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.config.run import Run
from gapbench.bench.data.batching import collate
from gapbench.bench.models import recomputation
from tests.support.conformance import quick_runs
from tests.support.less_memory import TRAINED, assert_same_numbers, changed
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, random_data, train
from tests.support.solo_runs import assert_same_alone
from tests.support.tiny_checkpoints import save

OF_PROBES = [("bilora", "darts"), ("bilora", "unrolled"), ("flexora", "unrolled")]
REPEATED = {"gradient_checkpointing": True}


@pytest.mark.parametrize("name", TRAINED)
def test_training_gives_the_same_numbers(name: str, make_backbone: MakeBackbone) -> None:
    """Masks, second passes, samples and probes of every method are those of the first pass."""
    assert_same_numbers(make_backbone("bert"), name, REPEATED)


@pytest.mark.parametrize(("name", "estimator"), OF_PROBES)
def test_hypergradients_are_the_same(
    name: str, estimator: str, make_backbone: MakeBackbone
) -> None:
    """A layer is repeated with the numbers of its probe; steps are differentiated twice."""
    assert_same_numbers(make_backbone("llama"), name, REPEATED, {"estimator": estimator})


@pytest.mark.parametrize("family", ["gpt2", "llama", "deberta-v2"])
def test_families_give_the_same_numbers(family: str, make_backbone: MakeBackbone) -> None:
    """Caches of decoders, and positions that DeBERTa's runs have of their own, included."""
    assert_same_numbers(make_backbone(family), "lora", REPEATED)


def test_stacked_runs_equal_solo_runs(make_backbone: MakeBackbone) -> None:
    """Runs that are repeated together and alone train to the same numbers."""
    folder, data = make_backbone("bert"), random_data()
    runs = quick_runs("lora_dropout", (0, 1, 2), steps=4, evaluations=1)
    runs = changed(runs, gradient_checkpointing=True, accumulation=2)
    assert_same_alone(folder, runs, train(folder, runs, data), data)


def kept(folder: Path, runs: list[Run]) -> int:
    """Return the bytes that a pass keeps for its backward pass."""
    data = random_data()
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    state.model.train()
    own = {p.untyped_storage().data_ptr() for p in state.model.parameters()}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = method.losses(state, collate(data.train, np.arange(16).reshape(2, 8), CPU))
    assert losses.requires_grad
    return sum(found.values())


def test_a_pass_keeps_little(make_backbone: MakeBackbone) -> None:
    """The inputs of layers and the head's activations: less than a third of all."""
    runs = quick_runs("lora", (0, 1))
    folder = make_backbone("bert")
    assert kept(folder, changed(runs, **REPEATED)) < kept(folder, runs) / 3


def test_a_stack_is_freed_and_copied_like_any(make_backbone: MakeBackbone) -> None:
    """No cycle of references holds a layer, and a copy's layers are its own."""
    (run,) = changed(quick_runs("lora"), **REPEATED)
    method, state = set_up([run], load_backbone(make_backbone("bert"), [run]), random_data(), CPU)
    layers = [m for m in state.model.modules() if isinstance(m, recomputation._Repeating)]
    assert len(layers) == 2
    twin = copy.deepcopy(state.model)
    for parameter in twin.parameters():
        parameter.data = torch.zeros_like(parameter)
    batch = collate(random_data().train, np.arange(8)[None], CPU)
    assert not twin(**batch.inputs).logits.any()
    assert state.model(**batch.inputs).logits.any()
    gone = weakref.ref(layers[0])
    del layers, method, state
    assert gone() is None


@pytest.mark.parametrize("family", ["albert", "mpnet"])
def test_families_without_known_layers_are_refused(family: str, tmp_path: Path) -> None:
    """The reason names the setting and the family."""
    (run,) = changed(quick_runs("lora"), **REPEATED)
    reason = unsupported_reason(run.cell, load_backbone(save(tmp_path / family, family), [run]))
    assert "leave out 'gradient_checkpointing'" in str(reason)
    assert family in str(reason)
