"""Structural patterns of dropping: single elements, whole columns, or one contiguous span.

Source: Wang et al. 2024, arXiv:2403.00812, figure 2 and section 3. A column is a key for all
queries of a head, or a token with all its features; heads and examples are drawn independently.
Masks come from the run axis, so a run's draws depend neither on its neighbours nor on padding.
`Tokens` says where padding is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gapbench.bench.models.run_axis import RunAxis

Pattern = Literal["element", "column", "span"]

_LEVELS = 1 << 16  # resolution of rates and of span starts, as of masks


class Tokens:
    """Token counts of the rows in the current forward pass.

    Padding is on the right, as `bench.data.batching` puts it.
    """

    def __init__(self) -> None:
        self._mask: Tensor | None = None

    def watch(self, model: nn.Module) -> None:
        """Read the attention mask at every call of a model."""

        def note(_: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any]) -> None:
            self._mask = inputs.get("attention_mask")

        model.register_forward_pre_hook(note, with_kwargs=True)

    def lengths(self, rows: int, tokens: int, device: torch.device) -> Tensor:
        """Return the number of tokens in each row without padding; (rows,) integers."""
        if self._mask is None:
            return torch.full((rows,), tokens, device=device)
        return self._mask.sum(dim=1)

    def pick(self, x: Tensor, *, last: bool) -> Tensor:
        """Return the first or the last real token of (rows, tokens, features); (rows, features)."""
        if x.dim() == 2:
            return x
        rows, tokens = x.shape[:2]
        lengths = self.lengths(rows, tokens, x.device)
        return x[torch.arange(rows, device=x.device), lengths - 1 if last else 0]


@dataclass(frozen=True)
class Site:
    """One place in the model where something is dropped.

    Attributes:
        axis: the runs.
        name: name of the place; unique, so that no two share a mask.
        drop_rates: (all runs,), probability of dropping.
        pattern: which entries are dropped together.
        tokens: token counts, which exclude padding.
        rescale: whether kept entries are multiplied by 1 / (1 - rate); attention rescales itself.
    """

    axis: RunAxis
    name: str
    drop_rates: Tensor
    pattern: Pattern
    tokens: Tokens
    rescale: bool = False

    def keys(self, rows: int, heads: int, queries: int, keys: int) -> Tensor:
        """Draw which keys are kept; (rows, heads, queries or 1, keys) bool."""
        batch = rows // self.axis.size
        if self.pattern == "element":
            keep, _ = self.axis.keep_mask(self.drop_rates, self.name, (batch, heads, queries, keys))
            return keep.flatten(0, 1)
        keep, _ = self._columns((batch, heads), keys)
        return keep.flatten(0, 1).unsqueeze(2)

    def drop(self, x: Tensor) -> Tensor:
        """Drop from hidden states, (rows, tokens, features) or (rows, features)."""
        runs = self.axis.size
        wide = x if x.dim() == 3 else x.unsqueeze(1)
        shape = (len(x) // runs, *wide.shape[1:])
        if self.pattern == "element":
            keep, scale = self.axis.keep_mask(self.drop_rates, self.name, shape)
        else:
            columns, scale = self._columns(shape[:1], shape[1])
            keep, scale = columns.unsqueeze(-1), scale.unsqueeze(-1)
        factor = keep * scale if self.rescale else keep
        return (wide.view(runs, *shape) * factor).view_as(x).to(x.dtype)

    def _columns(self, groups: Sequence[int], positions: int) -> tuple[Tensor, Tensor]:
        """Draw the kept positions of each group; the first group axis is the batch.

        Returns:
            (runs, *groups, positions) bool, and the reciprocal keep rate, (runs, 1, ...).
        """
        shape = (*groups, positions)
        if self.pattern == "column":
            return self.axis.keep_mask(self.drop_rates, self.name, shape)
        tall = (-1, *(1,) * len(groups))
        levels = (self.axis.select(self.drop_rates).double() * _LEVELS).round().long().view(tall)
        lengths = self.tokens.lengths(self.axis.size * groups[0], positions, self.axis.device)
        lengths = lengths.view(-1, groups[0], *tall[2:])
        sizes = ((levels * lengths + _LEVELS // 2) // _LEVELS).clamp(min=1) * (levels > 0)
        starts = self._uniform(groups) * (lengths - sizes + 1) // _LEVELS
        since = torch.arange(positions, device=self.axis.device) - starts.unsqueeze(-1)
        keep = (since < 0) | (since >= sizes.unsqueeze(-1))
        return keep, (_LEVELS / (_LEVELS - levels)).unsqueeze(-1)

    def _uniform(self, groups: Sequence[int]) -> Tensor:
        """Draw integers below 65,536 from fair coins; (runs, *groups)."""
        coins, _ = self.axis.keep_mask(
            torch.full_like(self.drop_rates, 0.5), self.name, (*groups, 16)
        )
        return (coins.long() << torch.arange(16, device=coins.device)).sum(dim=-1)
