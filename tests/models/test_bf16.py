"""`precision: bf16`: what it rounds, what it leaves in float32, and how near it stays to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.task_files import load
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.experiment import suite
from gapbench.bench.models.bf16 import InFull, full, full_weights, round_frozen, roundable
from gapbench.bench.models.run_axis import Stacked
from tests.support import tiny_families
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

QUICKSTART = [entry.method for entry in suite.load("quickstart")[0].methods]
TRAINED = [name for name in QUICKSTART if name not in {"majority", "untuned"}]
FAMILIES = ["bert", "roberta", "gpt2", "llama"]


def data() -> TaskData:
    """Return random splits whose texts end with the end-of-text token, which T5 looks for."""
    made = random_data()
    for split in (made.train, made.validation, made.test):
        split.input_ids[split.offsets[1:] - 1] = 2
    return made


def prepared(folder: Path, precision: str, method: str = "lora") -> tuple[AnyMethod, TrainState]:
    """Return three runs of a method, or one where it does not stack, in training."""
    seeds = (0,) if method == "full" else (0, 1, 2)
    runs = make_runs(method, seeds, precision=precision)
    made, state = set_up(runs, load_backbone(folder, runs), data(), CPU)
    phase = made.phases(made.configs[0])[0]
    made.begin(state, phase, [run.cell.training for run in runs], 20)
    state.model.train()
    return made, state


def batch_for(state: TrainState) -> Batch:
    """Return a batch of eight examples for each run."""
    runs = state.axis.size
    return collate(data().train, np.arange(8 * runs).reshape(runs, 8), CPU)


def stepped(made: tuple[AnyMethod, TrainState]) -> tuple[StepReport, Tensor]:
    """Make one step away from the first values, and return its report and gradients."""
    method, state = made
    generator = torch.Generator().manual_seed(0)
    state.bank.values.add_(torch.randn(state.bank.values.shape, generator=generator), alpha=0.02)
    seen = []
    optimizer: Any = state.optimizers["main"]
    update = optimizer.step

    def note(*given: Any) -> Tensor:
        seen.append(state.bank.grads.clone())
        norms: Tensor = update(*given)
        return norms

    optimizer.step = note
    batch = batch_for(state)
    parts = method.phases(method.configs[0])[0].parts
    return method.step(state, dict.fromkeys(parts, batch)), seen[0]


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("method", TRAINED)
def test_losses_and_gradients_are_near_those_of_float32(
    make_backbone: Callable[[str], Path], method: str, family: str
) -> None:
    """A step of every method differs by roundings and by no more."""
    folder = make_backbone(family)
    (plain, exact), (report, rounded) = (
        stepped(prepared(folder, precision, method)) for precision in ("fp32", "bf16")
    )
    assert rounded.dtype == report.losses.dtype == torch.float32
    torch.testing.assert_close(report.losses, plain.losses, rtol=0.01, atol=0)
    distance = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert bool((distance < 0.05).all())
    assert bool((distance == 0).all()) == (method == "full")  # which has nothing frozen to round


def save_t5(family: str, folder: Path) -> Path:
    """Save a relative of T5 with weights as the library draws them."""
    torch.manual_seed(0)
    transformers.AutoModel.from_config(tiny_families.config(family)).save_pretrained(folder)
    tiny_families.tokenizer(special=True).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["t5", "mt5", "umt5"])
def test_relatives_of_t5_are_as_near_as_other_families(family: str, tmp_path: Path) -> None:
    """Their logits have no scale; queries and keys three times as large come to one key each."""
    folder = save_t5(family, tmp_path)
    (plain, exact), (report, rounded) = (
        stepped(prepared(folder, precision)) for precision in ("fp32", "bf16")
    )
    torch.testing.assert_close(report.losses, plain.losses, rtol=0.002, atol=0)
    distance = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert bool((distance < 0.03).all())


@pytest.mark.parametrize("family", ["t5", "umt5"])
def test_t5_computes_what_the_library_does_in_bfloat16(family: str, tmp_path: Path) -> None:
    """Bit for bit, from embeddings through biases of positions to the decoder's last layer."""
    (run,) = make_runs("lora", precision="bf16")
    backbone = load_backbone(save_t5(family, tmp_path), [run])
    _, state = set_up([run], backbone, data(), CPU)
    bare: Any = backbone.model().eval()
    inputs = collate(data().train, np.arange(8)[None], CPU).inputs
    seen: list[Tensor] = []
    for model in (state.model.eval(), bare.bfloat16()):
        last = model.get_submodule("transformer.decoder.final_layer_norm")
        last.register_forward_hook(lambda _module, _args, output: seen.append(output))
        with torch.inference_mode():
            model(**inputs)
    assert seen[0].dtype == torch.bfloat16
    assert torch.equal(*seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_bfloat16_and_logits_float32(
    make_backbone: Callable[[str], Path], family: str
) -> None:
    """Every module that holds frozen or adapted weights hands bfloat16 on, whatever its kind."""
    method, state = prepared(make_backbone(family), "bf16", "unified_dropout")
    types: dict[str, torch.dtype] = {}
    for name, module in state.model.named_modules():
        if any(True for _ in module.parameters(recurse=False)) or isinstance(module, Stacked):
            module.register_forward_hook(
                lambda _, __, made, name=name: types.update({name: made.dtype})
            )
    assert method.losses(state, batch_for(state)).dtype == torch.float32
    head = ("classifier", "score")
    inside = {made for name, made in types.items() if not name.startswith(head)}
    assert inside == {torch.bfloat16}
    assert {made for name, made in types.items() if name.startswith(head)} == {torch.float32}


def test_no_activation_is_converted_inside_the_backbone(
    make_backbone: Callable[[str], Path],
) -> None:
    """From the embeddings of an encoder to its head, forward and backward, nothing changes type."""
    method, state = prepared(make_backbone("bert"), "bf16")
    batch = batch_for(state)
    activations = batch.inputs["input_ids"].numel() * state.model.config.hidden_size
    with _Conversions() as seen:
        method.losses(state, batch).sum().backward()
    assert seen.sizes
    assert max(seen.sizes) < activations


class _Conversions(TorchDispatchMode):
    """Notes the sizes of tensors whose type is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note a conversion."""
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and made.dtype != args[0].dtype:
            self.sizes.append(made.numel())
        return made


@pytest.mark.parametrize("family", FAMILIES)
def test_only_frozen_weights_are_rounded(make_backbone: Callable[[str], Path], family: str) -> None:
    """Weights that train are float32, and what was rounded is still there in full."""
    _, state = prepared(make_backbone(family), "bf16")
    for weight in state.model.parameters():
        assert weight.dtype == (torch.float32 if weight.requires_grad else torch.bfloat16)
        if not weight.requires_grad:
            assert torch.equal(full(weight).bfloat16(), weight)
    assert full_weights(state.model)
    _, whole = prepared(make_backbone(family), "bf16", "full")
    assert not full_weights(whole.model)
    assert {p.dtype for p in whole.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_can_compute_and_be_exported_exactly(
    make_backbone: Callable[[str], Path], family: str
) -> None:
    """With its full weights it is the float32 model, as in exports; afterwards it rounds again."""
    folder = make_backbone(family)
    (_, plain), (method, state) = (prepared(folder, p) for p in ("fp32", "bf16"))
    batch = batch_for(state)

    def logits(model: nn.Module) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(**batch.inputs).logits
        return found

    rounded = logits(state.model)
    assert not torch.equal(rounded, logits(plain.model))
    with InFull():
        assert torch.equal(logits(state.model), logits(plain.model))
    assert torch.equal(logits(state.model), rounded)
    merged, expected = method.merge(state, 1), method.merge(plain, 1)
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_logits_of_a_language_model_are_products_in_float32(family: str, tmp_path: Path) -> None:
    """Their layer keeps its weight, though the embedding that shares it is rounded."""
    task = load("syn_data2text")
    backbone = tiny_families.load(family, tmp_path, task.head, task.n_outputs)
    run = make_runs("lora", precision="bf16")[0]
    run = run.__class__(run.cell.model_copy(update={"task": task}), run.seed)
    _, state = set_up([run], backbone, random_data(), CPU)
    model: Any = state.model
    logits, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert logits.weight.dtype == torch.float32
    assert embedding.weight.dtype == torch.bfloat16
    ids = torch.tensor([[5, 6, 7]])
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.dtype == torch.float32


@pytest.mark.parametrize("family", ["flint", "deepseek_v4", "inkling2_text"])
def test_types_are_those_of_the_library(family: str, tmp_path: Path) -> None:
    """Routers, sinks and scales that a family keeps in float32 stay so; logits do for us alone."""
    folder = tiny_families.save(family, tmp_path, LANGUAGE_MODEL)
    auto = transformers.AutoModelForCausalLM
    expected = auto.from_pretrained(folder, dtype=torch.bfloat16)
    ours = auto.from_pretrained(folder).requires_grad_(requires_grad=False)
    round_frozen(ours, roundable(ours))
    types = {name: weight.dtype for name, weight in ours.named_parameters()}
    assert types.pop("lm_head.weight") == torch.float32
    own = {name: weight.dtype for name, weight in expected.named_parameters()}
    assert types == {name: own[name] for name in types}
    assert {*types.values()} == {torch.bfloat16, torch.float32}
