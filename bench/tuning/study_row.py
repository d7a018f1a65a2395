"""A study as a row for people; needs neither torch nor optuna."""

from typing import Any

from gapbench.bench.tuning.schema import StudyFile, compute


def study_row(file: StudyFile) -> dict[str, Any]:
    """Return what was searched, what the best trial scored, and what was spent and is left."""
    scores = {trial.number: trial.validation_score for trial in file.trials}
    best = None if file.best_number is None else scores[file.best_number]
    return {
        "study": file.name,
        "dimensions": f"{len(file.space)}: {', '.join(file.space)}",
        "trials": len(file.trials),
        "compute": _rounded(compute(file)),
        "metric": file.metric,
        "default": _rounded(scores.get(file.default_number)),
        "best": _rounded(best),
        "spent": round(file.spent, 1),
        "left": round(max(0.0, file.budget.amount - file.spent), 1),
        "unit": file.budget.unit,
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
