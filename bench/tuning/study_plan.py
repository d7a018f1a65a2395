"""The studies of a suite: the cell, space and seeds of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.config.tuned_variant import tuned_label
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import FrozenModel, content_hash
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment.schema import Suite
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.profiling.self_check import supported_backbone
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tuning import budget, samplers
from gapbench.bench.tuning.schema import Dimension, Limit, Objective, Pruner
from gapbench.bench.tuning.space import Level, apply, space_of

SEEDS_FROM = 2**32
"""First seed that trials may use; suites count from 0."""
_MOST_NAMED = 200  # bytes
# With four seeds, even losing all of them reaches the test's p only at the end.
_FEWEST_FOR_WILCOXON = 5


class Search(FrozenModel):
    """Settings of tuning a suite; the same for all methods."""

    limit: Limit = Limit()
    level: Level = "default"
    objectives: tuple[Objective, ...] = ("score",)
    trial_seeds: int = Field(
        default=1, ge=1, le=1000, description="runs per trial; the trial's score is their mean"
    )
    pruner: Pruner = "none"
    sampler: Annotated[str, AfterValidator(samplers.short_name)] = samplers.DEFAULT
    seed: int = Field(default=0, ge=0, description="seed of the spread points and of the sampler")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of a trial's runs, the same for all trials and methods."""
        return tuple(range(SEEDS_FROM, SEEDS_FROM + self.trial_seeds))


@dataclass(frozen=True)
class StudyPlan:
    """One study.

    Attributes:
        base: cell to tune, with its settings before tuning.
        space: dimensions by name.
        plain: training examples of a trial of plain LoRA.
    """

    suite: str
    variant: str
    base: Cell
    space: Mapping[str, Dimension]
    search: Search
    plain: float

    @cached_property
    def limit(self) -> Limit:
        """The limit that trials are charged against."""
        return self.search.limit.charged(self.plain)

    @cached_property
    def each(self) -> float:
        """Largest cost of a trial, in the budget's unit; 0 if unknown."""
        return budget.planned(self.base, self.limit, self.plain)

    @property
    def expected(self) -> tuple[float, float] | None:
        """Number of trials in the budget if none ends early, and their compute; None if unknown."""
        if not self.each:
            return None
        trials = self.limit.amount // self.each
        return trials, trials * budget.relative_cost(self.base)

    @cached_property
    def name(self) -> str:
        """Readable parts, and a hash of all else but budget and space that decides the outcome."""
        # The default sampler is left out, so that studies of version 0.1 keep their names.
        usual = {"sampler"} if self.search.sampler == samplers.DEFAULT else set()
        cell, search = self.base, self.search.model_dump(mode="json", exclude={"limit"} | usual)
        parts = (self.suite, cell.task.name, cell.backbone.name, cell.method, self.variant)
        digest = content_hash([self.suite, cell.hash, self.variant, search])[:12]
        safe = "".join(c if c.isalnum() or c in "_.-" else "_" for c in "-".join(parts))
        short = safe.encode()[:_MOST_NAMED].decode(errors="ignore")  # it becomes a folder's name
        return f"{short}-{digest}"

    @property
    def metric(self) -> str:
        """The main metric, or the checkpoint metric if validation has no main metric."""
        task = self.base.task
        scored = kinds.get(task.kind).final_metrics(task, "validation")
        return task.metrics[0] if task.metrics[0] in scored else task.selection

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Direction in which the metric improves."""
        return "maximize" if get_metric(self.metric).higher_is_better else "minimize"

    @property
    def alike(self) -> bool:
        """Whether the checkpoint metric improves in the same direction as the metric."""
        selection = self.base.task.selection_metric
        return selection.higher_is_better == get_metric(self.metric).higher_is_better

    def runs(self, params: Mapping[str, Any]) -> list[Run]:
        """Return the runs of a trial."""
        cell = apply(self.base, self.space, params)
        return [Run(cell, seed) for seed in self.search.seeds]


def studies(
    suite: Suite,
    planned: Sequence[PlannedRun],
    sources: Sources,
    search: Search,
    device: torch.device,
) -> tuple[list[StudyPlan], dict[str, str]]:
    """Return a study for each trainable cell of a suite, and why others have none, by label.

    Raises:
        ConfigError: if the suite cannot be tuned this way, or the budget is too small.
    """
    _check(suite, search)
    cells = {(p.run.cell.hash, p.variant): p.run.cell for p in planned}
    made: list[StudyPlan] = []
    without: dict[str, str] = {}
    for (_, variant), cell in cells.items():
        label = f"{cell.task.name}/{cell.backbone.name}/{cell.method}/{variant}"
        study = _study(suite, variant, cell, sources, search, device)
        if isinstance(study, str):
            without[label] = study
        else:
            made.append(study)
    return made, without


def _study(
    suite: Suite, variant: str, cell: Cell, sources: Sources, search: Search, device: torch.device
) -> StudyPlan | str:
    """Return the study of a cell, or why it has none."""
    if not registry.get(cell.method).trains:
        return "nothing trains"
    backbone = supported_backbone(cell, sources, device)
    if isinstance(backbone, str):
        return backbone
    _check_objectives(cell, search)
    train = dataset.prepare(cell, sources, backbone.reader).train
    plain = budget.plain_examples(cell, search.trial_seeds, len(train.trained))
    space = space_of(cell, search.level, backbone)
    plan = StudyPlan(suite.name, variant, cell, space, search, plain)
    place = f"task {cell.task.name!r}, method {cell.method!r}"
    budget.check(search.limit, plain, plan.each, place)
    return plan


def _check(suite: Suite, search: Search) -> None:
    place = f"suite {suite.name!r}"
    if suite.protocol == "paper":
        raise ConfigError(
            f"{place}: under protocol 'paper' validation is the test split, so tuning would "
            "choose on it; tune a suite with protocol 'strict'"
        )
    variants = {(entry.method, entry.variant) for entry in suite.methods}
    for method, variant in sorted(variants):
        if (method, tuned_label(variant)) in variants:
            raise ConfigError(
                f"{place}: method {method!r} has a variant {tuned_label(variant)!r} already, the "
                f"name of the winner of {variant!r}; rename it"
            )
    shared = sorted({*search.seeds} & {*suite.seeds})
    if shared:
        raise ConfigError(
            f"{place}: seeds {shared} belong to trials, and winners need other seeds; give seeds "
            f"below {SEEDS_FROM}"
        )
    samplers.check(search.sampler, len(search.objectives))
    if search.pruner != "none" and len(search.objectives) > 1:
        raise ConfigError(
            f"--pruner {search.pruner} needs a single objective, got "
            f"{'+'.join(search.objectives)}; give --objective score or --pruner none"
        )
    if search.pruner == "asha" and search.trial_seeds > 1:
        raise ConfigError(
            f"--pruner asha ends runs, not trials of {search.trial_seeds} seeds; give "
            "--trial-seeds 1, or --pruner wilcoxon"
        )
    if search.pruner == "wilcoxon" and search.trial_seeds < _FEWEST_FOR_WILCOXON:
        raise ConfigError(
            f"--pruner wilcoxon compares trials seed by seed and saves nothing below "
            f"{_FEWEST_FOR_WILCOXON} of them, got {search.trial_seeds}; give --trial-seeds "
            f"{_FEWEST_FOR_WILCOXON} or more"
        )


def _check_objectives(cell: Cell, search: Search) -> None:
    if "ece" in search.objectives and not kinds.get(cell.task.kind).calibrates():
        raise ConfigError(
            f"--objective score+ece: task {cell.task.name!r} is {cell.task.kind}, which has no "
            "ece; leave it out with --tasks, or give --objective score+gap"
        )
