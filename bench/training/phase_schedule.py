"""Schedule of a training: which steps belong to which phase, and the data they draw.

Every stream of batches is a function of names and seeds, so it can start anywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import DataPartition, Phase
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.seeding import permutation, seed_of
from gapbench.bench.data.batching import training_batches
from gapbench.bench.data.encoded import EncodedSplit, Indices


@dataclass(frozen=True)
class PhaseWindow:
    """The steps of a phase in a training.

    Attributes:
        start, stop: updates made before its first and after its last.
    """

    phase: Phase
    start: int
    stop: int

    def drawn(self, step: int) -> list[str]:
        """Return the parts that the update after ``step`` updates draws from."""
        return [name for name, partition in self.phase.parts.items() if step % partition.every == 0]

    def draws(self, partition: DataPartition, step: int) -> int:
        """Return the number of batches of a part drawn in the phase by ``step`` updates."""
        return -(-step // partition.every) + (-self.start // partition.every)


def phase_windows(method: AnyMethod, total: int) -> list[PhaseWindow]:
    """Return the phases of a method over ``total`` steps.

    Raises:
        ConfigError: if a phase has no step.
    """
    phases = method.phases(method.configs[0])
    # Rounded from the running sum, so that no step is lost.
    ends = [round(total * share) for share in accumulate(phase.share for phase in phases)]
    made = []
    for phase, (start, stop) in zip(phases, pairwise([0, *ends]), strict=True):
        if start == stop:
            raise ConfigError(
                f"method {method.full_name!r}: its phase {phase.name!r} is a share of "
                f"{phase.share:g} of {total} steps, which is none; give it a larger share, or "
                "train longer"
            )
        made.append(PhaseWindow(phase, start, stop))
    return made


def streams(
    window: PhaseWindow, run: Run, train: EncodedSplit, step: int
) -> Mapping[str, Iterator[Indices]]:
    """Return an endless stream of batches of ``train`` for each part that a phase draws from.

    Args:
        window: the phase.
        run: run that determines the order.
        train: the training set.
        step: updates made so far; the batches that they drew in this phase are skipped.
    """
    cell, trained = run.cell, train.trained
    n = len(trained)
    order = permutation(n, seed_of("cut", cell.task.name, run.seed))

    def stream(name: str, partition: DataPartition) -> Iterator[Indices]:
        part = np.sort(order[round(partition.start * n) : round(partition.stop * n)])
        if not len(part):
            raise ConfigError(
                f"method {cell.method!r}: its part {name!r} is {partition.start:g} to "
                f"{partition.stop:g} of {n} training examples, which is none; give it a "
                "larger share, or train on more examples"
            )
        part = trained[part]
        lengths, size = train.lengths[part], cell.budget.batch_size
        before = window.draws(partition, step)
        for positions in training_batches(lengths, size, cell.task.name, run.seed, before):
            yield part[positions]

    return {name: stream(name, partition) for name, partition in window.phase.parts.items()}


def evaluation_points(total: int, count: int) -> set[int]:
    """Return at most ``count`` evenly spaced steps; the last is ``total``."""
    return {max(1, round(total * (i + 1) / count)) for i in range(count)}


def curve_points(points: Iterable[int], most: int) -> set[int]:
    """Return at most ``most`` of step 0 and the given steps, evenly spaced, both ends included."""
    steps = sorted({0, *points})
    chosen = np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)
    return {steps[place] for place in chosen}
