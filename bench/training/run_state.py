"""State of one run in training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.store.record import CurvePoint
from gapbench.bench.tasks.kinds import Outputs


@dataclass
class Trace:
    """State of one run in training.

    Attributes:
        best_row: parameters at the best evaluation point so far, (parameters,).
        best_outputs: outputs at that point on the subset of each split.
        drawn: training examples drawn so far, by part.
        work: sum of the work of its steps, by phase and part (see
            `bench.training.flops_and_time`).
        inference_passes: passes in which one example is predicted.
        fit_forward, fit_backward, fit_flops: passes and operations of the fit after training.
        fit_examples: examples that went through the model in it, by split.
    """

    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int = 0
    best_score: float | None = None
    best_row: Tensor | None = None
    best_outputs: Mapping[str, Outputs] = field(default_factory=dict)
    evaluations_without_improvement: int = 0
    steps: int = 0
    tokens: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    work: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    forward_passes: int = 0
    backward_passes: int = 0
    inference_passes: int | None = None
    fit_forward: int = 0
    fit_backward: int = 0
    fit_flops: float = 0.0
    fit_examples: dict[str, int] = field(default_factory=dict)
    diverged: str | None = None
    pruned: str | None = None
