"""Initial adapters: read from PEFT's folder, compared with a backbone, folded in.

`gapbench export` writes such folders. `bench.data.sources` locates them. Each method decides how it
takes over A and B (`methods._shared.lowrank`).
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.core.safe_parsing import parse_json, read_text
from gapbench.bench.data.digests import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.models.quantized import dequantize_layer, output_rows

PEFT_PREFIX = "base_model.model."
"""Prefix of PEFT's names of tensors."""

# Other adapters of PEFT have tensors or base weights that this reader would miss. PiSSA and LoftQ,
# for example, change the weights of the backbone.
_PLAIN: Mapping[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "lora_bias": (False,),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
_PART = re.compile(
    re.escape(PEFT_PREFIX) + r"(?P<layer>.+)\.lora_(?P<part>A|B|magnitude_vector)(\.weight)?"
)


@dataclass(frozen=True)
class Update:
    """The update of one layer by an adapter: its weight becomes ``W + b a``; all in float64.

    Attributes:
        a: (rank, in).
        b: (out, rank), multiplied by the adapter's scaling.
        magnitude: (out,) norms of the rows of the new weight (DoRA), None if unchanged.
    """

    a: Tensor
    b: Tensor
    magnitude: Tensor | None = None

    def applied(self, rows: Tensor) -> Tensor:
        """Return the new weight, (out, in) in float64, for a frozen weight (out, in)."""
        moved = rows.double() + (self.b @ self.a).to(rows.device)
        if self.magnitude is None:
            return moved
        lengths = torch.linalg.vector_norm(moved, dim=1)
        scaled: Tensor = moved * (self.magnitude.to(rows.device) / lengths).unsqueeze(1)
        return scaled


@dataclass(frozen=True)
class InitialAdapter:
    """An adapter, without the head that it was trained with: every run draws its own.

    Attributes:
        name: name of its folder.
        updates: updates by layer.
        saved: names of all its other tensors.
    """

    name: str
    updates: Mapping[str, Update]
    saved: tuple[str, ...] = ()

    def layer_incompatibility(self, layers: Mapping[str, nn.Module]) -> str | None:
        """Return why the adapter does not fit these layers of a backbone, None if it does."""
        for name, update in self.updates.items():
            if name not in layers:
                return f"it changes layer {name}, which the backbone lacks"
            own, given = tuple(output_rows(layers[name]).shape), (len(update.b), update.a.shape[1])
            if own != given:
                return f"layer {name} has outputs and inputs {own}, in the adapter {given}"
        return None

    def settings_incompatibility(
        self, targets: Iterable[str], rank: int, *, magnitudes: bool
    ) -> str | None:
        """Return why updates with these settings cannot start from the adapter, None if they can.

        Args:
            targets: names of the layers to adapt.
            rank: rank of every update.
            magnitudes: whether they have magnitudes, as a DoRA adapter does.
        """
        for name in sorted(self.updates.keys() ^ set(targets)):
            owner, other = ("its", "'targets'") if name in self.updates else ("'targets'", "its")
            return f"layers differ: {name} is among {owner} layers, not among {other}"
        ranks = sorted({len(update.a) for update in self.updates.values()})
        if ranks != [rank]:
            return f"rank is {rank}, but the adapter's is {' and '.join(map(str, ranks))}"
        if not magnitudes and any(u.magnitude is not None for u in self.updates.values()):
            return "it has magnitudes, which only 'dora' and 'bidora' train"
        return None


def read(folder: Path) -> InitialAdapter:
    """Read an adapter folder: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        BackboneError: if it cannot be read, or holds more than low-rank updates and a head.
    """
    place = f"adapter {folder}"
    try:
        config = parse_json(read_text(folder / ADAPTER_CONFIG))
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise BackboneError(f"{place} cannot be read: {error}") from None
    _check(config, place)
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    saved = []
    for name, tensor in tensors.items():
        if match := _PART.fullmatch(name):
            parts[match["layer"]][match["part"]] = tensor.double()
        else:
            saved.append(name.removeprefix(PEFT_PREFIX))
    updates = {layer: _update(config, layer, parts[layer], place) for layer in sorted(parts)}
    if not updates:
        raise BackboneError(f"{place}: {ADAPTER_WEIGHTS} has no lora_A and lora_B of any layer")
    return InitialAdapter(folder.resolve().name, updates, tuple(saved))


def fold(model: nn.Module, start: InitialAdapter) -> None:
    """Put an adapter's updates into the weights of a model, which stay frozen."""
    for name, update in start.updates.items():
        layer: Any = dequantize_layer(model, name)
        with InFull():
            rows = update.applied(output_rows(layer).detach()).to(layer.weight.dtype)
        weight = rows.T.contiguous() if isinstance(layer, Conv1D) else rows
        layer.weight = nn.Parameter(weight, requires_grad=False)


def _check(config: Any, place: str) -> None:
    if not isinstance(config, dict):
        raise BackboneError(f"{place}: {ADAPTER_CONFIG} is not a mapping of fields")
    for field, allowed in _PLAIN.items():
        value = config.get(field)
        if value not in allowed and (value is not None or field == "peft_type"):
            shown = ", ".join(map(repr, allowed))
            raise BackboneError(
                f"{place}: {ADAPTER_CONFIG}: field {field!r} is {value!r}, allowed: {shown}; give "
                "an adapter as 'gapbench export' writes it"
            )
    if not isinstance(config.get("lora_alpha"), int | float):
        raise BackboneError(f"{place}: {ADAPTER_CONFIG}: field 'lora_alpha' must be a number")
    try:
        for pattern, alpha in dict(config.get("alpha_pattern") or {}).items():
            re.compile(pattern)
            float(alpha)
    except (re.error, TypeError, ValueError) as error:
        raise BackboneError(
            f"{place}: {ADAPTER_CONFIG}: field 'alpha_pattern' is {config['alpha_pattern']!r}, "
            f"allowed: regular expressions with a number each: {error}; correct it"
        ) from None


def _update(
    config: Mapping[str, Any], layer: str, parts: Mapping[str, Tensor], place: str
) -> Update:
    a, b = parts.get("A"), parts.get("B")
    if a is None or b is None or len(a) != b.shape[1]:
        raise BackboneError(f"{place}: layer {layer} lacks lora_A or lora_B, or their ranks differ")
    rank = len(a)
    scaling = _alpha(config, layer) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Update(a, b * scaling, parts.get("magnitude_vector"))


def _alpha(config: Mapping[str, Any], layer: str) -> float:
    """Return the alpha of a layer; patterns are endings of names, as PEFT takes them."""
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            return float(alpha)
    return float(config["lora_alpha"])
