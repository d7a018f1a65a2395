"""The runs of a trained stack beside the same runs trained alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gapbench.bench.config.run import Run
from gapbench.bench.data.encoded import TaskData
from tests.support.small_stack import Trained, train


def assert_same_alone(
    folder: Path, runs: Sequence[Run], stacked: Trained, data: TaskData, *, scored: bool = True
) -> list[Trained]:
    """Train each run that is still in the stack alone, to the same logits; return what came out."""
    logits, active = stacked.logits(data), stacked.state.axis.active
    solos = [train(folder, [runs[index]], data, scored=scored) for index in active]
    for position, solo in enumerate(solos):
        np.testing.assert_allclose(logits[position], solo.logits(data)[0], rtol=0, atol=1e-9)
    return solos
