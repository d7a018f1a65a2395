"""The state of a stack that it needs to resume as if it had never stopped.

Masks, batches and initial values are functions of seeds, and phases can be begun again. The state
is therefore the parameters, the optimisers' moments, the state of the method and the traces.
`bench.training.checkpoint` handles files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.store.record import CurvePoint
from gapbench.bench.training.flops_and_time import Work
from gapbench.bench.training.run_state import Trace


@dataclass(frozen=True)
class Snapshot:
    """A stack of runs between two steps.

    Attributes:
        step: updates made.
        active: indices of the runs that are still in the stack.
        active_rows: tensors by name with one row for each active run.
        rows: tensors by name with one row for each run that began.
        traces: trace of each run that began.
        seconds: seconds spent, by activity, (runs,).
        counted: steps with counted operations, and the counts.
    """

    step: int
    active: tuple[int, ...]
    active_rows: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    traces: list[Trace]
    seconds: dict[str, NDArray[np.float64]]
    counted: list[tuple[Work, float]]

    def of(self, indices: Sequence[int]) -> "Snapshot":
        """Return the snapshot of a stack with only some of the runs."""
        if list(indices) == list(range(len(self.traces))):
            return self
        chosen = list(indices)
        positions = [self.active.index(index) for index in chosen if index in self.active]
        return Snapshot(
            step=self.step,
            active=tuple(new for new, index in enumerate(chosen) if index in self.active),
            active_rows={name: values[positions] for name, values in self.active_rows.items()},
            rows={name: values[chosen] for name, values in self.rows.items()},
            traces=[self.traces[index] for index in chosen],
            seconds={name: values[chosen] for name, values in self.seconds.items()},
            counted=self.counted,
        )

    def pack(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the snapshot as JSON data and as tensors by name, which are not copied."""
        tensors: dict[str, Tensor] = {}
        return {name: _pack(part, name, tensors) for name, part in vars(self).items()}, tensors

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Snapshot":
        """Return the snapshot that `pack` packed."""
        parts = _unpack(content, tensors)
        for trace in parts["traces"]:
            trace["curve"] = [CurvePoint.model_validate(point) for point in trace["curve"]]
        restored = {
            "active": tuple(parts["active"]),
            "traces": [Trace(**trace) for trace in parts["traces"]],
            "counted": [(step, operations) for step, operations in parts["counted"]],
        }
        return cls(**parts | restored)


def _pack(part: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return a part as JSON data; its tensors and arrays go into ``tensors``, named by place."""
    match part:
        case Tensor():
            tensors[place] = part
            return {"$tensor": place}
        case np.ndarray():
            tensors[place] = torch.from_numpy(np.ascontiguousarray(part))
            return {"$array": place}
        case Mapping():
            return {name: _pack(inner, f"{place}/{name}", tensors) for name, inner in part.items()}
        case list() | tuple():
            return [_pack(inner, f"{place}/{number}", tensors) for number, inner in enumerate(part)]
        case Trace():
            return _pack(vars(part), place, tensors)
        case CurvePoint():
            return part.model_dump()
    return part


def _unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    match packed:
        case {"$tensor": place}:
            return tensors[place]
        case {"$array": place}:
            return tensors[place].numpy()
        case Mapping():
            return {name: _unpack(inner, tensors) for name, inner in packed.items()}
        case list():
            return [_unpack(inner, tensors) for inner in packed]
    return packed
