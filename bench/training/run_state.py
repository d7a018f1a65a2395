"""What is known of one run while it trains, also as data that a file can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.store.record import CurvePoint
from gapbench.bench.tasks.kinds import Outputs


@dataclass
class Trace:
    """What is known of one run while it trains.

    Attributes:
        best_row: its parameters at the best evaluation point so far, (numbers,).
        best_outputs: what it put out there on the subset of each split.
        work: sum of what its steps are charged by, by phase and part (see
        `bench.training.flops_and_time`).
    """

    curve: list[CurvePoint] = field(default_factory=list)
    best_step: int = 0
    best_score: float | None = None
    best_row: Tensor | None = None
    best_outputs: Mapping[str, Outputs] = field(default_factory=dict)
    evaluations_without_improvement: int = 0
    steps: int = 0
    tokens: int = 0
    work: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    forward_passes: int = 0
    backward_passes: int = 0
    diverged: str | None = None
    pruned: str | None = None

    def pack(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all of it as JSON data and as tensors by name, which are not copied."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        row, outputs = content.pop("best_row"), content.pop("best_outputs")
        content["curve"] = [point.model_dump() for point in self.curve]
        content["work"] = {name: done.tolist() for name, done in self.work.items()}
        tensors = {
            f"outputs/{split}/{name}": torch.from_numpy(np.ascontiguousarray(values))
            for split, made in outputs.items()
            for name, values in made.items()
        }
        return content, tensors if row is None else tensors | {"row": row}

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Trace":
        """Return what `pack` was given; the tensors are copied."""
        trace = cls(**content)
        trace.curve = [CurvePoint.model_validate(point) for point in content["curve"]]
        trace.work = {name: np.array(done) for name, done in content["work"].items()}
        outputs: dict[str, Outputs] = {}
        for place, values in tensors.items():
            if place == "row":
                trace.best_row = values.clone()
            else:
                _, split, name = place.split("/")
                outputs.setdefault(split, {})[name] = values.clone().numpy()
        trace.best_outputs = outputs
        return trace
