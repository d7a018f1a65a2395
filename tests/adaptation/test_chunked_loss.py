"""Logits made for some targets at a time: the same losses and gradients, from less memory."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from gapbench.bench.adaptation import chunked_loss, registry
from gapbench.bench.adaptation.chunked_loss import model_losses
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.data.batching import Batch
from gapbench.bench.data.encoded import IGNORED
from gapbench.bench.models import attention, head_hooks
from tests.support import causal_files, tiny_families
from tests.support.causal_files import METHODS, TELL, make_decoder
from tests.support.less_memory import changed
from tests.support.small_stack import train

TAILED = ["llama", "gpt2", "gemma2", "cohere", "granite", "opt", "gpt_neox", "phi", "mistral"]
"""Families whose head follows the body at once, is tied to it, or whose logits are scaled, capped
or shifted."""

TASK = causal_files.make_task(TELL)


class Largest(TorchDispatchMode):
    """Records the size of the largest softmax."""

    most = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._log_softmax.default:
            self.most = max(self.most, args[0].numel())
        return func(*args, **(kwargs or {}))


def decoder(family: str, folder: Path) -> tuple[Any, Tensor]:
    """Return a random decoder in double precision, and its only weight that trains."""
    backbone = tiny_families.load(family, folder, LANGUAGE_MODEL, precision="fp64")
    model = backbone.model()
    for weight in model.parameters():
        weight.requires_grad_(False)
    first = next(attention.layers(model)[0].parameters())
    first.requires_grad_()
    head_hooks.attach(model, LANGUAGE_MODEL)
    return model, first


def batch(rows: int = 5, tokens: int = 9) -> Batch:
    """Return rows of 3 to 7 targets."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, tiny_families.VOCABULARY, (rows, tokens), generator=generator)
    targets = ids[:, 2:].clone()
    for row in range(rows):
        targets[row, 3 + row :] = IGNORED
    positions = torch.arange(1, tokens - 1).expand(rows, -1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "positions": positions}
    return Batch(inputs, targets, np.full(1, rows * tokens))


@pytest.mark.parametrize("family", TAILED)
def test_losses_and_gradients_are_those_of_all_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a family does to its logits; each target has a factor of its own."""
    model, weight = decoder(family, tmp_path)
    given = batch()
    factors = torch.rand(given.targets.shape, dtype=torch.float64)
    found = []
    for most in (chunked_loss.MAX_LOGITS, 10 * tiny_families.VOCABULARY):
        monkeypatch.setattr(chunked_loss, "MAX_LOGITS", most)
        with Largest() as largest:
            losses = model_losses(model, given, TASK, 1)
            (gradient,) = torch.autograd.grad((losses * factors).sum(), weight)
        found.append((losses.detach(), gradient, largest.most))
    (whole, expected, all_logits), (parts, made, some) = found
    assert all_logits == given.targets.numel() * model.config.vocab_size
    assert some == 10 * model.config.vocab_size
    assert whole[0, 3:].eq(0).all()
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


def test_second_derivatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative of a squared gradient, as unrolled steps take it."""
    model, weight = decoder("llama", tmp_path)
    found = []
    for most in (chunked_loss.MAX_LOGITS, 1):
        monkeypatch.setattr(chunked_loss, "MAX_LOGITS", most)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no second derivatives
            losses = model_losses(model, batch(), TASK, 1)
            (gradient,) = torch.autograd.grad(losses.square().sum(), weight, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), weight)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_without_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is differentiated where nobody asks."""
    model, _ = decoder("gpt2", tmp_path)
    with torch.no_grad():
        whole = model_losses(model, batch(), TASK, 1)
        monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 1)
        monkeypatch.delattr(torch.autograd, "grad")
        parts = model_losses(model, batch(), TASK, 1)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_a_head_that_trains_is_not_taken_apart(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gradient needs all logits, whether it has a weight of its own or shares the embedding."""
    model, _ = decoder(family, tmp_path)
    model.get_output_embeddings().weight.requires_grad_()
    monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 1)
    with Largest() as largest:
        model_losses(model, batch(), TASK, 1).sum().backward()
    assert largest.most == batch().targets.numel() * model.config.vocab_size
    assert model.get_output_embeddings().weight.grad.any()


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_layer_before_the_logits_sees_all_targets(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What such a family does between its body and its logits is not taken for the body's."""
    model, _ = decoder(family, tmp_path)
    whole = model_losses(model, batch(), TASK, 1)
    monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 1)
    with Largest() as largest:
        again = model_losses(model, batch(), TASK, 1)
    assert torch.equal(again, whole)
    assert largest.most == batch().targets.numel() * model.config.vocab_size


def test_a_model_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error, its body is called again."""
    model, _ = decoder("llama", tmp_path)
    before = model(**batch().inputs).logits
    monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 1)
    wrong = Batch(batch().inputs, batch().targets + 1000, batch().tokens)
    with pytest.raises(IndexError):
        model_losses(model, wrong, TASK, 1)
    assert torch.equal(model(**batch().inputs).logits, before)
    assert "forward" not in vars(model.get_decoder())


def test_bfloat16_is_rounded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a hidden state in bfloat16 is that of all logits to the last bit or the next.

    A head and logits are float32 there.
    """
    model, weight = decoder("llama", tmp_path)
    model.bfloat16()
    head = model.get_output_embeddings().float()
    head.register_forward_pre_hook(lambda _, args: (args[0].float(), *args[1:]))
    factors, found = torch.full((), 1 / 7), []
    for most in (chunked_loss.MAX_LOGITS, 1):
        monkeypatch.setattr(chunked_loss, "MAX_LOGITS", most)
        hidden: list[Tensor] = []
        handle = model.get_decoder().register_forward_hook(
            lambda _module, _args, output, kept=hidden: kept.append(output.last_hidden_state)
        )
        losses = model_losses(model, batch(), TASK, 1)
        handle.remove()
        found.append(torch.autograd.grad((losses * factors).sum(), hidden[0])[0])
    assert found[0].dtype == torch.bfloat16
    assert weight.dtype == torch.bfloat16
    assert found[0].any()
    equal = (found[0] == found[1]).double().mean()
    assert equal > 0.99
    torch.testing.assert_close(found[1], found[0], rtol=2**-8, atol=0)


EVERY = [
    *METHODS.items(),
    ("bilora", {"estimator": "darts"}),
    ("blob", {}),
    ("dora", {}),
    ("full", {}),
    ("ivon", {}),
    ("monteclora", {}),
    ("neftune", {}),
    ("sam_lora", {}),
    ("swag_lora", {}),
    ("flexora", {"search_share": 0.5, "estimator": "unrolled"}),
]
WHOLE = {"full", "hiddenkey"}
"""A head that trains, and two passes whose logits are compared."""


@pytest.mark.parametrize(("name", "settings"), EVERY)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_training_gives_the_same_numbers(
    name: str,
    settings: dict[str, Any],
    family: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Masks, copies, probes, unrolled steps and parts of a batch included."""
    folder = make_decoder(tmp_path / family, family)
    data = causal_files.make(folder, TASK).data
    seeds = (0, 1) if registry.get(name).stackable else (0,)
    runs = causal_files.make_runs(TASK, name, seeds, **settings)
    if name in {"lora_dropout", "bilora"}:
        runs = changed(runs, accumulation=2, gradient_checkpointing=True)
    plain = train(folder, runs, data, scored=False).state.bank.values
    monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 200)
    counts = chunks(monkeypatch)
    again = train(folder, runs, data, scored=False).state.bank.values
    assert bool(counts) == (name not in WHOLE)
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-11)


def test_every_run_of_a_stack_has_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs together get logits of three times as many targets at a time as one run."""
    folder = make_decoder(tmp_path / "llama", "llama")
    data = causal_files.make(folder, TASK).data
    monkeypatch.setattr(chunked_loss, "MAX_LOGITS", 5 * len(causal_files.VOCABULARY))
    largest = []
    for seeds in ((0,), (0, 1, 2)):
        counts = chunks(monkeypatch)
        train(folder, causal_files.make_runs(TASK, "lora", seeds), data, scored=False)
        largest.append(max(counts))
    assert largest == [5, 15]


def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of targets of every chunk."""
    found: list[int] = []
    plain = chunked_loss._giving

    def noted(body: nn.Module, output: Any) -> AbstractContextManager[None]:
        found.append(output.last_hidden_state.shape[1])
        return plain(body, output)

    monkeypatch.setattr(chunked_loss, "_giving", noted)
    return found
