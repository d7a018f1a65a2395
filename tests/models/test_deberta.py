"""DeBERTa's relative positions in a stack: every run, member and masked copy has its own.

The reference of a pass over several models is the library's plain model, one for each of them, with
that model's update folded into its weights.
"""

import gc
from contextlib import nullcontext
from functools import cache
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Fingerprint, Run
from gapbench.bench.data.batching import collate
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.deberta import is_disentangled, positional_norms
from gapbench.bench.models.run_axis import StackedDropout, StackedLinear
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods.bitfit import StackedShift
from tests.support.small_stack import CPU, VOCABULARY, make_runs, random_data

# The norms of the first DeBERTa compute in float32, whatever its weights are.
TOLERANCES = {"first": 1e-5, "second": 1e-12, "third": 1e-12}
SEVERAL = {"lora_dropout": "instances", "adalora_dropout": "instances", "lora_ensemble": "members"}
DATA = random_data()


@cache
def _backbone(version: str) -> Backbone:
    """Return a random backbone of a version, with positions that weigh about as much as words."""
    size: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 16,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "initializer_range": 0.3,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    own: dict[str, Any] = {
        "first": {},
        "second": {"conv_kernel_size": 3, "conv_act": "gelu", "norm_rel_ebd": "layer_norm"},
        "third": {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 8},
    }
    kind = transformers.DebertaConfig if version == "first" else transformers.DebertaV2Config
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(
        kind(**size, **own[version])
    )
    fingerprint = Fingerprint(name=version, digest="0")
    return Backbone(fingerprint, model.double().eval(), None, ("classifier", "pooler"))


def _state(version: str, runs: list[Run]) -> tuple[AnyMethod, TrainState]:
    """Return a stack in training mode, whose runs have numbers by their own seeds."""
    method, state = set_up(runs, _backbone(version), DATA, CPU)
    for row, run in zip(state.bank.values, runs, strict=True):
        row.normal_(std=0.3, generator=torch.Generator().manual_seed(run.seed))
    state.model.train()
    return method, state


def _folded(version: str, model: nn.Module, place: int, models: int) -> nn.Module:
    """Return a plain model with the update and the head that one model of a pass has."""
    plain = _backbone(version).model().eval()
    for name, module in model.named_modules():
        if isinstance(module, StackedLora):
            a, b = module.matrices()
            update = (b[place] * module.strength()[place]) @ a[place]
            target: Any = plain.get_submodule(name)
            target.weight = nn.Parameter(target.weight + update)
        elif isinstance(module, StackedLinear):
            assert module.bias is not None
            weights, biases = module.weight.flatten(0, -3), module.bias.flatten(0, -2)
            mine = place * len(weights) // models
            target = plain.get_submodule(name)
            target.weight, target.bias = nn.Parameter(weights[mine]), nn.Parameter(biases[mine])
    return plain


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("several", [2, 3, 4])
@pytest.mark.parametrize("method_name", sorted(SEVERAL))
@pytest.mark.parametrize("version", sorted(TOLERANCES))
def test_each_model_of_a_wide_pass_equals_its_plain_model(
    version: str, method_name: str, several: int, *, training: bool
) -> None:
    """No copy or member sees another's projections of positions, alone or beside a second run."""
    config = {SEVERAL[method_name]: several, "targets": "all-linear"}
    for seeds in ((0,), (0, 1)):
        method, state = _state(version, make_runs(method_name, seeds, configs=[config]))
        state.model.train(training)
        models = len(seeds) * several
        masking = getattr(method, "masking", None)
        step = None if training else -1
        running = nullcontext() if masking is None else masking.running(several, step)
        indices = np.arange(3 * len(seeds)).reshape(len(seeds), 3)
        inputs = collate(DATA.test, indices, CPU).replicated(len(seeds), several).inputs
        with running, torch.no_grad():
            wide = state.model(**inputs).logits.chunk(models)
            for place, actual in enumerate(wide):
                own = {name: values.chunk(models)[place] for name, values in inputs.items()}
                expected = _folded(version, state.model, place, models)(**own).logits
                torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCES[version])
        assert not torch.allclose(wide[0], wide[1], atol=1e-3)


@pytest.mark.parametrize("version", sorted(TOLERANCES))
def test_stack_that_is_gone_leaves_nothing(version: str) -> None:
    """No layer holds itself: its numbers are free as soon as nobody has the stack."""
    _, state = _state(version, make_runs("lora", (0, 1)))
    layers = [ref(m) for m in state.model.modules() if is_disentangled(m)]
    gc.collect()
    gc.disable()
    try:
        del _, state
        assert layers
        assert [layer() for layer in layers] == [None] * len(layers)
    finally:
        gc.enable()


def _gradients(version: str, runs: list[Run]) -> tuple[Tensor, Tensor]:
    """Return losses and gradients of all runs, each on the batch that its seed tells."""
    method, state = _state(version, runs)
    indices = np.array([range(4 * run.seed, 4 * run.seed + 4) for run in runs])
    # All batches are as long as the longest example, so that no mask depends on the stack.
    longest = int(np.diff(DATA.train.offsets).argmax())
    batch = collate(DATA.train, np.c_[indices, np.full(len(runs), longest)], CPU)
    losses = method.losses(state, batch)
    losses.sum().backward()
    return losses.detach(), state.bank.grads


@pytest.mark.parametrize("backbone_dropout", [0.0, 0.2])
@pytest.mark.parametrize(
    ("method_name", "config"),
    [
        ("bitfit", {}),
        ("dora", {"targets": "all-linear", "dropout": 0.2}),
        ("flexora", {}),
        ("lora", {"targets": "all-linear", "dropout": 0.2}),
        ("lora_dropout", {"instances": 2}),
        ("lora_ensemble", {"members": 3, "dropout": 0.2}),
    ],
)
@pytest.mark.parametrize("version", sorted(TOLERANCES))
def test_stacked_gradients_equal_solo_gradients(
    version: str, method_name: str, config: dict[str, Any], backbone_dropout: float
) -> None:
    """Losses and gradients are the same together and alone, with the backbone's dropout too."""
    runs = make_runs(method_name, range(3), configs=[config], backbone_dropout=backbone_dropout)
    together = _gradients(version, runs)
    alone = zip(*(_gradients(version, [run]) for run in runs), strict=True)
    for actual, solo in zip(together, alone, strict=True):
        expected = torch.cat(solo)
        scale = float(expected.abs().amax())
        assert scale > 0
        tolerance = 10 * scale * TOLERANCES[version]
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("version", sorted(TOLERANCES))
def test_backbone_dropout_leaves_out_attention_weights_and_positions(version: str) -> None:
    """Hidden states drop; in attention nothing does, for these tensors have no axis of runs."""
    _, state = _state(version, make_runs("lora", (0, 1), backbone_dropout=0.2))
    dropping = [n for n, m in state.model.named_modules() if isinstance(m, StackedDropout)]
    assert len(dropping) >= 5
    assert not any("attention.self" in name for name in dropping)
    plain, _ = _gradients(version, make_runs("lora", (0, 1)))
    dropped, _ = _gradients(version, make_runs("lora", (0, 1), backbone_dropout=0.2))
    assert not torch.allclose(plain, dropped, atol=1e-3)


@pytest.mark.parametrize("version", sorted(TOLERANCES))
def test_bitfit_leaves_out_what_runs_share(version: str) -> None:
    """The norm of positions and the convolution stay frozen, projections of positions train."""
    _, state = _state(version, make_runs("bitfit", (0, 1)))
    trained = {n for n, m in state.model.named_modules() if isinstance(m, StackedShift)}
    norms = positional_norms(state.model)
    assert norms == ([] if version == "first" else ["deberta.encoder.LayerNorm"])
    assert not trained & {*norms, "deberta.encoder.conv.conv"}
    projections = {"first": "pos_q_proj", "second": "pos_query_proj", "third": "query_proj"}
    assert any(name.endswith(projections[version]) for name in trained)
