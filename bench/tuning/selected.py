"""From finished studies to the runs that compare winners with defaults, and back to the studies."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from gapbench.bench.config.run import Cell, Run
from gapbench.bench.config.tuned_variant import tuned_label
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.store.store import Store
from gapbench.bench.tuning import analysis
from gapbench.bench.tuning.schema import StudyFile
from gapbench.bench.tuning.search import folder
from gapbench.bench.tuning.space import apply
from gapbench.bench.tuning.study_plan import StudyPlan
from gapbench.bench.tuning.trials import mean_of_all


def winner(plan: StudyPlan, file: StudyFile) -> Cell | None:
    """Return a study's base with the settings of its best trial, None if no trial is complete."""
    if file.best_number is None:
        return None
    return apply(plan.base, plan.space, file.trials[file.best_number].params)


def planned(
    plans: Sequence[StudyPlan], files: Sequence[StudyFile], seeds: Sequence[int]
) -> Iterator[PlannedRun]:
    """Yield the winners' runs on seeds that tuning has never seen."""
    for plan, file in zip(plans, files, strict=True):
        cell = winner(plan, file)
        if cell is not None:
            for seed in seeds:
                yield PlannedRun(Run(cell, seed), tuned_label(plan.variant))


def complete(
    plans: Sequence[StudyPlan],
    files: Sequence[StudyFile],
    seeds: Sequence[int],
    store: Store,
    results: Path,
) -> None:
    """Write the scores of its winner and its default on the suite's seeds into every study."""
    for plan, file in zip(plans, files, strict=True):
        cell = winner(plan, file)
        score = partial(_mean_score, plan, seeds, store)
        scores = {
            "default_test": score(plan.base, "test"),
            "default_validation": score(plan.base, "validation"),
            "tuned_test": None if cell is None else score(cell, "test"),
        }
        analysis.write(folder(results, plan), file.model_copy(update=scores))


def _mean_score(
    plan: StudyPlan, seeds: Sequence[int], store: Store, cell: Cell, split: str
) -> float | None:
    """Return the mean score of a split over the seeds, None if one is missing."""
    found = [store.find(Run(cell, seed)) for seed in seeds]
    return mean_of_all([record.score(split, plan.metric) if record else None for record in found])
