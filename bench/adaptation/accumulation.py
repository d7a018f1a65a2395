"""`accumulation`: the losses of a batch, whose gradients are taken from one part after another.

Only one part's activations are in memory at a time. The result is that of the whole batch: each
part counts by its targets, and masks are drawn for the places that its examples have in the batch.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gapbench.bench.adaptation.losses import target_counts
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.run_axis import RunAxis

Losses = Callable[[Batch], Tensor]
"""From a batch to the mean loss of each run over its targets, (runs,)."""


def accumulated(
    losses: Losses, batch: Batch, parts: int, model: nn.Module, axis: RunAxis
) -> Tensor:
    """Return each run's mean loss on a batch, (runs,), with gradients.

    Args:
        losses: gives those of any part of the batch.
        batch: the whole batch.
        parts: number of parts; fewer where a run's batch has fewer examples.
        model: holds all that trains, each number with the run axis, or of one run.
        axis: the runs.
    """
    if parts == 1:
        return losses(batch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    shares = partial(_shares, losses, batch, parts, axis)
    made: Tensor = _Accumulated.apply(shares, *parameters)  # type: ignore[no-untyped-call]
    return made


def _shares(losses: Losses, batch: Batch, parts: int, axis: RunAxis) -> Iterator[Tensor]:
    """Yield each part's share of the losses, (runs,); until the next, masks are that part's."""
    examples = len(batch.targets) // axis.size
    total = target_counts(batch.targets, axis.size)
    edges = np.linspace(0, examples, min(parts, examples) + 1).round().astype(int).tolist()
    for first, stop in pairwise(edges):
        part = batch.part(axis.size, first, stop)
        own = target_counts(part.targets, axis.size)
        with axis.part(first, stop, examples):
            made = losses(part)
            yield made * (own.to(made.dtype) / total)


class _Accumulated(torch.autograd.Function):
    """A sum of shares. Each is differentiated when it is made, so that its activations can go.

    Runs share no parameters, so a run's gradients are its own rows, and whatever factor its loss
    gets afterwards is a factor on these rows.
    """

    @staticmethod
    def forward(ctx: Any, shares: Callable[[], Iterator[Tensor]], *parameters: Tensor) -> Tensor:
        total: Tensor | None = None
        ctx.gradients = [torch.zeros_like(p) for p in parameters]
        with torch.enable_grad():
            for share in shares():
                found = torch.autograd.grad(share.sum(), parameters, allow_unused=True)
                for gradient, more in zip(ctx.gradients, found, strict=True):
                    if more is not None:
                        gradient.add_(more)
                total = share.detach() if total is None else total + share.detach()
        assert total is not None  # noqa: S101 - a batch has an example
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return None, *(g.mul_(factor.view(-1, *[1] * (g.dim() - 1))) for g in gradients)
