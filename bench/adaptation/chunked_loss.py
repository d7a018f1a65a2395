"""The loss of a language model whose logits are made for some of the targets at a time.

Logits and their gradients grow with targets times vocabulary. The loss of a target depends on the
hidden state there and on no other, so it is differentiated when it is made, and its logits can go.
Losses and gradients are those of all logits at once, and no pass is repeated, unless second
derivatives are asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import target_losses
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.head_hooks import at_positions
from gapbench.bench.models.run_axis import StackedDropout

MAX_LOGITS = 2**23
"""Logits that are made at a time, for each run of a stack: memory grows evenly with runs."""

_OfHidden = Callable[[Tensor, Tensor], Tensor]
"""From hidden states, (targets, width), and their targets to losses, (targets,)."""


def model_losses(model: Any, batch: Batch, task: Task, runs: int) -> Tensor:
    """Return the loss of every target of a batch, 0 where it is ignored; (rows, ...).

    Args:
        model: an adapted model that computes logits at targets only (`models.head_hooks`).
        batch: rows of all runs.
        task: what is lost.
        runs: number of runs.
    """
    count = _targets_at_a_time(model, batch, runs)
    if count is None or not _ends_in_frozen_head(model):
        return _of_logits(model(**batch.inputs).logits, batch.targets, task)
    return _in_chunks(model, batch, task, count)


def _of_logits(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    return target_losses(logits, targets, task.loss, task.label_smoothing)


def _in_chunks(model: Any, batch: Batch, task: Task, count: int) -> Tensor:
    """Return the losses of `model_losses`, of so many targets at a time."""
    body, positions = model.get_decoder(), batch.inputs["positions"]
    others = {name: value for name, value in batch.inputs.items() if name != "positions"}
    with _seen(body) as outputs:
        model(**others, positions=positions[:, :0])  # all but the head
    kind, hidden = type(outputs[0]), at_positions(outputs[0].last_hidden_state, positions)

    def of_hidden(part: Tensor, targets: Tensor) -> Tensor:
        with _giving(body, kind(last_hidden_state=part.unsqueeze(0))):
            return _of_logits(model(**others).logits[0], targets, task)

    flat = hidden.flatten(0, 1), batch.targets.flatten()
    made: Tensor = _Chunked.apply(of_hidden, count, *flat)  # type: ignore[no-untyped-call]
    return made.view_as(batch.targets)


def _targets_at_a_time(model: Any, batch: Batch, runs: int) -> int | None:
    """Return how many targets get logits at a time, None for all at once."""
    if "positions" not in batch.inputs:
        return None
    count = runs * max(1, MAX_LOGITS // model.config.vocab_size)
    return count if count < batch.targets.numel() else None


def _ends_in_frozen_head(model: Any) -> bool:
    """Return whether a model is a body and a layer of logits that does not train, no more."""
    body, head = model.get_decoder(), model.get_output_embeddings()
    if body is model or head is None or model.config.is_encoder_decoder:
        return False
    between = {*model.modules()} - {*body.modules(), *head.modules()}
    return not any(weight.requires_grad for weight in head.parameters()) and not any(
        isinstance(module, StackedDropout) or [*module.parameters(recurse=False)]
        for module in between
        if not getattr(module, "scratch", False)  # what methods keep there takes no part in a pass
    )


@contextmanager
def _seen(body: nn.Module) -> Iterator[list[Any]]:
    """Note what a module gives inside the block."""
    found: list[Any] = []
    handle = body.register_forward_hook(lambda _module, _args, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def _giving(body: nn.Module, output: Any) -> Iterator[None]:
    """Let a module give an output inside the block, whatever it is called with."""
    own = vars(body)
    own["forward"] = lambda *_args, **_options: output
    try:
        yield
    finally:
        del own["forward"]


class _Chunked(torch.autograd.Function):
    """Losses, (targets,), of hidden states, (targets, width), differentiated chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, of_hidden: _OfHidden, count: int, hidden: Tensor, targets: Tensor
    ) -> Tensor:
        ctx.of_hidden, ctx.count = of_hidden, count
        made, gradients = [], []
        for part, wanted in zip(hidden.split(count), targets.split(count), strict=True):
            with torch.set_grad_enabled(ctx.needs_input_grad[2]):
                # In bfloat16, the gradient would be rounded before and after it is scaled.
                leaf = part.detach().to(torch.promote_types(part.dtype, torch.float32))
                leaf.requires_grad_(ctx.needs_input_grad[2])
                losses = of_hidden(leaf, wanted)
                if leaf.requires_grad:
                    gradients += torch.autograd.grad(losses.sum(), leaf)
            made.append(losses.detach())
        ctx.save_for_backward(hidden, targets, torch.cat(gradients) if gradients else None)
        return torch.cat(made)

    @staticmethod
    def backward(ctx: Any, factors: Tensor) -> tuple[Tensor | None, ...]:
        hidden, targets, gradient = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, None, (gradient * factors.unsqueeze(-1)).to(hidden.dtype), None
        # Second derivatives are asked for: the first ones are made anew, as functions.
        parts = []
        for part, wanted, factor in zip(
            *(each.split(ctx.count) for each in (hidden, targets, factors)), strict=True
        ):
            total = (ctx.of_hidden(part, wanted) * factor).sum()
            parts += torch.autograd.grad(total, part, create_graph=True)
        return None, None, torch.cat(parts), None
