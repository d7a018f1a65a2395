"""Fit a race into its time: runs are shortened first, then arms are left out, dear ones first.

What came out is stored beside the race. Measured times vary from call to call, and the same call
has to go on with the arms that it began with.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gapbench.bench.advice.arms import Arm
from gapbench.bench.config.run import NestedFolds
from gapbench.bench.core.files import explained, json_text, lock, write_text
from gapbench.bench.core.schema import FrozenModel, content_hash, read_versioned

_REMEDY = "remove it, and the arms are chosen anew; or give another folder with --results DIR"


@dataclass(frozen=True)
class RaceBounds:
    """What a race has to fit into.

    Attributes:
        ends: time of `time.monotonic` at which the final runs should be over.
        blocks: blocks of the race.
        seeds: final runs of each method.
        least: number of arms, the first ones, that are never left out.
        fewest_epochs: epochs to which runs may be shortened; None if they must stay as long.
    """

    ends: float
    blocks: int
    seeds: int
    least: int = 1
    fewest_epochs: float | None = None

    def left(self, arms: Sequence[Arm], seconds: Mapping[str, float]) -> float:
        """Return the seconds left after all blocks and the final runs of one arm of each method."""
        methods = {arm.cell.method: seconds[arm.name] for arm in reversed(arms)}
        blocks = self.blocks * sum(seconds[arm.name] for arm in arms)
        return self.ends - time.monotonic() - blocks - self.seeds * sum(methods.values())


def trim(
    arms: Sequence[Arm], measure: Callable[[Sequence[Arm]], Mapping[str, float]], bounds: RaceBounds
) -> list[Arm]:
    """Return the arms that fit, all with equally long runs.

    Every method comes before second settings of any, and cheap ones before dear ones. If none fits
    beside the first, the cheapest stays: a race needs two.

    Args:
        arms: all arms, in the order in which they are wanted.
        measure: gives the expected wall time of a run of each arm.
        bounds: what they have to fit into.
    """
    wanted, seconds = arms, measure(arms)
    epochs = arms[0].cell.budget.epochs
    while (left := bounds.left(arms, seconds)) < 0:
        if epochs is None or bounds.fewest_epochs is None or epochs <= bounds.fewest_epochs:
            break
        time_left = max(bounds.ends - time.monotonic(), 0.0)
        share = time_left / (time_left - left)
        epochs = max(bounds.fewest_epochs, min(math.ceil(epochs) - 1, math.floor(epochs * share)))
        arms = [arm.of_epochs(epochs) for arm in wanted]
        seconds = measure(arms)
    kept = list(arms[: bounds.least])
    for arm in sorted(arms[bounds.least :], key=lambda arm: (_turn(arm, arms), seconds[arm.name])):
        if len(kept) < 2 or bounds.left([*kept, arm], seconds) >= 0:
            kept.append(arm)
    return [arm for arm in arms if arm in kept]


def _turn(arm: Arm, arms: Sequence[Arm]) -> int:
    """Return the number of settings of the same method that come first."""
    same = [other for other in arms if other.cell.method == arm.cell.method]
    return same.index(arm)


class _Design(FrozenModel):
    """The arms of a stored race.

    Attributes:
        budget: seconds that the call had that chose them, None without a limit.
        epochs: epochs of all runs.
        arms: names of the arms that were kept.
    """

    schema_version: Literal[1] = 1
    budget: float | None
    epochs: float | None
    arms: tuple[str, ...]


@dataclass(frozen=True)
class StoredDesign:
    """What was kept of some arms, in a file beside the race.

    It holds for calls that want the same arms on the same folds: once runs of it have ended, and
    before that for calls with the same budget, so that a second one at the same time helps.

    Attributes:
        folder: of the race.
        wanted: the arms that were asked for.
        folds: how the rows are cut.
        budget: seconds that this call has, None without a limit.
        begun: tells whether runs of some arms have ended.
    """

    folder: Path
    wanted: Sequence[Arm]
    folds: NestedFolds
    budget: float | None
    begun: Callable[[Sequence[Arm]], bool]

    def read(self) -> list[Arm] | None:
        """Return what was kept, None if that is still open.

        Raises:
            RecordError: if the file is damaged.
        """
        if not self._path.exists():
            return None
        found = read_versioned(self._path, _Design, 1, damaged=_REMEDY, foreign=_REMEDY)
        kept = [arm for arm in self.wanted if arm.name in found.arms]
        if found.epochs is not None and found.epochs != self.wanted[0].cell.budget.epochs:
            kept = [arm.of_epochs(found.epochs) for arm in kept]
        return kept if found.budget == self.budget or self.begun(kept) else None

    def write(self, kept: Sequence[Arm]) -> list[Arm]:
        """Store what was kept, unless what holds for this call is there; return what is.

        Raises:
            StoreError: if it cannot be written.
        """
        design = _Design(
            budget=self.budget,
            epochs=kept[0].cell.budget.epochs,
            arms=tuple(arm.name for arm in kept),
        )
        with explained(self._path), lock(self._path.with_suffix(".lock")):
            first = self.read()
            if first is None:
                text = json_text(design.model_dump(mode="json"))
                write_text(self._path, text, locked=True)
            return first or list(kept)

    @property
    def _path(self) -> Path:
        asked = content_hash([[arm.name, arm.on(self.folds).hash] for arm in self.wanted])
        return self.folder / f"design-{asked[:12]}.json"
