"""Products of frozen layers in bfloat16; everything that trains or is summed stays in float32.

A frozen weight has no update that rounding could lose, and its products are most of the work. So
`precision: bf16` rounds the inputs, weights and outputs of frozen linear layers to bfloat16, in the
forward and in the backward pass, and nothing else: adapters, heads, attention, normalisation,
losses, hypergradients and the optimiser are those of float32.

Between the two layers of a feed-forward block there is only an activation, whose input and output
are so rounded anyway: numbers stay in bfloat16 there, which saves two conversions each way.
"""

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from bench.stack import replace_module

# Of a feed-forward block: the layers before the activation, and the one behind it. GPT-2 is not
# here: its activation is a chain of operations, each of which would round.
_AROUND_ACTIVATION = (
    (("intermediate.dense",), "output.dense"),
    (("gate_proj", "up_proj"), "down_proj"),
)


class HalfLinear(nn.Linear):
    """A frozen linear layer that multiplies in bfloat16; its float32 weight stays at hand.

    Attributes:
        returns: type of the outputs.
    """

    returns = torch.float32

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._rows, self._bias = _rounded(layer.weight, layer.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the library's own name
        """Map (..., in) to (..., out)."""
        return F.linear(input.bfloat16(), self._rows, self._bias).to(self.returns)


class HalfConv1D(Conv1D):  # type: ignore[misc]  # the library has no types
    """The same for a layer whose weight is transposed, (in, out)."""

    returns = torch.float32

    def __init__(self, layer: Conv1D) -> None:
        nn.Module.__init__(self)
        self.nx, self.nf = layer.nx, layer.nf
        self.weight, self.bias = layer.weight, layer.bias
        self._rows, self._bias = _rounded(layer.weight.T, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(x.bfloat16(), self._rows, self._bias).to(self.returns)


def multiply_in_half(model: "transformers.PreTrainedModel") -> None:
    """Let every frozen linear layer of an adapted model multiply in bfloat16, but for logits."""
    logits = model.get_output_embeddings()
    for name, layer in list(model.named_modules()):
        frozen = isinstance(layer, nn.Linear | Conv1D) and not layer.weight.requires_grad
        if not frozen or layer is logits:
            continue
        half = HalfConv1D if isinstance(layer, Conv1D) else HalfLinear
        replace_module(model, name, half(layer))
    _stay_in_half(model)


def _stay_in_half(model: "transformers.PreTrainedModel") -> None:
    """Let feed-forward blocks that are frozen as a whole convert nothing at their activation."""
    modules = dict(model.named_modules())
    halves = {n: m for n, m in modules.items() if isinstance(m, HalfLinear | HalfConv1D)}
    for before, behind in _AROUND_ACTIVATION:
        for block in [name.removesuffix(behind) for name in halves if name.endswith(behind)]:
            if all(block + name in halves for name in before):
                for name in before:
                    halves[block + name].returns = torch.bfloat16


def _rounded(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    rounded = weight.detach().bfloat16().contiguous()
    return rounded, None if bias is None else bias.detach().bfloat16()
