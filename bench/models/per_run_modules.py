"""Modules that every run gets of its own under any method: task head and backbone dropout."""

import torch
from torch import nn

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.deberta import is_disentangled
from gapbench.bench.models.run_axis import RunAxis, StackedDropout, StackedLinear, replace_module


def stack_head(model: nn.Module, backbone: Backbone, axis: RunAxis, members: int = 1) -> None:
    """Give every run its own head: linear layers drawn from N(0, initializer_range), zero biases.

    Args:
        model: a copy of the backbone; its head is replaced.
        backbone: knows which modules are the head.
        axis: the runs.
        members: heads of each run; the first does not depend on their number.

    Raises:
        BackboneError: if the head holds parameters that are not in linear layers.
    """
    std = float(getattr(backbone.config, "initializer_range", 0.02))
    for part in backbone.head:
        for path, module in list(model.get_submodule(part).named_modules(prefix=part)):
            if isinstance(module, nn.Linear):
                replace_module(model, path, _fresh_linear(module, axis, std, path, members))
            elif any(True for _ in module.parameters(recurse=False)):
                raise BackboneError(
                    f"backbone {backbone.fingerprint.name!r}: the checkpoint lacks {path}, a "
                    f"{type(module).__name__}; only linear layers can be reinitialised"
                )


def stack_dropout(model: nn.Module, axis: RunAxis, rate: float) -> None:
    """Replace the backbone's dropout of hidden states by counter-based dropout.

    Dropout of attention weights stays off, since it happens inside the fused attention kernels.
    Dropout of DeBERTa's relative positions stays off, since all runs share them.

    Raises:
        BackboneError: if the rate is above zero and the backbone has no such place.
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


def _fresh_linear(
    layer: nn.Linear, axis: RunAxis, std: float, site: str, members: int
) -> StackedLinear:
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
    weight = drawn.view(runs, *several, *shape).to(axis.device, axis.dtype)
    bias = weight.new_zeros(weight.shape[:-1]) if layer.bias is not None else None
    return StackedLinear(axis, weight, bias)
