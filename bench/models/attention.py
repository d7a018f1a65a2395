"""The attention of a stack: its kernel, and dropout inside it.

A layer's attention is replaced through the library's registry of attention functions: the copy of
the backbone is told to use ours. Ours calls the library's fused function with a mask that excludes
dropped keys, or uses plain products: where weights are dropped, where the fused function lacks what
the layer asks for (a cap on logits, a sink), and over few tokens on a CPU, for which the fused
kernel is slow. DeBERTa's attention does not use the registry (see `bench.models.deberta`).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.attention_dropping import (
    AttentionDropping,
    drop_weights,
    hook,
    surviving,
)
from gapbench.bench.models.deberta import is_disentangled

IMPLEMENTATION = "gapbench_dropping"
_ATTRIBUTE = "_gapbench_dropping"
# Keys up to which the fused kernel of a CPU is slower. In bfloat16 its backward pass is: it takes
# seven times as long as plain products at 32 keys, twice as long at 512. In scoring, which has no
# backward pass, it is the faster one sooner, and for single queries at once.
_FEW, _FEW_FORWARD = 64, 24
_FEW_IN_HALF, _FEW_IN_HALF_FORWARD = 512, 128
# Weights; the memory of a larger tensor is not kept between steps (`bench.core.process`).
_MANY = 2**23
_AT_HAND = {"cpu"}  # types of device whose numbers can be read without waiting
_DRAWS = 2  # masks of a layer in a pass: of its logits and of its weights
_VECTOR = 16  # keys; shorter rows are summed number by number, four times as slow as along columns
_TOLERANCE = 1e-3  # of the largest output: between our attention without dropping and the model's
# What layers pass along that changes nothing in the products: positions are in the queries and
# keys by then, and windows are in the mask.
_HARMLESS = {"position_bias", "position_ids", "cache_position", "sliding_window"}

_NOTHING = AttentionDropping()


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,  # noqa: FBT001 - the library's own signature
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Compute attention as the layer's own function does, with dropout in training.

    Args:
        module: an attention layer of the library.
        query: (rows, heads, queries, width).
        key: (rows, heads or fewer, keys, width); so is ``value``.
        value: the values that are averaged.
        attention_mask: (rows, 1, queries, keys) bool, True for visible, or numbers to add to the
            logits; None if all keys are visible, or all up to the query's own in a causal layer.
        scaling: scaling of the logits; 1 / sqrt(width) if None.
        is_causal: whether a missing mask means a causal one; the layer's own attribute if None.
        softcap: bound that a tanh puts on the logits (Gemma 2).
        s_aux: (heads,), logits of sinks, which take weight from the keys (GPT-OSS).
        kwargs: arguments passed to the library, including ``position_bias`` of the logits.

    Returns:
        (rows, queries, heads, width), and the weights if they were computed.

    Raises:
        BackboneError: if there is dropout, and the layer needs arguments that are unknown here.
    """
    dropping: AttentionDropping = vars(module).get(_ATTRIBUTE, _NOTHING)
    if not module.training:
        dropping = _NOTHING
    if dropping is not _NOTHING:
        _refuse_unknown(attention_mask, kwargs)
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    queries = query.shape[2]
    if queries > 1 and query.stride(2) == 0 and not causal:  # see `bench.models.first_token`
        first, seen = query[:, :, :1], None if attention_mask is None else attention_mask[:, :, :1]
        given = scaling, causal, softcap, s_aux
        out, weights = attend(module, first, key, value, seen, *given, **kwargs)
        return out.expand(-1, queries, -1, -1), weights
    special = softcap is not None or s_aux is not None
    plainly = dropping.weights is not None or special or _is_small(query, key, kwargs)
    visible = attention_mask
    if plainly or dropping.logits is not None:
        visible, causal = _visible(attention_mask, query, key, causal=causal), False
    shape = (*query.shape[:3], key.shape[2])
    if dropping.logits is not None:
        visible = surviving(visible, dropping.logits(*shape))
    if not plainly:
        kwargs |= {"scaling": scaling, "is_causal": causal}
        return _fused(module, query, key, value, visible, **kwargs)
    logits = _logits(query, key, scaling, softcap, kwargs.get("position_bias"))
    weights, sink = _softmax(logits, visible, s_aux)
    if dropping.weights is not None:
        keep, stop = dropping.weights(*shape), dropping.stop_gradient
        weights = drop_weights(weights, keep, stop_gradient=stop, sink=sink)
    return (weights @ _each_head(value, query)).transpose(1, 2).contiguous(), weights


def layers(model: "transformers.PreTrainedModel") -> list[nn.Module]:
    """Return the transformer layers in order; empty if the model has no list of them."""
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and attentions(module[0]):
            return list(module)
    return []


def attentions(layer: nn.Module) -> list[nn.Module]:
    """Return the attention modules of a layer: those with the attributes fused kernels need."""
    return [
        module
        for module in layer.modules()
        if is_disentangled(module) or hasattr(module, "is_causal")
    ]


def is_causal(model: "transformers.PreTrainedModel") -> bool:
    """Whether every query sees only the tokens up to its own: a decoder-only model."""
    first = layers(model)[0]
    return all(bool(getattr(module, "is_causal", False)) for module in attentions(first))


def dropping_unsupported_reason(
    model: "transformers.PreTrainedModel", inputs: Mapping[str, Tensor]
) -> str | None:
    """Return why dropout cannot act in the attention of a model, None if it can.

    It can if every layer asks for masks, once for its logits and once for its weights, and the
    outputs are unchanged when nothing is dropped.

    Args:
        model: model with layers; its attention is replaced.
        inputs: inputs of a small batch with padding.
    """
    asked: Counter[int] = Counter()

    def keep_all(place: int, shape: tuple[int, ...]) -> Tensor:
        asked[place] += 1
        return torch.ones(*shape[:2], 1, shape[3], dtype=torch.bool)

    by_hooks = any(is_disentangled(m) for m in model.modules())
    if not (by_hooks or getattr(model, "_supports_attention_backend", False)):
        return "it uses no attention function of the library's registry"
    found = layers(model)
    try:
        own = _output(model, inputs)
        for place, layer in enumerate(found):

            def draw(*shape: int, place: int = place) -> Tensor:
                return keep_all(place, shape)

            drop_in(model, layer, AttentionDropping(draw, draw))
        ours = _output(model, inputs)
    except BackboneError as error:
        return str(error)
    except Exception as error:  # a model that needs other inputs may raise anything
        return f"a pass with it fails: {type(error).__name__}: {error}"
    if len(asked) < len(found):
        return f"only {len(asked)} of its {len(found)} layers use the library's registry"
    if asked.total() > _DRAWS * len(found):  # DiffLlama: the same weights, for two sets of values
        return "a layer computes its attention several times in a pass, with other keys dropped"
    off = float((ours - own).abs().max() / own.abs().max())
    return None if off <= _TOLERANCE else f"without dropping, outputs are off by {off:.1g}"


def take_over(model: "transformers.PreTrainedModel") -> None:
    """Make the layers of a model use `attend`, unless they need attention that is not fused."""
    by_registry = getattr(model, "_supports_attention_backend", False)
    if by_registry and model.config._attn_implementation == "sdpa":
        _ask_ours(model)


def drop_in(
    model: "transformers.PreTrainedModel", layer: nn.Module, dropping: AttentionDropping
) -> None:
    """Add dropout to the attention of one layer of a model."""
    for module in attentions(layer):
        if is_disentangled(module):
            hook(module, dropping)
        else:
            setattr(module, _ATTRIBUTE, dropping)
            _ask_ours(model)


def _ask_ours(model: "transformers.PreTrainedModel") -> None:
    _register()
    model.set_attn_implementation(IMPLEMENTATION)


@cache
def _register() -> None:
    """Register our attention; not on import, which would load the library's modelling code."""
    transformers.AttentionInterface.register(IMPLEMENTATION, attend)
    transformers.AttentionMaskInterface.register(IMPLEMENTATION, _mask)


def _mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """Return the library's mask of visible keys; None if it hides none, or none but later ones.

    To see that it hides none, the library reads it. On a GPU this would wait for all queued work in
    every pass, so a mask that is given there always counts.
    """
    if attention_mask is not None and attention_mask.device.type not in _AT_HAND:
        kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    made: Callable[..., Tensor | None] = transformers.AttentionMaskInterface()["sdpa"]
    return made(*args, attention_mask=attention_mask, **kwargs)


def _output(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the output of a model in training mode for a batch."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        output: Tensor = model.train()(**inputs)[0]
    return output


def _refuse_unknown(mask: Tensor | None, asked: Mapping[str, Any]) -> None:
    """Refuse arguments of a layer that would be ignored: numbers and tensors, but not flags."""
    if mask is not None and mask.dtype != torch.bool:
        raise BackboneError("its mask adds numbers to the logits, which dropping does not support")
    for name, value in asked.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and value != 0
        if name not in _HARMLESS and (number or isinstance(value, Tensor)):
            raise BackboneError(f"its attention takes {name!r}, which dropping does not support")


def _visible(mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool) -> Tensor | None:
    """Return the mask of visible keys: the library's, the implied causal one, or None for all."""
    queries, keys = query.shape[2], key.shape[2]
    if mask is None:
        if not causal or queries == 1:
            return None
        return torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril()[None, None]
    # The library expands a padding mask over the queries, so one query represents all.
    return mask[:, :, :1] if mask.stride(2) == 0 else mask


def _fused(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    attended: tuple[Tensor, Tensor | None] = _of_library()(*args, **kwargs)
    return attended


@cache
def _of_library() -> Callable[..., Any]:
    function: Callable[..., Any] = transformers.AttentionInterface()["sdpa"]
    return function


def _is_small(query: Tensor, key: Tensor, asked: Mapping[str, Any]) -> bool:
    """Whether plain products are faster than the library's function for this call."""
    if asked.get("position_bias") is not None or asked.get("dropout"):
        return False
    rows, heads, queries = query.shape[:3]
    keys = key.shape[2]
    if query.device.type != "cpu":
        return False
    learns = torch.is_grad_enabled()
    if query.dtype == torch.bfloat16:
        return keys <= (_FEW_IN_HALF if learns else _FEW_IN_HALF_FORWARD)
    if not learns and (queries == 1 or keys > _FEW_FORWARD):
        return False
    return keys <= _FEW and rows * heads * queries * keys <= _MANY


def _logits(
    query: Tensor, key: Tensor, scaling: float | None, softcap: float | None, bias: Tensor | None
) -> Tensor:
    """Return the logits of all keys before any mask; (rows, heads, queries, keys)."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    logits = (query * scale) @ _each_head(key, query).transpose(-1, -2)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits if bias is None else logits + bias


def _softmax(
    logits: Tensor, visible: Tensor | None, sinks: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the weights of the visible keys, and that of the sink, (rows, heads, queries, 1).

    The mask is bool, or of numbers to add.
    """
    if visible is not None:
        logits += visible if visible.is_floating_point() else _hidden(visible, logits)
    if sinks is not None:
        sunk = sinks.to(logits.dtype).view(-1, 1, 1).expand(*logits.shape[:-1], 1)
        weights = torch.cat([logits, sunk], dim=-1).softmax(-1)
        return weights[..., :-1], weights[..., -1:]
    if logits.shape[-1] >= _VECTOR:
        return logits.softmax(-1), None
    return logits.mT.contiguous().softmax(-2).mT, None


def _hidden(visible: Tensor, logits: Tensor) -> Tensor:
    """Return the numbers that remove hidden keys from a softmax when added to logits."""
    zeros = torch.zeros(visible.shape, dtype=logits.dtype, device=logits.device)
    return zeros.masked_fill_(~visible, torch.finfo(logits.dtype).min)


def _each_head(shared: Tensor, query: Tensor) -> Tensor:
    """Repeat keys or values that a group of query heads shares; (rows, heads, keys, width)."""
    group = query.shape[1] // shared.shape[1]
    return shared if group == 1 else shared.repeat_interleave(group, dim=1)
