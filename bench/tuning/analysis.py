"""Analysis of a study's trials, and its files for reports.

The formulas treat trials as independent draws from the space. Quasi-random points come close to
that, those of a learning sampler do not: a budget curve shuffles the trials of this study, and does
not predict another study. `reports.tables.tuning`, which reads the records, has intervals for
differences over new seeds.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.files import explained, write_text
from gapbench.bench.tuning.importance import importances
from gapbench.bench.tuning.schema import StudyFile, TrialRow, TrialState, compute
from gapbench.bench.tuning.summary import BudgetPoint, Summary, Tally, score_of

BAND = (0.1, 0.9)
"""Quantiles of the best of n trials that bound the band of a budget curve."""

Floats = NDArray[np.float64]


def summarise(study: StudyFile) -> Summary:
    """Return a study with its analysis."""
    ended = [trial for trial in study.trials if trial.state is not TrialState.RUNNING]
    upward = study.direction == "maximize"
    sign = 1.0 if upward else -1.0
    best = next((score_of(t) for t in study.trials if t.number == study.best_number), None)
    return Summary(
        study=study,
        tally=tally(study.trials).model_copy(update={"compute": compute(study)}),
        expected_best=expected_best([score_of(t) for t in ended], higher_is_better=upward),
        importances=importances(study),
        optimism=_difference(
            _difference(best, study.tuned_test, sign),
            _difference(study.default_validation, study.default_test, sign),
        ),
        gain=_difference(study.tuned_test, study.default_test, sign),
    )


def write(folder: Path, study: StudyFile) -> Summary:
    """Write ``summary.json`` and ``trials.csv`` of a study; each appears whole or not at all.

    Args:
        folder: folder of this study, ``<results>/tuning/<study>``; created if needed.
        study: the study, finished or not.

    Raises:
        StoreError: if they cannot be written.
    """
    summary = summarise(study)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "trials.csv", _table(study))
        write_text(folder / "summary.json", summary.model_dump_json(indent=1) + "\n")
    return summary


def tally(trials: Sequence[TrialRow]) -> Tally:
    """Return the total cost of trials, whatever their outcome."""
    return Tally(
        trials=len(trials),
        states=dict(sorted(Counter(trial.state.value for trial in trials).items())),
        seconds=sum(trial.seconds for trial in trials),
        steps=sum(trial.steps for trial in trials),
        examples=sum(trial.examples for trial in trials),
        flops=sum(trial.flops for trial in trials),
    )


def expected_best(
    scores: Sequence[float | None], *, higher_is_better: bool
) -> tuple[BudgetPoint, ...]:
    """Return the expected score of the best of 1, 2, ... trials, with its spread.

    A trial without a score (failed, pruned) uses up a trial and is worse than any with one. The
    values are conditional on at least one of the n trials having a score.

    Sources: Dodge et al., "Show Your Work: Improved Reporting of Experimental Results", 2019, for
    draws with replacement from the trials; Tang et al., "Showing Your Work Doesn't Always
    Work", 2020, for draws without, whose mean is unbiased.

    Args:
        scores: validation score of each trial, None where it has none.
        higher_is_better: direction of the score.

    Returns:
        A point for each number of trials up to all; none if no trial has a score.
    """
    sign = 1.0 if higher_is_better else -1.0
    values = np.sort(np.array([sign * score for score in scores if score is not None]))
    if not len(values):
        return ()
    total = len(scores)
    # Number of trials at most as good as each value, preceded by those without a score.
    ranks = np.arange(total - len(values), total + 1)
    points = []
    distinct = np.ones(len(ranks))
    for n in range(1, total + 1):
        # P(n distinct trials lie among the first k) = product of (k - j) / (total - j), j < n.
        distinct = distinct * np.maximum(ranks - n + 1, 0) / (total - n + 1)
        weights = _weights((ranks / total) ** n)
        mean = float(weights @ values)
        ends = sorted(sign * _quantile(values, weights, level) for level in BAND)
        points.append(
            BudgetPoint(
                trials=n,
                expected=sign * mean,
                deviation=float(np.sqrt(weights @ (values - mean) ** 2)),
                low=ends[0],
                high=ends[1],
                unbiased=sign * float(_weights(distinct) @ values),
            )
        )
    return tuple(points)


def _difference(first: float | None, second: float | None, sign: float = 1.0) -> float | None:
    return None if first is None or second is None else sign * (first - second)


def _weights(at_most: Floats) -> Floats:
    """Return the probability that each value is the best, given that there is a best.

    Args:
        at_most: probability that no trial scores, then that the best is at most each value.
    """
    weights: Floats = np.diff(at_most) / (1 - at_most[0])
    return weights


def _quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the least value at or below which at least ``level`` of the weight lies."""
    reached = np.cumsum(weights) >= level - 1e-12
    return float(values[np.argmax(reached)])


_APART = {"number", "state", "origin", "params", "values", "seeds"}
_COLUMNS = [name for name in TrialRow.model_fields if name not in _APART]


def _table(study: StudyFile) -> str:
    """Return the trials as CSV, the searched settings as ``param/<name>``, floats in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    params = [f"param/{name}" for name in study.space]
    writer.writerow(["number", "state", "origin", *params, *_COLUMNS, "seeds"])
    for trial in study.trials:
        values = [trial.params.get(name) for name in study.space]
        measured = [getattr(trial, name) for name in _COLUMNS]
        seeds = " ".join(map(str, trial.seeds))
        writer.writerow([trial.number, trial.state, trial.origin, *values, *measured, seeds])
    return text.getvalue()
