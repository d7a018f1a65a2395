"""Padding check: a text has the same logits alone and in a batch with a longer one.

Batches pad on the right. A model that reads its answer from the last position of a row, or mixes
positions despite the mask, would score a text by its neighbours.
"""

import math
from typing import Any

import torch
import transformers
from torch import Tensor

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION, SPAN, HeadType
from gapbench.bench.models import attention, head_hooks, length_limits
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.profiling import measurement_cache
from gapbench.bench.store.failure import status_of
from gapbench.bench.store.record import Status

TOLERANCE = 1e-3  # share of the largest logit, in float32
# One word is nearest to the padding, but shorter than what Canine joins to one position.
_SHORT, _LONG = ("one", "one two three"), "one two three four five six seven eight nine ten"
_QUESTION = "what"  # before each text of which ends are read
_BEYOND = 8  # tokens by which a text exceeds the limit beyond which a model computes otherwise


def unsupported_reason(
    backbone: Backbone, head: HeadType, longest: int, device: torch.device
) -> str | None:
    """Return why a backbone cannot be scored in batches of texts, None if it can.

    It is measured once for each backbone, head, limit within ``longest`` tokens, and version of the
    libraries.
    """
    if getattr(backbone.config, "axial_pos_embds", False):  # Reformer
        return "in training it takes only texts of one length, that of its axial positions"
    limit = length_limits.largest(backbone.config, longest - _BEYOND + 1)
    if limit and length_limits.in_blocks(backbone.config):
        return (
            f"beside a text of more than {limit} tokens, shorter ones get another attention; set "
            f"field 'max_length' of the task to {limit} or less"
        )
    subject = {
        "padding check": 4,
        "limit": limit,
        "backbone": backbone.identity,
        "head": head.auto_class,
        "versions": [torch.__version__, transformers.__version__],
    }
    key = measurement_cache.key_of(subject, device)
    found = measurement_cache.recall(key)
    if not isinstance(found, dict) or "moved" not in found:
        found = {"moved": _moved(backbone, head, limit, device)}
        if found["moved"] is not None:
            measurement_cache.remember(key, found)
    moved = found["moved"]
    if moved is None or moved <= TOLERANCE:
        return None
    if math.isinf(moved):
        return "padding after a text makes its logits infinite or undefined"
    beside = f"; a text of more than {limit} tokens stood beside it" if limit else ""
    return (
        f"padding after a text moves its logits by {moved:.1%} of their size, so that its score "
        f"would depend on the texts beside it{beside}"
    )


def _moved(backbone: Backbone, head: HeadType, limit: int, device: torch.device) -> float | None:
    """Return how far padding moves logits, relative to the largest; None if unknown.

    That is infinitely far where logits are finite without padding and not with it.
    """
    model: Any = backbone.model().to(device).eval()
    attention.take_over(model)
    if head == SEQUENCE_CLASSIFICATION:
        head_hooks.attach(model, head)
    longer = " ".join([_LONG] * (1 + (limit + _BEYOND) // len(_LONG.split())))
    besides = [_LONG, longer] if limit else [_LONG]
    pairs = [(text, beside) for text in _SHORT for beside in besides]
    moved = [_moved_text(model, backbone, head, *pair) for pair in pairs]
    return max((each for each in moved if each is not None), default=None)


def _moved_text(
    model: Any, backbone: Backbone, head: HeadType, text: str, longer: str
) -> float | None:
    """Return how far the padding after one text moves its logits, beside a longer one."""
    try:
        with torch.inference_mode(), InFull():
            alone = _logits(model, backbone, head, [text])[0]
            beside = _logits(model, backbone, head, [text, longer])[0, ..., : alone.shape[-1]]
    except Exception as error:  # a model may raise anything on unsuitable inputs; runs report it
        if status_of(error) == Status.OUT_OF_MEMORY:
            raise
        return None
    moved = float((beside - alone).abs().max() / alone.abs().max().clamp(min=1e-12))
    if not bool(alone.isfinite().all()):
        return None
    return moved if math.isfinite(moved) else math.inf


def _logits(model: Any, backbone: Backbone, head: HeadType, texts: list[str]) -> Tensor:
    """Return the logits of texts, (texts, outputs), or of the two ends, (texts, 2, tokens)."""
    fits = {"truncation": True, "max_length": backbone.reader.window}
    given = [[_QUESTION] * len(texts), texts] if head == SPAN else [texts]
    inputs = backbone.tokenizer(*given, padding=True, return_tensors="pt", **fits)
    out = model(**inputs.to(next(model.parameters()).device))
    if hasattr(out, "logits"):
        logits: Tensor = out.logits
        return logits
    return torch.stack([out.start_logits, out.end_logits], dim=1)
