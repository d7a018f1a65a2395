"""What a task kind means for training: the loss of a run, and the plain predictions of a baseline.

A new kind of task (generation, multiple choice) adds its loss here, its metrics in `bench.metrics`
and its inputs in `bench.data`; the loop and the methods know none of them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.tasks import Kind


def example_losses(logits: Tensor, targets: Tensor, kind: Kind) -> Tensor:
    """Return the loss of every example.

    Args:
        logits: (examples, outputs).
        targets: (examples,), class indices or real targets.
        kind: classification gives cross-entropy in nats, regression the squared error.

    Returns:
        (examples,)
    """
    if kind == "classification":
        return F.cross_entropy(logits, targets, reduction="none")
    return F.mse_loss(logits.squeeze(-1), targets.to(logits.dtype), reduction="none")


def run_losses(logits: Tensor, targets: Tensor, kind: Kind, runs: int) -> Tensor:
    """Return each run's mean loss over its own examples; (runs * batch, ...) to (runs,)."""
    return example_losses(logits, targets, kind).view(runs, -1).mean(dim=1)


def constant_logits(targets: Tensor, kind: Kind, outputs: int) -> Tensor:
    """Return the best constant prediction on ``targets``; shape (outputs,).

    Log class frequencies for classification (a class that never occurs gets half a count), the mean
    for regression.
    """
    if kind == "regression":
        return targets.double().mean().reshape(1)
    counts = torch.bincount(targets, minlength=outputs).double().clamp_(min=0.5)
    return (counts / counts.sum()).log()
