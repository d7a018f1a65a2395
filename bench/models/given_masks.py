"""Masks that come with a batch, in the form that a model's attention takes.

Packed rows and beams come with a mask of visible tokens: (rows, 1, queries, keys), bool. The model
library passes such a mask to the layers unchanged. It must therefore contain everything that a mask
of the library would: the sliding window of layers that have one, and zeros and large negative
numbers where attention adds its mask.
"""

from typing import Any

import torch
from torch import Tensor

from gapbench.bench.models.attention import IMPLEMENTATION

_ASKED = {"sdpa", IMPLEMENTATION}  # implementations that take True for visible
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}

Call = tuple[tuple[Any, ...], dict[str, Any]]


def unsupported_reason(model: Any) -> str | None:
    """Return why a model cannot take a mask of its tokens, None if it can."""
    if getattr(model, "_is_stateful", False):
        return "its layers carry a state from each token to the next, whatever a mask says"
    other = set(getattr(model.config, "layer_types", None) or ()) - _KNOWN_LAYERS
    return f"it has layers of type {min(other)!r}, which take no such mask" if other else None


def attach(model: Any) -> None:
    """Make a model take bool masks of four dimensions, with ``key_positions``.

    ``key_positions``, (rows, keys), is the position of every key in its own sequence. Without it,
    the keys are the queries, with their ``position_ids``.
    """
    model.register_forward_pre_hook(_convert, with_kwargs=True)


def _convert(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    mask, queries = kwargs.get("attention_mask"), kwargs.get("position_ids")
    keys = kwargs.pop("key_positions", queries)
    if not isinstance(mask, Tensor) or mask.dim() != 4 or queries is None or keys is None:
        return args, kwargs
    config = model.config
    kinds = dict.fromkeys(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    near = mask
    if window is not None:
        near = mask & (keys[:, None, None, :] > queries[:, None, :, None] - window)
    if len(kinds) > 1:
        masks = {"full_attention": mask, "sliding_attention": near}
        kwargs["attention_mask"] = {kind: _form(model, masks[kind]) for kind in kinds}
    else:
        slides = "sliding_attention" in kinds or not kinds
        kwargs["attention_mask"] = _form(model, near if slides else mask)
    return args, kwargs


def _form(model: Any, mask: Tensor) -> Tensor:
    """Return a mask unchanged, or as numbers to add, as the model's attention needs it."""
    if model.config._attn_implementation in _ASKED:
        return mask
    dtype = next(model.parameters()).dtype
    hidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return hidden.masked_fill_(~mask, torch.finfo(dtype).min)
