"""A trained run as plain weights, or as an adapter in PEFT's format.

Both ask each stacked module of a model for one run's part. A module that cannot be written
faithfully is refused with the reason. `bench.execution.export` writes the files.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.config.head import HeadType
from gapbench.bench.core.errors import MergeError
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.models.initial_adapter import PEFT_PREFIX
from gapbench.bench.models.run_axis import RunAxis, Stacked, StackedHead


@dataclass(frozen=True)
class Adapter:
    """An adapter as PEFT stores it.

    Attributes:
        config: content of ``adapter_config.json``.
        tensors: content of ``adapter_model.safetensors``, by PEFT's names.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class LowRankLayer(Protocol):
    """A layer of an adapter, whose update is ``B A``.

    A layer that also rescales its outputs (DoRA) has ``magnitudes(position)``, (out,).
    """

    axis: RunAxis
    base: nn.Module
    scaling: Tensor  # (all runs, 1, 1)

    def factors(self, position: int) -> tuple[Tensor, Tensor]:
        """Return A, (rank, in), and B, (out, rank), of an active run."""


def plain_weights(model: nn.Module, position: int) -> dict[str, Tensor]:
    """Return the state dict of the unadapted model, head included, with a run's updates folded in.

    Args:
        model: an adapted model.
        position: the run's place among the active runs of the stack.

    Raises:
        MergeError: if some layer's update has no plain form.
    """
    stacked = dict(_stacked(model))
    inside = tuple(f"{name}." for name in stacked)
    with InFull():
        weights = {
            name: values.detach().clone()
            for name, values in model.state_dict(keep_vars=True).items()
            if not name.startswith(inside)
        }
        for name, module in stacked.items():
            if not module.scratch:
                weights |= {f"{name}.{part}": rows for part, rows in module.plain(position).items()}
    return weights


def peft_adapter(
    model: nn.Module, position: int, head: HeadType, *, rank_stabilised: bool = False
) -> Adapter:
    """Return a run's low-rank updates and head as a PEFT adapter of type LORA.

    Every layer keeps its own rank and scaling. A layer whose update has rank 0 is left out.

    Args:
        model: an adapted model.
        position: the run's place among the active runs of the stack.
        head: head of the task that it was trained on.
        rank_stabilised: write the scaling as ``alpha / sqrt(rank)`` (``use_rslora``).

    Raises:
        MergeError: if a trained parameter does not fit such an adapter.
    """
    layers = _low_rank_layers(model)
    tensors = head_tensors(model, position)
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, layer in layers.items():
        a, b = layer.factors(position)
        ranks[name] = rank = len(a)
        if rank == 0:
            continue
        steepness = math.sqrt(rank) if rank_stabilised else rank
        # Seven digits, as in a float32: they restore the alpha that was set.
        scaling = float(layer.scaling[layer.axis.active[position]])
        alphas[name] = float(f"{scaling * steepness:.7g}")
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = a
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = b * (steepness / alphas[name])
        if hasattr(layer, "magnitudes"):
            tensors[f"{PEFT_PREFIX}{name}.lora_magnitude_vector"] = layer.magnitudes(position)
    used = [name for name in layers if ranks[name]]
    if not used:
        raise MergeError("no layer has an update, only the head trained; PEFT has no such adapter")
    config = _config([layers[name] for name in used], head_parts(model))
    config |= {
        "task_type": head.of(model.config).peft_task,
        "target_modules": used,
        "use_rslora": rank_stabilised,
    }
    config |= _shared("r", "rank_pattern", {name: ranks[name] for name in used})
    config |= _shared("lora_alpha", "alpha_pattern", alphas)
    return Adapter(config, {name: values.contiguous() for name, values in tensors.items()})


def head_tensors(model: nn.Module, position: int) -> dict[str, Tensor]:
    """Return a run's heads under the names that PEFT gives to modules saved whole."""
    return {
        f"{PEFT_PREFIX}{name}.{part}": values
        for name, module in _stacked(model)
        if isinstance(module, StackedHead)
        for part, values in module.plain(position).items()
    }


def head_parts(model: nn.Module) -> list[str]:
    """Return the outermost modules made of heads only: ``classifier``, not its layers."""
    heads = [name for name, module in _stacked(model) if isinstance(module, StackedHead)]
    owned = tuple(f"{name}." for name in heads)
    foreign = [name for name, _ in model.named_parameters() if not name.startswith(owned)]

    def outermost(name: str) -> str:
        parent = name.rpartition(".")[0]
        shared = not parent or any(other.startswith(f"{parent}.") for other in foreign)
        return name if shared else outermost(parent)

    return sorted({outermost(name) for name in heads})


def _stacked(model: nn.Module) -> Iterator[tuple[str, Stacked]]:
    """Yield the outermost stacked modules that hold parameters, by name."""
    seen: list[str] = []
    for name, module in model.named_modules():
        inner = any(name.startswith(f"{outer}.") for outer in seen)
        holds = any(True for _ in module.parameters())  # dropout, for example, has none
        if isinstance(module, Stacked) and holds and not inner:
            seen.append(name)
            yield name, module


def _low_rank_layers(model: nn.Module) -> dict[str, LowRankLayer]:
    """Return the low-rank layers by name; refuse other trained modules outside the head."""
    layers: dict[str, LowRankLayer] = {}
    inside: tuple[str, ...] = ()
    for name, module in _stacked(model):
        inside += (f"{name}.",)
        if _is_low_rank(module):
            layers[name] = module
        elif not (isinstance(module, StackedHead) or module.scratch):
            raise MergeError(
                f"layer {name}: a {type(module).__name__} is not a low-rank update, and PEFT's "
                "LoRA format holds nothing else"
            )
    loose = [n for n, p in model.named_parameters() if p.requires_grad and not n.startswith(inside)]
    if loose:
        raise MergeError(
            f"{len(loose)} of the backbone's own parameters trained, such as {loose[0]}; an "
            "adapter cannot hold them"
        )
    return layers


def _is_low_rank(module: object) -> TypeGuard[LowRankLayer]:
    return hasattr(module, "factors")


def _config(layers: list[LowRankLayer], heads: list[str]) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "inference_mode": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": isinstance(layers[0].base, Conv1D),
        "use_dora": hasattr(layers[0], "magnitudes"),
        "modules_to_save": heads or None,
    }


def _shared(field: str, pattern: str, values: Mapping[str, float]) -> dict[str, Any]:
    """Return the most common value as the default, and the others by layer."""
    ((common, _),) = Counter(values.values()).most_common(1)
    return {field: common, pattern: {k: v for k, v in values.items() if v != common}}
