"""The loss of a run, summed over its targets, for every kind of task.

Logits have one more axis than targets, `outputs`; each target is one class, token or value, and
`IGNORED` marks padding.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gapbench.bench.config.task import Loss, Task
from gapbench.bench.data.encoded import IGNORED


def target_losses(logits: Tensor, targets: Tensor, loss: Loss, smoothing: float = 0.0) -> Tensor:
    """Return the loss of every target; 0 where it is ignored.

    Args:
        logits: (..., outputs).
        targets: (...), class indices or real targets.
        loss: squared error, or cross-entropy in nats.
        smoothing: share of a target's probability spread evenly over all outputs.

    Returns:
        (...)
    """
    if loss == "squared_error":
        return F.mse_loss(logits.squeeze(-1), targets.to(logits.dtype), reduction="none")
    flat = F.cross_entropy(
        logits.flatten(0, -2),
        targets.flatten(),
        reduction="none",
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )
    return flat.view(targets.shape)


def run_losses(logits: Tensor, targets: Tensor, task: Task, runs: int) -> Tensor:
    """Return each run's mean loss over its own targets; (runs * batch, ...) to (runs,)."""
    losses = target_losses(logits, targets, task.loss, task.label_smoothing)
    return run_means(losses, targets, runs)


def run_means(values: Tensor, targets: Tensor, runs: int) -> Tensor:
    """Return each run's mean of a value per target, without ignored targets; (runs,)."""
    return run_sums(values, targets, runs) / target_counts(targets, runs)


def run_sums(values: Tensor, targets: Tensor, runs: int) -> Tensor:
    """Return each run's sum of a value per target, without ignored targets; (runs,)."""
    return values.masked_fill(_ignored(targets), 0).view(runs, -1).sum(dim=1)


def target_counts(targets: Tensor, runs: int) -> Tensor:
    """Return each run's number of targets that are not ignored, (runs,)."""
    return (~_ignored(targets)).view(runs, -1).sum(dim=1)


def _ignored(targets: Tensor) -> Tensor:
    """Return which targets do not count; among real targets, any value may be a true one."""
    if targets.is_floating_point():
        return torch.zeros_like(targets, dtype=torch.bool)
    return targets == IGNORED


def constant_logits(targets: Tensor, outputs: int) -> Tensor:
    """Return the best constant prediction on ``targets``; shape (outputs,).

    It is the mean of real targets; for classes it is the log frequencies, where a class that never
    occurs gets half a count.
    """
    if targets.is_floating_point():
        return targets.double().mean().reshape(1)
    counts = torch.bincount(targets, minlength=outputs).double().clamp_(min=0.5)
    return (counts / counts.sum()).log()
