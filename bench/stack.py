"""The run axis: several runs on one copy of the backbone, and the layers that carry it.

A stacked batch is run-major, ``(runs * batch, ...)``; every stacked parameter has a leading axis of
length ``runs``. No parameter is shared between runs, so their gradients never mix. One run is a
stack of length 1: there is no second code path.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench import masks
from bench.seed import seed_of


class RunAxis:
    """The runs of a stack: their seeds, which of them are still in it, and the current step.

    Per-run settings are kept for all runs that began; `select` gives those of the active runs.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device, dtype: torch.dtype) -> None:
        self.seeds = tuple(seeds)
        self.device = device
        self.dtype = dtype
        self.step = 0
        self.active: tuple[int, ...] = tuple(range(len(self.seeds)))
        self._mask_seeds = [seed_of("masks", seed) for seed in self.seeds]

    @property
    def size(self) -> int:
        """Number of runs still in the stack."""
        return len(self.active)

    def vector(self, values: Sequence[float]) -> Tensor:
        """Return per-run settings as a tensor of shape (all runs,)."""
        return torch.tensor(values, device=self.device, dtype=self.dtype)

    def select(self, values: Tensor) -> Tensor:
        """Return the rows of the active runs; (all runs, ...) becomes (runs, ...)."""
        if self.size == len(self.seeds):
            return values
        return values[list(self.active)]

    def generator(self, index: int, *site: str) -> torch.Generator:
        """Return the generator for the initial values of run ``index`` at a named site."""
        generator = torch.Generator()
        return generator.manual_seed(seed_of("initialisation", self.seeds[index], *site))

    def dropout(self, x: Tensor, rates: Tensor, site: str) -> Tensor:
        """Drop features of a run-major tensor by counter-based masks and rescale the rest.

        Args:
            x: (runs * batch, tokens, features) or (runs * batch, features).
            rates: (all runs,), probability of dropping.
            site: name of the place, so that no two places share a mask.
        """
        seeds = [self._mask_seeds[index] for index in self.active]
        keys = masks.site_keys(seeds, site, self.step)
        tokens = x.shape[1] if x.dim() == 3 else 1
        shape = (x.shape[0] // self.size, tokens, x.shape[-1])
        keep, scale = masks.keep_mask(keys, self.select(rates), shape)
        return (x.view(self.size, *shape) * (keep * scale)).view_as(x)


class Stacked(nn.Module):
    """A module whose own parameters all have the leading run axis."""

    def __init__(self, axis: RunAxis) -> None:
        super().__init__()
        self.axis = axis

    def runs_first(self, x: Tensor) -> Tensor:
        """Reshape (runs * batch, ..., features) to (runs, batch * ..., features)."""
        return x.reshape(self.axis.size, -1, x.shape[-1])

    def parameter_count(self, index: int) -> int:  # noqa: ARG002 - layers with padding need it
        """Return how many trained numbers run ``index`` has here, padding not counted."""
        return sum(p.shape[1:].numel() for p in self.parameters(recurse=False) if p.requires_grad)


class StackedLinear(Stacked):
    """One independent linear layer a run: ``weight (runs, out, in)``, ``bias (runs, out)``."""

    def __init__(self, axis: RunAxis, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(axis)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply each run's layer to its own rows; (runs * batch, ..., in) to (..., out)."""
        rows, weight = self.runs_first(x), self.weight.transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), rows, weight)
        return out.view(*x.shape[:-1], -1)


class StackedDropout(Stacked):
    """The backbone's own dropout, drawn from counter-based masks at one rate for all runs.

    Attention layers do not call their dropout module but read its rate ``p`` for their kernel,
    which draws from the framework's generator; they are told 0.
    """

    p = 0.0

    def __init__(self, axis: RunAxis, rate: float, site: str) -> None:
        super().__init__(axis)
        self.rates = axis.vector([rate] * len(axis.seeds))
        self.site = site

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of (runs * batch, [tokens,] features) in training mode."""
        return self.axis.dropout(x, self.rates, self.site) if self.training else x


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` in the place of the submodule called ``name``."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
