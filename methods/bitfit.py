"""BitFit: only the bias terms (and the head) train.

Source: Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
Masked Language-models", section 3.

A run's bias is stored as its difference from the pretrained bias. Training is the same: gradients
are equal, and biases are never decayed.

Deviations. The paper trains every bias; its backbones have none of the following:
1. The bias of the norm of relative positions (DeBERTa) stays frozen: all runs of a stack share its
   output.
2. So does the bias of the convolution beside the first layer, whose features do not come last, and
   so do those of SqueezeBERT's norms.
3. So do query and value biases of DeBERTa v1, which do not belong to a layer.
4. So do the biases of routers and experts (GPT-OSS), because their outputs are not hidden states,
   and those that state-space models read without calling their layer.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import NEVER_CALLED, Backbone
from gapbench.bench.models.deberta import positional_norms
from gapbench.bench.models.run_axis import RunAxis, Stacked, replace_module

_FEATURES_FIRST = {"SqueezeBertLayerNorm"}


class StackedShift(Stacked):
    """A frozen layer with a bias, plus a trained change of that bias per run: (runs, out)."""

    def __init__(self, axis: RunAxis, base: nn.Module) -> None:
        super().__init__(axis)
        self.base = base
        width = base.get_parameter("bias").shape[0]
        zeros = torch.zeros(len(axis.seeds), width, device=axis.device, dtype=axis.dtype)
        self.shift = nn.Parameter(zeros)

    def forward(self, x: Tensor) -> Tensor:
        """Add each run's change to its own rows; (runs * batch, ..., out)."""
        out: Tensor = self.base(x)
        return (self.runs_first(out) + self.shift.unsqueeze(1).to(out.dtype)).view_as(out)

    def plain(self, position: int) -> dict[str, Tensor]:
        """Return the layer's parameters with the run's bias."""
        own = {name: values.detach().clone() for name, values in self.base.state_dict().items()}
        return own | {"bias": own["bias"] + self.shift[position].detach()}

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for library code that asks for its type."""
        base: Any = self.base
        return base.weight  # type: ignore[no-any-return]


class BitFit(Method[MethodConfig]):
    """Train only biases and the head."""

    name = "bitfit"
    reference = "Ben Zaken et al. 2022, arXiv:2106.10199, section 3"

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: MethodConfig) -> str | None:  # noqa: ARG003
        """Refuse backbones without biases, such as Llama's."""
        if not _biased(backbone.model(), backbone):
            return f"a {backbone.family} backbone has no bias terms"
        return None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Wrap every layer that has a bias, outside the head."""
        for name in _biased(model, backbone):
            replace_module(model, name, StackedShift(self.axis, model.get_submodule(name)))
        return model


def _biased(model: nn.Module, backbone: Backbone) -> list[str]:
    """Return the names of the layers whose bias can train."""
    shared = positional_norms(model)
    return [
        name
        for name, module in model.named_modules()
        if not isinstance(module, Stacked | nn.Conv1d)
        and type(module).__name__ not in _FEATURES_FIRST
        and not any(True for _ in module.children())
        and len(inspect.signature(module.forward).parameters) == 1  # I-BERT: two
        and name.rpartition(".")[2] not in NEVER_CALLED
        and isinstance(module._parameters.get("bias"), nn.Parameter)
        and not backbone.in_head(name)
        and name not in shared
        and "router" not in type(module).__name__.lower()
    ]
