"""The run axis: several runs on one copy of the backbone, and the layers that carry it.

A stacked batch is run-major, ``(runs * batch, ...)``; every stacked parameter has a leading axis of
length ``runs``. No parameter is shared between runs, so their gradients never mix. One run is a
stack of length 1: there is no second code path.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gapbench.bench.core.errors import MergeError
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.models import masks


class RunAxis:
    """The runs of a stack: their seeds, the active ones, and the current step.

    Per-run settings are kept for all runs that started; `select` gives those of active runs.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device, dtype: torch.dtype) -> None:
        self.seeds = tuple(seeds)
        self.device = device
        self.dtype = dtype
        self.step = 0
        self.active: tuple[int, ...] = tuple(range(len(self.seeds)))
        self._mask_seeds = [seed_of("masks", seed) for seed in self.seeds]
        self._branch = ""
        self._part: tuple[int, int, int] | None = None
        self._like = torch.empty(0, device=device, dtype=dtype)
        self._varying: list[tuple[Any, str]] = []
        self.varies(self, "step", "active", "_branch", "_part")

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

    @contextmanager
    def branch(self, name: str) -> Iterator[None]:
        """Draw masks inside the block from separate streams, for another pass over the batch."""
        before, self._branch = self._branch, f"{name}/"
        try:
            yield
        finally:
            self._branch = before

    @contextmanager
    def part(self, first: int, stop: int, examples: int) -> Iterator[None]:
        """Draw masks inside the block for a part of each run's batch, as for the whole of it.

        Args:
            first: place of the part's first example in the batch.
            stop: place after the part's last example.
            examples: number of examples in the batch.
        """
        before, self._part = self._part, (first, stop, examples)
        try:
            yield
        finally:
            self._part = before

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Draw masks inside the block for what has no axis of examples, whatever the part."""
        before, self._part = self._part, None
        try:
            yield
        finally:
            self._part = before

    def varies(self, owner: Any, *names: str) -> None:
        """Declare attributes on which a pass depends and which differ between passes."""
        self._varying += [(owner, name) for name in names]

    def moment(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a context that brings back what `varies` now, for a pass that is repeated."""
        now = [(owner, name, getattr(owner, name)) for owner, name in self._varying]
        return partial(_holding, now)

    def keep_mask(
        self,
        drop_rates: Tensor,
        site: str,
        shape: Sequence[int],
        step: int | None = None,
        *,
        by_example: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Draw counter-based keep-masks for the active runs.

        Args:
            drop_rates: (all runs,), probability of dropping.
            site: name of the place, so that no two places share a mask; one that is passed several
                times, as layers that share their module are, has one mask for all passes.
            shape: shape of one run's mask, features last, with one entry per axis.
            step: key of the draw in place of the current step, so that a mask can last many steps.
            by_example: whether the first axis is that of the examples.

        Returns:
            The mask, (runs, *shape) bool with True for keep, and the reciprocal of the keep
            probability, (runs, 1, ...) with as many axes.
        """
        places = self._places(shape[0]) if by_example else None
        return masks.keep_mask(self._keys(site, step), self.select(drop_rates), shape, places)

    def uniform(
        self,
        site: str,
        shape: Sequence[int],
        step: int | None = None,
        *,
        by_example: bool = True,
        on_host: bool = False,
    ) -> Tensor:
        """Draw counter-based numbers between 0 and 1 for the active runs; see `keep_mask`.

        Args:
            site: name of the place, so that no two places share numbers.
            shape: shape of one run's numbers, features last.
            step: key of the draw in place of the current step.
            by_example: whether the first axis is that of the examples.
            on_host: draw the same numbers on the CPU, so that reading them waits for no device.

        Returns:
            (runs, *shape), above 0 and at most 1.
        """
        like = torch.empty(0, dtype=self.dtype) if on_host else self._like
        places = self._places(shape[0]) if by_example else None
        return masks.uniform(self._keys(site, step), shape, like, places)

    def normal(self, site: str, shape: Sequence[int], step: int | None = None) -> Tensor:
        """Draw standard normal numbers that no axis of examples has, (runs, *shape)."""
        return masks.normal(self._keys(site, step), shape, self._like)

    def _keys(self, site: str, step: int | None) -> NDArray[np.uint32]:
        """Return the keys of the active runs at a site, (runs,)."""
        seeds = [self._mask_seeds[index] for index in self.active]
        return masks.site_keys(seeds, self._branch + site, self.step if step is None else step)

    def _places(self, count: int) -> NDArray[np.int64] | None:
        """Return the places in the batch of ``count`` examples, copies of the part in hand."""
        if self._part is None:
            return None
        first, stop, examples = self._part
        copies = np.arange(count // (stop - first)) * examples
        return (copies[:, None] + np.arange(first, stop)).ravel()

    def dropout(self, x: Tensor, drop_rates: Tensor, site: str) -> Tensor:
        """Drop features of a run-major tensor with counter-based masks and rescale the rest.

        Args:
            x: (runs * batch, tokens, features) or (runs * batch, features).
            drop_rates: (all runs,), probability of dropping.
            site: name of the place, so that no two places share a mask.
        """
        tokens = x.shape[1] if x.dim() == 3 else 1
        shape = (x.shape[0] // self.size, tokens, x.shape[-1])
        keep, scale = self.keep_mask(drop_rates, site, shape)
        return (x.view(self.size, *shape) * (keep * scale)).view_as(x).to(x.dtype)


@contextmanager
def _holding(values: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Give attributes other values inside the block."""
    before = [getattr(owner, name) for owner, name, _ in values]
    for owner, name, value in values:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(values, before, strict=True):
            setattr(owner, name, value)


class Stacked(nn.Module):
    """A module whose own parameters all have the leading run axis.

    Attributes:
        groups: own parameters that an optimiser other than ``main`` updates, with its name.
        scratch: whether they serve only training, so that an exported model leaves them out.
    """

    groups: ClassVar[Mapping[str, str]] = {}
    scratch: ClassVar[bool] = False

    def __init__(self, axis: RunAxis) -> None:
        super().__init__()
        self.axis = axis

    @property
    def models(self) -> int:
        """Number of models in a pass: active runs times their members or masked copies."""
        return self.axis.size

    def runs_first(self, x: Tensor) -> Tensor:
        """Reshape (runs * batch, ..., features) to (runs, batch * ..., features)."""
        return x.reshape(self.axis.size, -1, x.shape[-1])

    def parameter_count(self, index: int) -> int:  # noqa: ARG002 - layers with padding need it
        """Return the number of trained parameters of run ``index`` here, without padding."""
        return sum(p.shape[1:].numel() for p in self.parameters(recurse=False) if p.requires_grad)

    def learning_rate_factor(self, parameter: str) -> Tensor | None:  # noqa: ARG002 - most have none
        """Return the factor on the learning rate of an own parameter, (all runs,)."""
        return None

    def plain(self, position: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the parameters of a plain layer that acts like this one for an active run.

        Raises:
            MergeError: if there is no such layer.
        """
        raise MergeError(f"a {type(self).__name__} cannot be folded into plain weights")


class StackedHead(Stacked):
    """A layer of a task head for each run: ``weight (runs, ...)``, ``bias (runs, out)``.

    An ensemble of members inside each run has a second axis for them; its batch is laid out run by
    run, then member by member.

    Attributes:
        weight_axes: axes of one run's weight.
    """

    weight_axes: ClassVar[int]

    def __init__(self, axis: RunAxis, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(axis)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None

    def plain(self, position: int) -> dict[str, Tensor]:
        """Return the run's own weight and bias."""
        if self.weight.dim() > 1 + self.weight_axes:
            raise MergeError("an ensemble has several heads; it cannot be folded into one model")
        return {name: p[position].detach().clone() for name, p in self.named_parameters()}


class StackedLinear(StackedHead):
    """One linear layer per run: ``weight (runs, out, in)``."""

    weight_axes = 2

    def forward(self, x: Tensor) -> Tensor:
        """Apply each run's layer to its own rows; (runs * batch, ..., in) to (..., out)."""
        weight = self.weight.flatten(0, -3).transpose(1, 2)
        rows = x.reshape(len(weight), -1, x.shape[-1]).to(weight.dtype)
        if self.bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(self.bias.flatten(0, -2).unsqueeze(1), rows, weight)
        return out.view(*x.shape[:-1], -1)


class StackedLayerNorm(StackedHead):
    """One layer normalisation per run: ``weight (runs, width)``."""

    weight_axes = 1

    def __init__(self, axis: RunAxis, weight: Tensor, bias: Tensor | None, eps: float) -> None:
        super().__init__(axis, weight, bias)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (runs * batch, ..., width) over the width, and scale each run's own rows."""
        weight = self.weight.flatten(0, -2).unsqueeze(1)
        rows = functional.layer_norm(x.to(weight.dtype), x.shape[-1:], eps=self.eps).reshape(
            len(weight), -1, x.shape[-1]
        )
        out = rows * weight
        if self.bias is not None:
            out = out + self.bias.flatten(0, -2).unsqueeze(1)
        return out.view_as(x)


class StackedDropout(Stacked):
    """The backbone's own dropout, drawn from counter-based masks at one rate for all runs.

    Attention layers do not call their dropout module. They read its rate ``p`` for their kernel,
    which draws from the framework's generator; that rate is set to 0.
    """

    AXES: ClassVar[int] = 3
    """Most axes of hidden states; weights of attention have more."""
    p = 0.0

    def __init__(self, axis: RunAxis, rate: float, site: str) -> None:
        super().__init__(axis)
        self.drop_rates = axis.vector([rate] * len(axis.seeds))
        self.site = site

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of (runs * batch, [tokens,] features) in training mode.

        Weights of attention, (runs * batch, heads, queries, keys), stay as they are here too.
        """
        if not self.training or x.dim() > self.AXES:
            return x
        return self.axis.dropout(x, self.drop_rates, self.site)


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Replace the submodule called ``name`` by ``new``."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
