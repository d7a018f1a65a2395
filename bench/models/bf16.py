"""Products of frozen layers in bfloat16; everything that trains or is summed stays in float32.

A frozen weight has no update that rounding could lose, and its products are most of the work. So
`precision: bf16` rounds the inputs, weights and outputs of frozen linear layers to bfloat16, in the
forward and in the backward pass, and nothing else: adapters, heads, attention, normalisation,
losses and the optimiser stay in float32. Rounding would hide the difference of two nearby passes,
so such passes run `exactly`.

Between the two layers of a feed-forward block there is only an activation, whose input and output
are rounded anyway. Numbers stay in bfloat16 there, which saves two conversions each way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from gapbench.bench.models.run_axis import output_rows

# The layers of a feed-forward block before and after the activation. GPT-2 is not here: its
# activation is a chain of operations, each of which would round.
_AROUND_ACTIVATION = (
    (("intermediate.dense",), "output.dense"),
    (("gate_proj", "up_proj"), "down_proj"),
)


_exact = ContextVar("_exact", default=False)


@contextmanager
def exactly() -> Iterator[None]:
    """Make frozen layers multiply in float32 inside the block."""
    token = _exact.set(True)
    try:
        yield
    finally:
        _exact.reset(token)


class _Half:
    """A frozen layer that multiplies in bfloat16; its float32 weight stays available.

    Attributes:
        returns: type of the outputs.
    """

    returns = torch.float32
    _rows: Tensor
    _bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if _exact.get():
            return super().forward(x)  # type: ignore[misc,no-any-return]
        return self.rounded_product(x, self._bias)

    def rounded_product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply by the rounded weight; (..., in) to (..., out)."""
        return F.linear(x.bfloat16(), self._rows, bias).to(self.returns)


class HalfLinear(_Half, nn.Linear):
    """A linear layer."""


class HalfConv1D(_Half, Conv1D):  # type: ignore[misc]  # the library has no types
    """A layer whose weight is transposed, (in, out)."""


def without_bias(layer: nn.Module, x: Tensor) -> Tensor:
    """Multiply by the weight of a frozen linear layer, in the precision of the layer."""
    if isinstance(layer, _Half) and not _exact.get():
        return layer.rounded_product(x)
    return F.linear(x, output_rows(layer))


def multiply_in_half(model: "transformers.PreTrainedModel") -> None:
    """Make every frozen linear layer multiply in bfloat16, except those that give logits."""
    logits = model.get_output_embeddings()
    for layer in model.modules():
        # Some of PEFT's layers are linear by class; their weight is that of a layer inside.
        own = isinstance(layer, nn.Linear | Conv1D) and "weight" in layer._parameters
        if own and not layer.weight.requires_grad and layer is not logits:
            halve(layer)
    _stay_in_half(model)


def halve(layer: nn.Module) -> nn.Module:
    """Make a frozen linear layer multiply in bfloat16, and return it.

    It stays the same object, since methods have put hooks on it and other layers may hold it.
    """
    layer.__class__ = HalfConv1D if isinstance(layer, Conv1D) else HalfLinear
    half: Any = layer
    half._rows = output_rows(layer).detach().bfloat16().contiguous()
    half._bias = None if half.bias is None else half.bias.detach().bfloat16()
    return layer


def _stay_in_half(model: "transformers.PreTrainedModel") -> None:
    """Avoid conversions at the activation of feed-forward blocks that are frozen as a whole."""
    modules = dict(model.named_modules())
    halves = {n: m for n, m in modules.items() if isinstance(m, HalfLinear | HalfConv1D)}
    for before, behind in _AROUND_ACTIVATION:
        for block in [name.removesuffix(behind) for name in halves if name.endswith(behind)]:
            if all(block + name in halves for name in before):
                for name in before:
                    halves[block + name].returns = torch.bfloat16
