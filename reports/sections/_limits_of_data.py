"""What limits the reach of a study: its rows, and where they come from."""

from gapbench.bench.config.run import Cell, Folds, NestedFolds, Resample
from gapbench.reports.document.context import Evidence
from gapbench.reports.sections._limits_of_scores import ok_runs, scored_rows
from gapbench.reports.tables.words import listed

_WIDENED = (
    "Two seeds have some rows in common, and are more alike for it than with new rows. Intervals "
    "are widened{source}: by more than needed, where training itself is noisy."
)
_WIDENED_BY_FOLDS = _WIDENED.format(source=" (after Nadeau and Bengio, 2003)")

_SAMPLES = {
    "fixed": "All seeds train on one sample of the rows. Intervals hold for it, not for other "
    "samples; `resample: per_seed` draws one for each seed.",
    "per_seed": f"Each seed trains on a sample of its own. {_WIDENED.format(source='')}",
    "folds": f"Each seed trains on all but one fold of the same rows. {_WIDENED_BY_FOLDS}",
    "nested": "Each seed is tested on one fold of the same rows, trains on most of the others and "
    f"chooses its checkpoint on the rest. {_WIDENED_BY_FOLDS}",
}


def training_samples(evidence: Evidence) -> str:
    """Say whether seeds share their training rows."""
    cells = evidence.results.cells
    known = [cells[key].cell for key in scored_rows(evidence)["config_hash"] if key in cells]
    drawn = {
        _kind(cell.resample)
        for cell in known
        if cell.resample != "fixed" or cell.budget.train_size is not None
    }
    return " Elsewhere: ".join(text for kind, text in _SAMPLES.items() if kind in drawn)


def _kind(resample: Resample) -> str:
    if isinstance(resample, NestedFolds):
        return "nested"
    return "folds" if isinstance(resample, Folds) else resample


def scope(evidence: Evidence) -> str:
    """Name the only task or backbone."""
    scored = scored_rows(evidence)
    only = [
        f"one {noun} ({scored[field].iloc[0]})"
        for field, noun in (("task", "task"), ("backbone", "backbone"))
        if len(set(scored[field])) == 1
    ]
    if not only:
        return ""
    return f"All scores are of {listed(only)}: elsewhere, other methods may be best."


def _cells(evidence: Evidence) -> list[Cell]:
    """Return the cells that are shown; the folder may hold others."""
    shown = {*evidence.summary["config_hash"]}
    return [record.cell for key, record in evidence.results.cells.items() if key in shown]


def generated(evidence: Evidence) -> str:
    """Name the tasks with generated rows."""
    cells = _cells(evidence)
    tasks = sorted({cell.task.name for cell in cells if hasattr(cell.task.source, "builtin")})
    if not tasks:
        return ""
    return (
        f"{listed(tasks)}: generated rows, made so that the best possible predictor is known; they "
        "stand for mechanisms and not for language as people write it."
    )


def development_sets(evidence: Evidence) -> str:
    """Name the tasks that test on official development sets."""
    tasks = {
        cell.task.name
        for cell in _cells(evidence)
        if hasattr(cell.task.source, "hub")
        and not cell.task.splits.test.startswith("test")
        and not isinstance(cell.resample, NestedFolds)
    }
    if not tasks:
        return ""
    return (
        f"Test scores of {listed(sorted(tasks))} are on official development sets, on which much "
        "published work, methods of this report included, has made its choices."
    )


def shared_inputs(evidence: Evidence) -> str:
    """Name the tasks whose test inputs stand in train too."""
    ok = ok_runs(evidence)
    found = [
        f"{counts.max()} of the {split} inputs of {task}"
        for split in ("test", "validation")
        for task, counts in ok.groupby("task", sort=False)[f"train_overlap_{split}"]
        if counts.fillna(0).max() > 0
    ]
    said = f"Also in train: {listed(found)}. Remembering"
    return f"{said} such an input counts as knowing its answer." if found else ""
