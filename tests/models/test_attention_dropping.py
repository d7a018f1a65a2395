"""Dropping in attention: forward and backward forms, lost rows, and what else layers ask for.

With the logits as queries and unit matrices as keys and values, an attention function returns its
weights; so the functions that train are the ones tested here. Reference forms: Wang et al. 2024,
equations 4 to 10, worked out as Jacobians.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models import attention
from gapbench.bench.models.attention import attend, drop_in
from gapbench.bench.models.attention_dropping import AttentionDropping, surviving

pytestmark = pytest.mark.usefixtures("kernel")

BATCH, HEADS, QUERIES, KEYS = 3, 2, 5, 7
KINDS = ("dropkey", "dropattention", "with gradient")


class _Attention(nn.Module):
    """A stand-in for an attention layer of the library."""

    def __init__(self, *, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal


class _Model(nn.Module):
    """A stand-in for a model whose attention asks the registry."""

    def set_attn_implementation(self, name: str) -> None:
        """Accept what a model of the library does."""
        assert name == attention.IMPLEMENTATION


def _weights(
    logits: Tensor,
    keep: Tensor,
    kind: str,
    *,
    visible: Tensor | None = None,
    is_causal: bool = False,
    **asked: Any,
) -> Tensor:
    """Return the weights that a way of dropping makes of (rows, heads, queries, keys) logits."""

    def draw(*shape: int) -> Tensor:
        assert shape == logits.shape
        return keep

    dropping = AttentionDropping(
        logits=draw if kind == "dropkey" else None,
        weights=None if kind == "dropkey" else draw,
        stop_gradient=kind != "with gradient",
    )
    module = _Attention(is_causal=is_causal)
    drop_in(_Model(), module, dropping)
    unit = torch.eye(logits.shape[-1], dtype=logits.dtype).expand(*logits.shape[:2], -1, -1)
    out, _ = attend(module, logits, unit, unit, visible, scaling=1.0, **asked)
    return out.transpose(1, 2)


def _logits(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, HEADS, QUERIES, KEYS, generator=generator).to(dtype)


def _keep(pattern: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if pattern == "span":
        place = torch.arange(KEYS) - torch.randint(0, 5, (BATCH, HEADS, 1, 1), generator=generator)
        return (place < 0) | (place > 2)
    queries = QUERIES if pattern == "element" else 1
    return torch.rand(BATCH, HEADS, queries, KEYS, generator=generator) > 0.4


@pytest.mark.parametrize("pattern", ["element", "column", "span"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropkey_and_dropattention_agree_forward(pattern: str, dtype: torch.dtype) -> None:
    """Softmax of what is left equals renormalised weights, with and without a constant divisor."""
    keep = _keep(pattern)
    first, *others = (_weights(_logits(dtype), keep, kind) for kind in KINDS)
    reference = _logits(dtype).masked_fill(~keep, -torch.inf).softmax(-1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert not torch.equal(keep, torch.ones_like(keep))
    for weights in (first, *others):
        torch.testing.assert_close(weights, reference, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["element", "column", "span"])
def test_rows_sum_to_one_and_dropped_entries_are_zero(pattern: str, kind: str) -> None:
    """Nothing needs rescaling, and nothing leaks through a dropped entry."""
    keep = _keep(pattern)
    weights = _weights(_logits(), keep, kind)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES).double())
    assert (weights[~keep.expand_as(weights)] == 0).all()
    assert (weights[keep.expand_as(weights)] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_of_surviving_keys_are_unchanged(kind: str) -> None:
    """Dropping moves weight to the other keys in proportion to what they had."""
    keep = _keep("element")
    ratio = _weights(_logits(), keep, kind) / _logits().softmax(-1)
    kept = ratio.masked_fill(~keep, torch.nan)
    spread = kept.nan_to_num(nan=-1e9).amax(-1) - kept.nan_to_num(nan=1e9).amin(-1)
    assert spread.max() < 1e-12
    assert ratio.amax(-1).min() > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_lose_all_keys_get_them_back(kind: str, dtype: torch.dtype) -> None:
    """A fully dropped head attends as if nothing were dropped, with finite gradients."""
    keep = _keep("column")
    keep[0] = False
    logits = _logits(dtype).requires_grad_()
    weights = _weights(logits, keep, kind)
    weights.square().sum().backward()
    assert weights.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    expected = _logits(dtype).float().softmax(-1)[0]
    torch.testing.assert_close(weights[0].float(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_first_causal_row_keeps_its_only_key(kind: str, dtype: torch.dtype) -> None:
    """Where the library leaves the causal mask to the kernel, each row restores what it may see."""
    logits = _logits(dtype)[..., :KEYS, :QUERIES]
    keep = torch.tensor([False, False, True, False, True]).expand(BATCH, HEADS, 1, QUERIES)
    weights = _weights(logits, keep, kind, is_causal=True).float()
    past = torch.ones(QUERIES, QUERIES).tril().bool()
    left = torch.stack([row & keep[0, 0, 0] if i > 1 else row for i, row in enumerate(past)])
    expected = logits.float().masked_fill(~left, -torch.inf).softmax(-1)
    torch.testing.assert_close(weights, expected, rtol=0, atol=0.01)
    assert (weights[:, :, 0, 0] == 1).all()


@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_padded_keys_keep_weight_zero(kind: str, *, expanded: bool) -> None:
    """No mask brings padding back, not even where all real keys are dropped."""
    real = torch.arange(KEYS) < torch.tensor([4, 7, 2])[:, None]
    visible = real[:, None, None].expand(-1, -1, QUERIES, -1)
    visible = visible if expanded else visible.contiguous()
    keep = _keep("column")
    keep[2] = torch.arange(KEYS) >= 2
    weights = _weights(_logits(), keep, kind, visible=visible)
    assert (weights[~visible.expand_as(weights)] == 0).all()
    assert (weights[2, ..., :2] > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES).double())


def _jacobian(kind: str, logits: Tensor, keep: Tensor) -> Tensor:
    """Return d weights / d logits of one query row, (keys, keys)."""

    def row(g: Tensor) -> Tensor:
        return _weights(g.view(1, 1, 1, -1), keep.view(1, 1, 1, -1), kind).flatten()

    jacobian: Tensor = torch.autograd.functional.jacobian(row, logits)
    return jacobian


ROW = torch.tensor([0.3, -1.2, 0.8, 0.1, -0.4, 1.5, 0.0], dtype=torch.float64)
ROW_KEEP = torch.tensor([True, False, True, True, False, True, True])


def test_jacobians_equal_their_closed_forms() -> None:
    """DropKey: diag(w') - w' w'^T, as without a constant divisor; with one: diag(w') - w' w^T."""
    after = _weights(ROW.view(1, 1, 1, -1), ROW_KEEP.view(1, 1, 1, -1), "dropkey").flatten()
    before = ROW.softmax(-1)
    dropkey = torch.diag(after) - torch.outer(after, after)
    forms = {
        "dropkey": dropkey,
        "with gradient": dropkey,
        "dropattention": torch.diag(after) - torch.outer(after, before),
    }
    for kind, form in forms.items():
        torch.testing.assert_close(_jacobian(kind, ROW, ROW_KEEP), form, rtol=0, atol=1e-14)


def test_only_a_constant_divisor_leaks_gradient_into_dropped_logits() -> None:
    """Gradient at a dropped logit: -w'_u w_m under DropAttention, exactly 0 under DropKey."""
    assert (_jacobian("dropkey", ROW, ROW_KEEP)[:, ~ROW_KEEP] == 0).all()
    free = _jacobian("with gradient", ROW, ROW_KEEP)[:, ~ROW_KEEP]
    torch.testing.assert_close(free, torch.zeros_like(free), rtol=0, atol=1e-16)
    after = ROW.masked_fill(~ROW_KEEP, -torch.inf).softmax(-1)
    leak = -torch.outer(after, ROW.softmax(-1)[~ROW_KEEP])
    actual = _jacobian("dropattention", ROW, ROW_KEEP)[:, ~ROW_KEEP]
    torch.testing.assert_close(actual, leak, rtol=0, atol=1e-15)
    assert (actual[ROW_KEEP] < 0).all()


def test_diagonal_ratio_falls_as_the_dropped_logit_rises() -> None:
    """DropKey's own-logit gradient is k = (1 - w'_u) / (1 - w_u) < 1 of DropAttention's."""
    ratios = []
    for raised in (0.0, 1.0, 2.0, 4.0):
        logits = ROW.clone()
        logits[1] += raised
        dropkey = _jacobian("dropkey", logits, ROW_KEEP).diagonal()[ROW_KEEP]
        constant = _jacobian("dropattention", logits, ROW_KEEP).diagonal()[ROW_KEEP]
        after = logits.masked_fill(~ROW_KEEP, -torch.inf).softmax(-1)[ROW_KEEP]
        before = logits.softmax(-1)[ROW_KEEP]
        torch.testing.assert_close(dropkey / constant, (1 - after) / (1 - before))
        ratios.append(dropkey / constant)
    stacked = torch.stack(ratios)
    assert ((stacked >= 0) & (stacked < 1)).all()
    assert (stacked.diff(dim=0) < 0).all()


def test_sums_of_the_jacobians_over_outputs_and_over_logits() -> None:
    """Over outputs: 0 for DropKey, w' - w with a constant divisor. Over logits: 0 for both."""
    after, before = ROW.masked_fill(~ROW_KEEP, -torch.inf).softmax(-1), ROW.softmax(-1)
    expected = {"dropkey": torch.zeros_like(after), "dropattention": after - before}
    for kind, sums in expected.items():
        jacobian = _jacobian(kind, ROW, ROW_KEEP)
        torch.testing.assert_close(jacobian.sum(0), sums, rtol=0, atol=1e-15)
        torch.testing.assert_close(jacobian.sum(1), torch.zeros_like(after), rtol=0, atol=1e-15)


def test_surviving_without_a_mask_restores_lost_rows() -> None:
    """With no library mask, all keys are visible."""
    keep = torch.tensor([[[[False, False]], [[True, False]]]])
    assert surviving(None, keep).tolist() == [[[[True, True]], [[True, False]]]]


def test_grouped_queries_share_keys_and_drop_on_their_own() -> None:
    """Four query heads on two key heads equal four heads on repeated keys, for both kernels."""
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(2, 4, 3, 6, generator=generator).double()
    key, value = (torch.randn(2, 2, 5, 6, generator=generator).double() for _ in range(2))
    keep = torch.rand(2, 4, 1, 5, generator=generator) > 0.4
    wide_key, wide_value = (x.repeat_interleave(2, dim=1) for x in (key, value))
    logits = (query @ wide_key.transpose(-1, -2)) / 6**0.5
    expected = logits.masked_fill(~keep, -torch.inf).softmax(-1) @ wide_value
    for draws in ({"logits": lambda *_: keep}, {"weights": lambda *_: keep}):
        module = _Attention()
        module.num_key_value_groups = 2
        drop_in(_Model(), module, AttentionDropping(**draws))
        out, _ = attend(module, query, key, value, None)
        torch.testing.assert_close(out.transpose(1, 2), expected)


CAPPED, SUNK = {"softcap": 2.0}, {"s_aux": torch.tensor([0.5, -1.0], dtype=torch.float64)}


def _reference(logits: Tensor, keep: Tensor, asked: dict[str, Any]) -> Tensor:
    """Return softmax weights under a cap, beside a sink, or with a bias, worked out plainly."""
    cap, sinks, bias = (asked.get(name) for name in ("softcap", "s_aux", "position_bias"))
    capped = logits if cap is None else cap * torch.tanh(logits / cap)
    exponentials = ((capped if bias is None else capped + bias) * 1.0).exp() * keep
    total = exponentials.sum(-1, keepdim=True)
    return exponentials / (total if sinks is None else total + sinks.exp().view(-1, 1, 1))


@pytest.mark.parametrize(
    "asked",
    [CAPPED, SUNK, CAPPED | SUNK, {"position_bias": _logits()[:1]}],
    ids=lambda a: "+".join(a),
)
@pytest.mark.parametrize("kind", [*KINDS, "nothing"])
def test_caps_sinks_and_biases_stay_where_keys_fall(kind: str, asked: dict[str, Any]) -> None:
    """Dropped keys leave the weight of a sink, the cap of logits and a bias in place."""
    keep = torch.ones_like(_keep("element")) if kind == "nothing" else _keep("element")
    weights = _weights(_logits(), keep, kind, **asked)
    torch.testing.assert_close(weights, _reference(_logits(), keep, asked), rtol=0, atol=1e-14)


def test_what_a_layer_asks_for_and_dropping_does_not_know_is_refused() -> None:
    """An argument that would be lost is named, and a model that passes it is told before a run."""
    module = _Attention()
    drop_in(_Model(), module, AttentionDropping(logits=lambda *_: _keep("column")))
    inputs = [torch.randn(BATCH, HEADS, KEYS, 4) for _ in range(3)]
    for lost in ({"indices": torch.ones(1)}, {"temperature": 0.5}):
        with pytest.raises(
            BackboneError, match=f"takes '{next(iter(lost))}', which dropping does not"
        ):
            attend(module, *inputs, None, **lost)
    attend(module, *inputs, None, sliding_window=3, output_attentions=True, max_length_q=None)
    attend(module.eval(), *inputs, None, indices=torch.ones(1))
