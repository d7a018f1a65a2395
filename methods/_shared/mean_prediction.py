"""Joint prediction of several models: the mean of their probabilities or values.

Source: Lakshminarayanan et al. 2017, arXiv:1612.01474, section 2.4.
"""

import math

import torch
from torch import Tensor

from gapbench.bench.config.task import Loss


def mean_prediction(logits: Tensor, loss: Loss) -> Tensor:
    """Return the log of the mean probabilities, or the mean of real values.

    Args:
        logits: (runs, models, rows, ..., outputs).
        loss: loss of the task.

    Returns:
        (runs * rows, ..., outputs)
    """
    if loss == "squared_error":
        return logits.mean(dim=1).flatten(0, 1)
    pooled = torch.logsumexp(logits.log_softmax(dim=-1), dim=1) - math.log(logits.shape[1])
    return pooled.flatten(0, 1)
