"""Masks, forward pass and gradients of LoRA Dropout in one layer of unequal widths."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from gapbench.bench.core.errors import MergeError
from gapbench.methods._shared.masked_lora import MaskedLora
from tests.support.masked_layer import (
    INSIDE,
    OUTSIDE,
    RANK,
    masked_layer,
    masks,
    outputs,
    unmasked,
    updates,
)

COPIES = 4000


def _input(*shape: int) -> Tensor:
    return torch.randn(*shape, INSIDE, generator=torch.manual_seed(1)).double()


def test_masks_are_as_long_as_the_input_and_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """One mask of the input's width and one of the output's is drawn, none of the rank's."""
    layer = masked_layer()
    drawn: list[tuple[str, Sequence[int]]] = []
    keep = layer.axis.keep_mask

    def spy(
        drop_rates: Tensor, site: str, shape: Sequence[int], *others: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        drawn.append((site, tuple(shape)))
        return keep(drop_rates, site, shape, *others, **named)

    monkeypatch.setattr(layer.axis, "keep_mask", spy)
    outputs(layer, _input(2, 3), copies=4)
    assert drawn == [("site.input", (4, INSIDE)), ("site.output", (4, OUTSIDE))]


def test_masked_output_equals_the_dense_formula() -> None:
    """Each copy adds the outer product of its masks, times scaling B A, to the frozen weight."""
    layer, x = masked_layer(), _input(2, 3)
    actual = outputs(layer, x, copies=4)
    for copy, (columns, rows) in enumerate(zip(*masks(layer, 4), strict=True)):
        weight = layer.weight + torch.outer(rows, columns) * unmasked(layer)
        torch.testing.assert_close(actual[copy], linear(x, weight, layer.base.bias))


def test_zeros_of_the_update_are_whole_rows_and_columns_and_the_rest_is_untouched() -> None:
    """An entry survives exactly where its row and its column do, with its unmasked value."""
    layer = masked_layer()
    full = unmasked(layer)
    seen = set()
    for columns, rows, update in zip(*masks(layer, 50), updates(layer, 50), strict=True):
        survives = torch.outer(rows, columns) == 1
        assert torch.equal(update != 0, survives)
        assert survives.sum() == rows.sum() * columns.sum()
        torch.testing.assert_close(update[survives], full[survives], rtol=1e-14, atol=0)
        seen.add(int(survives.sum()))
    assert len(seen) > 5


@pytest.mark.parametrize("rate", [0.2, 0.5])
@pytest.mark.parametrize("rescale", [False, True])
def test_masks_and_updates_have_the_expected_means(rate: float, rescale: bool) -> None:
    """Over 4,000 copies: kept 1 - p, zero entries 2p - p^2, mean update (1 - p)^2 of the whole."""
    layer = masked_layer(rate=rate, rescale=rescale)
    columns, rows = masks(layer, COPIES)
    drawn = updates(layer, COPIES)
    full = unmasked(layer)
    kept = 1 - rate
    deviation = (rate * kept / (COPIES * (INSIDE + OUTSIDE))) ** 0.5
    share = torch.cat([columns != 0, rows != 0], dim=1).double().mean().item()
    assert share == pytest.approx(kept, abs=5 * deviation)
    zeros = (drawn == 0).double().mean().item()
    assert zeros == pytest.approx(2 * rate - rate**2, abs=0.02)
    factor = 1.0 if rescale else kept**2
    # The value of an entry over its unmasked value has a deviation of at most kept^-1.
    torch.testing.assert_close(
        drawn.mean(0) / full, torch.full_like(full, factor), rtol=0, atol=5 / kept / COPIES**0.5
    )


def test_kept_entries_are_divided_by_the_kept_share_of_both_sides_if_asked() -> None:
    """With rescale, an entry that survives rate 0.5 is four times the unmasked one."""
    layer = masked_layer(rescale=True)
    (update,) = updates(layer, 1)
    survives = update != 0
    assert survives.any()
    torch.testing.assert_close(update[survives], 4 * unmasked(layer)[survives])


def test_one_mask_hits_all_tokens_and_examples_and_copies_differ() -> None:
    """Equal inputs of one copy have equal outputs wherever they stand; other copies do not."""
    x = _input(1, 1).expand(3, 4, -1)
    actual = outputs(masked_layer(), x, copies=2)
    for copy in actual:
        torch.testing.assert_close(copy, copy[:1, :1].expand_as(copy))
    assert not torch.allclose(actual[0], actual[1])


def test_masks_leave_the_frozen_weight_alone() -> None:
    """With B zero, every masked output is the base layer's, bit for bit."""
    layer, x = masked_layer(), _input(2, 3)
    layer.lora_B.data.zero_()
    assert torch.equal(outputs(layer, x, copies=1)[0], layer.base(x))
    torch.testing.assert_close(outputs(layer, x, copies=4), layer.base(x).expand(4, -1, -1, -1))


def test_masks_keep_the_rank_of_the_update() -> None:
    """A masked product has rank r wherever r rows and r columns survive, and else fewer."""
    layer = masked_layer()
    ranks = []
    for columns, rows, update in zip(*masks(layer, 99), updates(layer, 99), strict=True):
        expected = min(RANK, int(rows.sum()), int(columns.sum()))
        ranks.append(int(torch.linalg.matrix_rank(update)))
        assert ranks[-1] == expected
    assert ranks.count(RANK) > 10
    assert min(ranks) < RANK


def test_plain_passes_use_the_expected_or_the_raw_update() -> None:
    """A layer's expected output is the limit of the mean over masked ones; raw is four times it."""
    x = _input(2, 3)
    layer, raw = masked_layer(inference="expected"), masked_layer(inference="raw")
    expected = layer(x) - layer.base(x)
    torch.testing.assert_close(expected, linear(x, 0.25 * unmasked(layer)))
    torch.testing.assert_close(raw(x) - raw.base(x), 4 * expected)
    sampled = outputs(layer, x, COPIES) - layer.base(x)
    assert ((sampled.mean(0) - expected).abs() < 5 * sampled.std(0) / COPIES**0.5).all()
    rescaled = masked_layer(inference="expected", rescale=True)
    torch.testing.assert_close(rescaled(x), raw(x))


@pytest.mark.parametrize("inference", ["expected", "raw"])
def test_plain_weights_act_as_the_plain_pass(inference: str) -> None:
    """Where one pass scores a run, its update folds into the weight."""
    layer, x = masked_layer(inference=inference), _input(2, 3)
    folded = layer.plain(0)
    torch.testing.assert_close(linear(x, folded["weight"], folded["bias"]), layer(x))


def test_ensemble_cannot_be_folded_and_the_reason_names_the_way_out() -> None:
    """The error tells how many models score the run and which setting makes it one."""
    with pytest.raises(MergeError, match=r"ensemble of 6 masked models.*inference: expected"):
        masked_layer(test_instances=6).plain(0)


def test_rate_one_gives_the_base_layer() -> None:
    """With everything dropped, outputs are the frozen layer's, in masked and expected passes."""
    layer, x = masked_layer(rate=1.0), _input(2, 3)
    assert torch.equal(outputs(layer, x, copies=1)[0], layer.base(x))
    assert torch.equal(layer(x), layer.base(x))


def test_dropped_columns_and_rows_get_no_gradient() -> None:
    """Column j of A and row i of B have zero gradients exactly where their masks are zero."""
    layer = masked_layer()
    columns, rows = masks(layer, 1)
    outputs(layer, _input(2, 3), copies=1).square().sum().backward()
    grad_a, grad_b = _grads(layer)
    assert torch.equal(grad_a.abs().sum(0) > 0, columns[0] == 1)
    assert torch.equal(grad_b.abs().sum(1) > 0, rows[0] == 1)


def test_first_gradient_moves_kept_rows_of_b_only() -> None:
    """With B zero, the gradient of A is zero, and that of B is not on the kept rows."""
    layer = masked_layer()
    layer.lora_B.data.zero_()
    _, rows = masks(layer, 1)
    outputs(layer, _input(2, 3), copies=1).square().sum().backward()
    grad_a, grad_b = _grads(layer)
    assert grad_a.abs().sum() == 0
    assert torch.equal(grad_b.abs().sum(1) > 0, rows[0] == 1)


def _grads(layer: MaskedLora) -> tuple[Tensor, Tensor]:
    assert layer.lora_A.grad is not None
    assert layer.lora_B.grad is not None
    return layer.lora_A.grad[0], layer.lora_B.grad[0]


def test_masks_follow_seed_step_site_and_copy() -> None:
    """Seed, step and site decide a mask; how many copies run beside it does not."""
    layer = masked_layer()
    first, _ = masks(layer, 40)
    assert torch.equal(first, masks(masked_layer(), 40)[0])
    assert torch.equal(first[:3], masks(layer, 3)[0])
    assert not torch.equal(first, masks(masked_layer(seed=1), 40)[0])
    layer.axis.step = 1
    assert not torch.equal(first, masks(layer, 40)[0])
    assert torch.equal(first, masks(layer, 40, step=0)[0])
    with layer.masking.running(40):
        assert not torch.equal(first, layer.masking.draw("elsewhere", INSIDE)[0])


def test_variance_of_the_ensemble_falls_with_its_size() -> None:
    """Sixteen copies vary a sixteenth as much as one, over 300 draws."""
    layer, x = masked_layer(), _input(1)
    variances = [
        torch.stack([outputs(layer, x, n, step).mean(0) for step in range(300)]).var(0).mean()
        for n in (1, 16)
    ]
    assert (variances[0] / variances[1]).item() == pytest.approx(16, rel=0.35)
