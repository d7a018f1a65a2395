"""Dropping in attention, in models of the library: each way in, and outputs where nothing falls."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.models import attention
from gapbench.bench.models.attention import drop_in
from gapbench.bench.models.attention_dropping import AttentionDropping, surviving
from tests.support.tiny_families import VOCABULARY, decoder

pytestmark = pytest.mark.usefixtures("kernel")

DEBERTAS = [transformers.DebertaConfig, transformers.DebertaV2Config]


def _deberta(
    kind: type[transformers.PretrainedConfig],
) -> tuple[transformers.PreTrainedModel, nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = kind(
        vocab_size=20,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.AutoModel.from_config(config).double().train()
    mask = (torch.arange(6) < torch.tensor([6, 4])[:, None]).long()
    ids = torch.arange(12).view(2, 6) + 3
    return model, attention.layers(model)[1], {"input_ids": ids, "attention_mask": mask}


def _recorded(
    model: transformers.PreTrainedModel, layer: nn.Module, inputs: dict[str, Tensor]
) -> Tensor:
    """Return the attention weights of one layer, after every hook so far."""
    found: list[Tensor] = []
    handle = layer.attention.self.dropout.register_forward_hook(lambda _, __, w: found.append(w))
    model(**inputs)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("position", ["logits", "weights"])
@pytest.mark.parametrize("kind", DEBERTAS)
def test_deberta_drops_through_its_hooks(
    kind: type[transformers.PretrainedConfig], position: str
) -> None:
    """Its weights are those of the undropped layer, renormalised over the keys that are left."""
    model, layer, inputs = _deberta(kind)
    before = _recorded(model, layer, inputs)
    keep = torch.rand(2, 3, 1, 6, generator=torch.Generator().manual_seed(5)) > 0.4
    keep[0, 0] = False
    drop_in(model, layer, AttentionDropping(**{position: lambda *_: keep}))
    after = _recorded(model, layer, inputs)
    real = inputs["attention_mask"].bool()
    left = surviving(real[:, None, None] & real[:, None, :, None], keep)
    kept = before * left
    # Rows of padding see nothing, and their weights mean nothing.
    actual, expected = (w.transpose(1, 2)[real] for w in (after, kept / kept.sum(-1, keepdim=True)))
    torch.testing.assert_close(actual, expected)
    assert (actual == 0).any()


@pytest.mark.parametrize("kind", DEBERTAS)
def test_deberta_drops_nothing_in_evaluation(kind: type[transformers.PretrainedConfig]) -> None:
    """In evaluation mode the hooks leave mask and weights alone, bit for bit."""
    model, layer, inputs = _deberta(kind)
    plain = model.eval()(**inputs).last_hidden_state
    nothing = AttentionDropping(
        logits=lambda *shape: torch.zeros(shape, dtype=torch.bool),
        weights=lambda *shape: torch.zeros(shape, dtype=torch.bool),
    )
    drop_in(model, layer, nothing)
    assert torch.equal(model(**inputs).last_hidden_state, plain)


FAMILIES = {
    "cohere": {"use_qk_norm": True},
    "gemma2": {"attn_logit_softcapping": 2.0},
    "vaultgemma": {"attn_logit_softcapping": 2.0},
    "gpt2": {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False},
    "gpt_oss": {},
    "granite": {"attention_multiplier": 0.5},
    "llama": {},
    "llama4_text": {"attention_chunk_size": 8, "no_rope_layers": [0, 1], "floor_scale": 4},
    "mistral": {"sliding_window": 8},
    "opt": {},
}


@pytest.mark.parametrize("tokens", [9, 70])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_the_models_own_where_nothing_falls(family: str, tokens: int) -> None:
    """Training and scoring: logits and gradients equal those of the model's own attention."""
    model = decoder(family, **FAMILIES[family])
    length = torch.tensor([tokens, tokens - 4])
    mask = (torch.arange(tokens) < length[:, None]).long()
    ids = torch.randint(3, VOCABULARY, (2, tokens), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": mask}
    before = _logits_and_gradient(model.train(), inputs)
    asked = []

    def all_kept(*shape: int) -> Tensor:
        asked.append(shape)
        return torch.ones(*shape[:2], 1, shape[3], dtype=torch.bool)

    for layer in attention.layers(model):
        drop_in(model, layer, AttentionDropping(all_kept, all_kept))
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(_logits_and_gradient(model, inputs), before, **close)
    assert len(asked) == 2 * len(attention.layers(model))
    torch.testing.assert_close(_logits_and_gradient(model.eval(), inputs), before, **close)


def _logits_and_gradient(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    embedding = model.get_input_embeddings().weight
    logits = model(**inputs).logits[inputs["attention_mask"].bool()]
    return [logits, *torch.autograd.grad(logits.square().mean(), [embedding])]


def test_model_whose_attention_cannot_drop_is_told_from_one_whose_can() -> None:
    """A model must ask for a mask in each layer, and be itself where nothing falls."""
    inputs = {
        "input_ids": torch.tensor([[3, 4, 5], [6, 7, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
    }

    def reason(model: Any) -> str:
        return attention.dropping_unsupported_reason(model, inputs) or "none"

    assert reason(decoder("gpt_oss")) == "none"
    assert "no attention function" in reason(decoder("bloom"))
    assert "several times in a pass" in reason(decoder("diffllama"))
    softmax = attention._softmax
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            attention, "_softmax", lambda logits, seen, _sinks: softmax(logits, seen, None)
        )
        assert "outputs are off by" in reason(decoder("gpt_oss"))
    lacking = decoder("llama")
    lacking.model.layers[1].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    assert "only 1 of its 2 layers" in reason(lacking)
