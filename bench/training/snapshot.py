"""What of a stack in training must be kept so that it goes on as if it had never stopped.

Masks, batches and first values are functions of seeds, and phases can be begun again; so it is the
trained numbers, the optimisers' moments, what a method gathers in its steps, and the traces. Files
are the work of `bench.training.checkpoint`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
        traces: of each run that began.
        seconds: spent by activity, (runs,).
        counted: steps whose operations were counted, and how many those were.
    """

    step: int
    active: tuple[int, ...]
    active_rows: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    traces: list[Trace]
    seconds: dict[str, NDArray[np.float64]]
    counted: list[tuple[Work, float]]

    def of(self, indices: Sequence[int]) -> "Snapshot":
        """Return the snapshot of the stack as it would be with these of its runs alone."""
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
        """Return all of it as JSON data and as tensors by name, which are not copied."""
        traces = [trace.pack() for trace in self.traces]
        tensors = {
            **{f"active/{name}": values for name, values in self.active_rows.items()},
            **{f"all/{name}": values for name, values in self.rows.items()},
        }
        for index, (_, own) in enumerate(traces):
            tensors |= {f"{index}/{name}": values for name, values in own.items()}
        content = {
            "step": self.step,
            "active": self.active,
            "traces": [plain for plain, _ in traces],
            "seconds": {name: values.tolist() for name, values in self.seconds.items()},
            "counted": [
                [{part: done.tolist() for part, done in step.items()}, operations]
                for step, operations in self.counted
            ],
        }
        return content, tensors

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Snapshot":
        """Return what `pack` was given."""
        owned: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for place, values in tensors.items():
            owner, _, name = place.partition("/")
            owned[owner][name] = values
        return cls(
            step=content["step"],
            active=tuple(content["active"]),
            active_rows=owned["active"],
            rows=owned["all"],
            traces=[
                Trace.unpack(plain, owned[str(index)])
                for index, plain in enumerate(content["traces"])
            ],
            seconds={name: np.array(values) for name, values in content["seconds"].items()},
            counted=[
                ({part: np.array(done) for part, done in step.items()}, operations)
                for step, operations in content["counted"]
            ],
        )
