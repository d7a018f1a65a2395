"""Patterns of dropping: shapes, rates, spans, rescaling, and what masks depend on."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.models.run_axis import RunAxis
from gapbench.methods._shared.dropout_masks import Pattern, Site, Tokens
from tests.support.dropping_run import PATTERNS
from tests.support.small_stack import CPU


def _site(
    pattern: Pattern, rates: list[float], *, rescale: bool = True, lengths: list[int] | None = None
) -> Site:
    axis = RunAxis(range(10, 10 + len(rates)), CPU, torch.float64)
    tokens = Tokens()
    if lengths is not None:
        model = _Reader()
        tokens.watch(model)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        model(attention_mask=mask.long())
    return Site(axis, "site", axis.vector(rates), pattern, tokens, rescale)


class _Reader(nn.Module):
    """A model that only has a mask."""

    def forward(self, attention_mask: Tensor) -> None:
        """Do nothing."""


@pytest.mark.parametrize("pattern", PATTERNS)
def test_key_masks_have_the_shape_of_their_pattern(pattern: Pattern) -> None:
    """Columns and spans are shared by the queries of a head; heads and examples are not alike."""
    keep = _site(pattern, [0.3, 0.3]).keys(8, 4, 11, 12)
    assert keep.shape == (8, 4, 11 if pattern == "element" else 1, 12)
    rows = keep.flatten(0, 1).flatten(1)
    distinct = {tuple(row) for row in rows.tolist()}
    assert len(distinct) > (16 if pattern != "span" else 5)
    if pattern == "element":
        assert all(not torch.equal(m[0], m[1]) for m in keep.flatten(0, 1))


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_spans_are_contiguous_and_of_the_stated_length(rate: float) -> None:
    """One span of max(1, round(rate * tokens)) inside the real tokens, its start uniform."""
    lengths = [10, 7, 3, 1] * 500
    dropped = ~_site("span", [rate], lengths=lengths).keys(len(lengths), 2, 1, 12).squeeze(2)
    for length in (10, 7, 3, 1):
        spans = dropped[[i for i, n in enumerate(lengths) if n == length]].flatten(0, 1)
        size = max(1, int(rate * length + 0.5))
        first = spans.int().argmax(-1)
        place = torch.arange(12)
        expected = (place >= first[:, None]) & (place < first[:, None] + size)
        assert torch.equal(spans, expected)
        starts = torch.bincount(first, minlength=length - size + 1)
        share = len(spans) / (length - size + 1)
        assert len(starts) == length - size + 1
        assert (starts - share).abs().max() < 5 * share**0.5


def test_column_keys_are_dropped_at_the_rate() -> None:
    """The share of dropped keys is the rate, in each of the runs."""
    keep = _site("column", [0.0, 0.1, 0.4]).keys(3 * 64, 8, 5, 40)
    shares = 1 - keep.view(3, -1).double().mean(1)
    assert shares[0] == 0
    assert shares[1:].tolist() == pytest.approx([0.1, 0.4], abs=0.01)


def test_element_dropping_keeps_the_expectation() -> None:
    """Entries are 0 or x / (1 - rate), zeros come at the rate, and the mean over masks is x."""
    site = _site("element", [0.25])
    x = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0)).double()
    total = torch.zeros_like(x)
    zeros = 0.0
    for site.axis.step in range(2000):
        out = site.drop(x)
        assert torch.allclose(out, torch.where(out == 0, 0, x / 0.75), rtol=0, atol=1e-12)
        total += out
        zeros += (out == 0).double().mean().item()
    assert zeros / 2000 == pytest.approx(0.25, abs=0.003)
    assert ((total / 2000 - x).abs() / x.abs()).max() < 5 * (0.25 / 0.75 / 2000) ** 0.5


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("pattern", ["column", "span"])
def test_columns_and_spans_drop_whole_tokens(pattern: Pattern, *, rescale: bool) -> None:
    """A token has all of its features or none; what is kept is rescaled only where asked."""
    x = torch.ones(8, 12, 5, dtype=torch.float64)
    out = _site(pattern, [0.25], rescale=rescale).drop(x)
    kept = 1 / 0.75 if rescale else 1.0
    assert (out == out[..., :1]).all()
    assert sorted(out.unique().tolist()) == pytest.approx([0, kept])
    if pattern == "span":
        assert ((out[..., 0] == 0).sum(1) == 3).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_depend_on_neither_padding_nor_neighbours(pattern: Pattern) -> None:
    """A run's masks are the same alone, in a stack, and in a wider batch."""
    lengths = [5, 4, 5]
    alone = _site(pattern, [0.4], lengths=lengths)
    together = _site(pattern, [0.4, 0.2, 0.0], lengths=lengths * 3)
    narrow, wide = alone.keys(3, 2, 5, 5), together.keys(9, 2, 9, 9)
    queries = 5 if pattern == "element" else 1
    assert torch.equal(wide[:3, :, :queries, :5], narrow)
    assert wide[6:].all()
    x = torch.ones(9, 9, 4, dtype=torch.float64)
    assert torch.equal(together.drop(x)[:3, :5], alone.drop(x[:3, :5]))
    assert torch.equal(together.drop(x)[6:], x[6:])
    together.axis.active = (0, 2)
    together = replace(together, tokens=_site(pattern, [0.1], lengths=lengths * 2).tokens)
    assert torch.equal(together.drop(x[:6])[:3, :5], alone.drop(x[:3, :5]))


def test_sites_of_two_passes_differ() -> None:
    """Within a branch of the run axis, masks are others, and the same when drawn again."""
    site = _site("column", [0.5])
    first = site.keys(4, 2, 6, 30)
    with site.axis.branch("second"):
        second, again = site.keys(4, 2, 6, 30), site.keys(4, 2, 6, 30)
    assert torch.equal(second, again)
    assert not torch.equal(first, second)
    assert torch.equal(site.keys(4, 2, 6, 30), first)
