"""Modules that every run has for itself under any method: task head and backbone dropout."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.deberta import is_disentangled
from gapbench.bench.models.run_axis import (
    RunAxis,
    StackedDropout,
    StackedHead,
    StackedLayerNorm,
    StackedLinear,
    replace_module,
)


def stack_head(model: nn.Module, backbone: Backbone, axis: RunAxis, members: int = 1) -> None:
    """Give every run its own head: the trained one where `Backbone.kept` says so, else a new one.

    New linear layers are drawn from N(0, initializer_range) with zero biases; normalisations start
    as the identity.

    Args:
        model: a copy of the backbone; its head is replaced.
        backbone: backbone that names the modules of the head.
        axis: the runs.
        members: heads of each run; the first does not depend on their number.

    Raises:
        BackboneError: if the head holds parameters in layers of other kinds.
    """
    std = float(getattr(backbone.config, "initializer_range", 0.02))
    for part in backbone.head:
        for path, module in list(model.get_submodule(part).named_modules(prefix=part)):
            if not any(True for _ in module.parameters(recurse=False)):
                continue
            if not isinstance(module, nn.Linear | nn.LayerNorm):
                raise BackboneError(
                    f"backbone {backbone.fingerprint.name!r}: its head has {path}, a "
                    f"{type(module).__name__}; only linear layers and layer normalisations can be "
                    "drawn by each run, so give a backbone of another family"
                )
            layer: Any = module
            if backbone.kept is None:
                weight = _fresh(layer, axis, std, path, members)
                bias = None if layer.bias is None else weight.new_zeros(len(layer.bias))
            else:
                weight, bias = backbone.kept[f"{path}.weight"], backbone.kept.get(f"{path}.bias")
            replace_module(model, path, _stacked(layer, axis, weight, bias, members))


def stack_dropout(model: nn.Module, axis: RunAxis, rate: float) -> None:
    """Replace the backbone's dropout of hidden states by counter-based dropout.

    Dropout of attention weights stays off, since it happens inside the fused attention kernels.
    Dropout of DeBERTa's relative positions stays off, since all runs share them.

    Raises:
        BackboneError: if the rate is above zero and the backbone has no dropout layers.
    """
    if rate == 0:
        return
    attentions = [module for module in model.modules() if is_disentangled(module)]
    off = {id(child) for module in attentions for child in module.children()}
    places = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and id(module) not in off
    ]
    if not places:
        raise BackboneError(
            f"field 'backbone_dropout' is {rate}, but a {type(model).__name__} has no dropout "
            "layers; set it to 0"
        )
    for name in places:
        replace_module(model, name, StackedDropout(axis, rate, f"backbone.{name}"))


def _fresh(layer: Any, axis: RunAxis, std: float, site: str, members: int) -> Tensor:
    """Return new weights of a layer: (runs, [members,] ...) if linear, else shared."""
    if isinstance(layer, nn.LayerNorm):
        return torch.ones_like(layer.weight)
    runs, shape = len(axis.seeds), (layer.out_features, layer.in_features)
    drawn = torch.stack(
        [
            # The first member is drawn like a single one.
            std * torch.randn(shape, generator=axis.generator(run, "head", site, *named))
            for run in range(runs)
            for named in ((), *((f"member {number}",) for number in range(1, members)))
        ]
    )
    several = () if members == 1 else (members,)
    return drawn.view(runs, *several, *shape)


def _stacked(
    layer: Any, axis: RunAxis, weight: Tensor, bias: Tensor | None, members: int
) -> StackedHead:
    """Return a layer with values for every run; values given for one run serve all."""
    lead = (len(axis.seeds),) if members == 1 else (len(axis.seeds), members)

    def wide(values: Tensor, own: Sequence[int]) -> Tensor:
        return values.to(axis.device, axis.dtype).expand(*lead, *own).clone()

    everywhere = wide(weight, layer.weight.shape)
    shift = None if bias is None else wide(bias, bias.shape)
    if isinstance(layer, nn.LayerNorm):
        return StackedLayerNorm(axis, everywhere, shift, layer.eps)
    return StackedLinear(axis, everywhere, shift)
