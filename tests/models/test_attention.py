"""Plain attention over few tokens is what the library's fused attention is."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gapbench.bench.models import attention
from gapbench.bench.models.attention import IMPLEMENTATION, attend, take_over

ROWS, HEADS, WIDTH = 3, 4, 5


class _Layer(nn.Module):
    """A stand-in for an attention layer of the library."""

    def __init__(self, groups: int = 1, *, is_causal: bool = False) -> None:
        super().__init__()
        self.num_key_value_groups = groups
        self.is_causal = is_causal


def _inputs(queries: int, keys: int, groups: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(queries + keys)

    def draw(heads: int, tokens: int) -> Tensor:
        drawn = torch.randn(ROWS, heads, tokens, WIDTH, generator=generator, dtype=torch.float64)
        return drawn.requires_grad_()

    return [draw(HEADS, queries), *(draw(HEADS // groups, keys) for _ in range(2))]


def _padding(queries: int, keys: int) -> Tensor:
    lengths = torch.tensor([keys, keys // 2 + 1, 1])
    return (torch.arange(keys) < lengths[:, None])[:, None, None].expand(-1, 1, queries, -1)


def _triangle(queries: int, keys: int) -> Tensor:
    return torch.ones(ROWS, 1, queries, keys).tril(keys - queries).bool()


Attend = Callable[..., tuple[Tensor, Tensor | None]]


def _made(
    function: Attend, layer: nn.Module, inputs: list[Tensor], **asked: object
) -> list[Tensor]:
    """Return what a function makes of queries, keys and values, and its gradients."""
    out, _ = function(layer, *inputs, **asked)
    return [out, *torch.autograd.grad(out.square().sum(), inputs)]


@pytest.mark.parametrize("mask", [None, _padding, _triangle])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (15, 15), (16, 16), (33, 33), (1, 9)])
def test_plain_attention_equals_the_fused(
    mask: Callable[[int, int], Tensor] | None, is_causal: bool, groups: int, queries: int, keys: int
) -> None:
    """Outputs and gradients agree: with padding, causal, grouped, and for one new token."""
    layer = _Layer(groups, is_causal=is_causal)
    inputs = _inputs(queries, keys, groups)
    asked = {"attention_mask": mask and mask(queries, keys), "scaling": 0.3}
    with patch.object(attention, "_fused", side_effect=AssertionError):
        plain = _made(attend, layer, inputs, **asked)
    fused = _made(sdpa_attention_forward, layer, inputs, **asked)
    torch.testing.assert_close(plain, fused, rtol=1e-10, atol=1e-12)


def test_default_scaling_is_that_of_the_library() -> None:
    """One over the root of a head's width."""
    inputs = _inputs(6, 6)
    plain, fused = (
        _made(function, _Layer(), inputs, attention_mask=None)
        for function in (attend, sdpa_attention_forward)
    )
    torch.testing.assert_close(plain, fused, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (65, {}),
        (7, {"dropout": 0.5}),
        (7, {"position_bias": torch.ones(1, HEADS, 7, 7, dtype=torch.float64)}),
    ],
)
def test_many_tokens_and_what_else_is_asked_are_left_to_the_library(
    keys: int, asked: dict[str, object]
) -> None:
    """Plain products are for few tokens, and do neither dropout of weights nor biases."""
    queries = _inputs(keys, keys)
    with patch.object(attention, "_fused", return_value=(None, None)) as fused:
        attend(_Layer(), *queries, attention_mask=None, **asked)
    assert fused.call_count == 1
    assert asked.items() <= fused.call_args.kwargs.items()


def test_weights_too_large_to_keep_are_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens of very many rows are a large tensor all the same."""
    inputs = _inputs(7, 7)
    for most, calls in ((ROWS * HEADS * 49, 0), (ROWS * HEADS * 49 - 1, 1)):
        monkeypatch.setattr(attention, "_MANY", most)
        with patch.object(attention, "_fused", side_effect=sdpa_attention_forward) as fused:
            attend(_Layer(), *inputs, attention_mask=None)
        assert fused.call_count == calls


@pytest.mark.parametrize(("chosen", "then"), [("sdpa", IMPLEMENTATION), ("eager", "eager")])
def test_only_fused_attention_is_taken_over(
    make_backbone: Callable[[str], Path], chosen: str, then: str
) -> None:
    """A model that was told to use another keeps it."""
    model = transformers.AutoModel.from_pretrained(
        make_backbone("llama"), attn_implementation=chosen
    )
    take_over(model)
    assert model.config._attn_implementation == then


def test_mask_of_numbers_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doge's layers weigh keys by their mask; the same comes out of both kernels."""
    bias = torch.randn(ROWS, HEADS, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    asked = {"attention_mask": bias, "scaling": 0.3}
    with patch.object(attention, "_fused", side_effect=AssertionError):
        plain = _made(attend, _Layer(), _inputs(7, 7), **asked)
    monkeypatch.setattr(attention, "_FEW", 0)
    for function in (attend, sdpa_attention_forward):
        other = _made(function, _Layer(), _inputs(7, 7), **asked)
        torch.testing.assert_close(plain, other, rtol=1e-10, atol=1e-12)
