"""Losses on the difference between two passes over one batch.

Sources: Wu et al. 2021 (R-Drop), arXiv:2106.14448, equation 2; Wang et al. 2024 (HiddenKey),
arXiv:2403.00812, equations 11 and 12. All are sums over the last axis, one value per example.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def log_probabilities(scores: Tensor) -> Tensor:
    """Return log-softmax over the last axis, in float32 at least."""
    return F.log_softmax(scores.to(torch.promote_types(scores.dtype, torch.float32)), dim=-1)


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of both directions of KL between two softmax outputs (equation 11).

    Args:
        first: (examples, classes) before the softmax.
        second: the same for the other pass.

    Returns:
        (examples,) nats.
    """
    p, q = log_probabilities(first), log_probabilities(second)
    return ((p.exp() - q.exp()) * (p - q)).sum(dim=-1) / 2


def kl_to_reference(first: Tensor, reference: Tensor) -> Tensor:
    """Return KL of the first output from a reference (equation 12, which the paper calls JS).

    Args:
        first: (examples, classes) before the softmax.
        reference: the same for the reference pass.

    Returns:
        (examples,) nats.
    """
    p, q = log_probabilities(first), log_probabilities(reference)
    return (p.exp() * (p - q)).sum(dim=-1)


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared difference of two predictions, (examples, 1) to (examples,)."""
    return (first - second).square().sum(dim=-1)
