"""Check that a backbone can compute in the precision that its runs ask for.

Some families of the model library convert numbers to float32 in one layer and multiply them with
weights of another type in the next, or use an operation that lacks a type.
"""

import torch
import transformers

from gapbench.bench.adaptation.build import load_backbone
from gapbench.bench.config.run import Cell, Precision
from gapbench.bench.data.sources import Sources
from gapbench.bench.models import attention
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.bf16 import round_frozen, roundable
from gapbench.bench.profiling import measurement_cache
from gapbench.bench.store.failure import status_of
from gapbench.bench.store.record import Status

_ROWS, _TOKENS = 2, 8  # of the batch that is tried


def unsupported_reason(cell: Cell, sources: Sources, device: torch.device) -> str | None:
    """Return why the backbone of a cell cannot compute in the cell's precision, None if it can.

    It is measured once for each backbone, head, precision, and version of the libraries.

    Raises:
        BackboneError: if the backbone cannot be read.
    """
    if cell.precision == "fp32":
        return None
    subject = {
        "precision check": 2,
        "backbone": cell.backbone.model_dump(mode="json"),
        "head": cell.task.head.auto_class,
        "precision": cell.number_format,
        "versions": [torch.__version__, transformers.__version__],
    }
    key = measurement_cache.key_of(subject, device)
    found = measurement_cache.recall(key)
    if not isinstance(found, dict) or "error" not in found:
        backbone = load_backbone(cell, sources)
        found = {"error": _error(backbone, cell.precision, device)}
        if found["error"] is not None and _error(backbone, "fp32", device) is not None:
            return None  # the precision is not the cause; runs report it
        measurement_cache.remember(key, found)
    if found["error"] is None:
        return None
    return (
        f"field 'precision' is {cell.precision}, in which its layers cannot compute "
        f"({found['error']}); set it to fp32"
    )


def _error(backbone: Backbone, precision: Precision, device: torch.device) -> str | None:
    """Return the first line of what a pass forward and backward raises, None if it succeeds."""
    model = backbone.model().to(device)
    attention.take_over(model)
    if precision == "bf16":
        round_frozen(model, roundable(model))
    elif precision == "fp32":
        model.float()
    for weight in model.parameters():
        weight.requires_grad_(weight.dim() == 1)  # small ones, which most layers have
    ids = _ids(backbone).to(device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if backbone.config.is_encoder_decoder and not backbone.head:  # a language model
        inputs["decoder_input_ids"] = ids
    try:
        logits = model(**inputs)[0]
        if logits.requires_grad:
            logits.float().sum().backward()
    except Exception as error:  # a model may raise anything
        if status_of(error) == Status.OUT_OF_MEMORY:
            raise
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _ids(backbone: Backbone) -> torch.Tensor:
    """Return random tokens, (rows, tokens), and the token at the end of texts if there is one."""
    rows = backbone.reader.vocabulary or len(backbone.tokenizer)
    ids = torch.randint(rows, (_ROWS, _TOKENS), generator=torch.Generator().manual_seed(0))
    end = backbone.tokenizer.eos_token_id
    if end is not None:
        ids[ids == end] = (end + 1) % rows
        ids[:, -1] = end
    return ids
