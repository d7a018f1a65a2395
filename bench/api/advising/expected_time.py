"""The wall time that a race is expected to take, from records and, at first, from a few steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gapbench.bench.advice.arms import Arm
from gapbench.bench.api.measuring import measure
from gapbench.bench.config.run import Run
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution.cost_model import Costs, expected, seconds_per_cost
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.profiling.self_check import supported_backbone
from gapbench.bench.store.store import Store


@dataclass
class ExpectedTime:
    """Expected times of runs of a race.

    Attributes:
        store: where the runs of the race are.
        settings: how they are trained.
        progress: whether to show progress.
        seconds: expected seconds of a run, by arm.
        wall: wall time of the race per expected second.
    """

    store: Store
    settings: Settings
    progress: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    wall: float = 1.0

    def forecast(self, arms: Sequence[Arm]) -> dict[str, float]:
        """Measure a few steps of each kind of run that no record tells of.

        Kinds that would take too long to measure are estimated from their sizes.
        """
        sources = self.settings.sources
        device = choose_device(self.settings.device if self.settings.here else "cpu")
        costs, runs = Costs.measured(self.store, sources), [Run(arm.cell, 0) for arm in arms]
        if not costs.at_hand(arms[0].cell):
            supported_backbone(arms[0].cell, sources, device)  # fetches it
            costs = Costs.measured(self.store, sources)
        measure(costs, runs, device.type, progress=self.progress, memory=False)
        jobs = {arm.name: costs.job([Run(arm.cell, 0)]) for arm in arms}
        rate = seconds_per_cost(jobs.values()) or 0.0
        self.seconds = {name: expected(job, rate) for name, job in jobs.items()}
        return self.seconds

    def update(self, arms: Sequence[Arm]) -> None:
        """Take the seconds of runs from their records, where there are any."""
        costs = Costs.measured(self.store, self.settings.sources)
        found = {arm.name: costs.seconds(arm.cell) for arm in arms}
        self.seconds |= {name: each for name, each in found.items() if each is not None}

    def of(self, names: Sequence[str]) -> float:
        """Return the expected wall time of a run of each of some arms."""
        return self.wall * sum(self.seconds[name] for name in names)

    def took(self, seconds: float, names: Sequence[str], blocks: int) -> None:
        """Note the wall time of some blocks of some arms."""
        if summed := sum(self.seconds[name] for name in names) * blocks:
            self.wall = seconds / summed
