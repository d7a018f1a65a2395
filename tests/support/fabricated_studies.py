"""Fabricated studies with a known story: the score has its peak inside the space of rates.

The learning rate matters most, then the method's own rate; the rank does not matter at all.
"""

from math import log10
from typing import Any

import numpy as np

from gapbench.bench.tuning.schema import Dimension, Limit, StudyFile, TrialRow, TrialState

SPACE = {
    "learning_rate": Dimension(
        where="training", kind="float", low=1e-4, high=1e-2, log=True, default=5e-4
    ),
    "rank": Dimension(where="config", kind="choice", choices=(2, 4, 8, 16), default=8),
    "dropout": Dimension(where="config", kind="float", low=0.0, high=0.5, default=0.1),
}


def make_trial(number: int, score: float | None = 0.7, **change: Any) -> TrialRow:
    """Return a trial of 40 steps; without a score it has failed."""
    content = {
        "number": number,
        "state": TrialState.FAILED if score is None else TrialState.COMPLETE,
        "origin": "default" if number == 0 else "quasi-random" if number < 8 else "sampler",
        "params": {"learning_rate": 5e-4, "rank": 8, "dropout": 0.1},
        "values": () if score is None else (score,),
        "validation_score": score,
        "seconds": 2.0,
        "steps": 40,
        "examples": 640,
        "flops": 1e9,
        "seeds": (1_000_000 + number,),
        "status": "diverged" if score is None else "ok",
        "detail": "loss is nan" if score is None else None,
    }
    return TrialRow.model_validate(content | change)


def make_study(scores: list[float | None] | None = None, **change: Any) -> StudyFile:
    """Return a study of trials with these scores and the method's own settings, or of others.

    Args:
        scores: of each trial, None for one that failed.
        change: fields laid over the result, ``trials`` among them.
    """
    trials = tuple(make_trial(place, score) for place, score in enumerate(scores or []))
    content: dict[str, Any] = {
        "name": "5f0c" * 4,
        "suite": "quickstart",
        "task": "syn_sentiment",
        "backbone": "tiny-bert",
        "method": "lora",
        "variant": "default",
        "metric": "accuracy",
        "direction": "maximize",
        "space": SPACE,
        "budget": Limit(unit="trials", amount=24),
        "plain_examples": 640.0,
        "trials": trials,
    }
    content |= change
    return StudyFile.model_validate(content | {"best_number": _best(content)})


def search(n: int = 24, *, seed: int = 0, peak: float = 0.8, **change: Any) -> StudyFile:
    """Return a study whose scores follow the story, with some failures at high learning rates.

    Args:
        n: trials; the first has the method's own settings.
        seed: of the draws.
        peak: the best score that there is, before noise.
        change: fields laid over the study.
    """
    rng = np.random.default_rng(seed)
    trials = [_drawn(number, rng, peak) for number in range(n)]
    if change.get("direction") == "minimize":
        trials = [_turned(trial) for trial in trials]
    return make_study(trials=tuple(trials), **change)


def _drawn(number: int, rng: np.random.Generator, peak: float) -> TrialRow:
    rate = 5e-4 if number == 0 else float(10 ** rng.uniform(-4, -2))
    rank = 8 if number == 0 else int(rng.choice([2, 4, 8, 16]))
    dropout = 0.1 if number == 0 else float(rng.uniform(0, 0.5))
    missed = 0.25 * (log10(rate) + 2.8) ** 2 + 0.5 * (dropout - 0.3) ** 2
    params = {"learning_rate": rate, "rank": rank, "dropout": dropout}
    if rate > 7e-3:
        return make_trial(number, None, params=params)
    score = max(0.5, peak - missed + float(rng.normal(0, 0.008)))
    if number % 7 == 5:
        return make_trial(number, score, params=params, state=TrialState.PRUNED, steps=10)
    return make_trial(number, score, params=params)


def _turned(trial: TrialRow) -> TrialRow:
    """Return a trial with its score turned into an error, of which less is better."""
    if trial.validation_score is None:
        return trial
    return trial.model_copy(update={"validation_score": (1 - trial.validation_score) / 4})


def _best(content: dict[str, Any]) -> int | None:
    sign = 1 if content["direction"] == "maximize" else -1
    scored = {
        trial.number: sign * trial.validation_score
        for trial in content["trials"]
        if trial.state is TrialState.COMPLETE and trial.validation_score is not None
    }
    return max(scored, key=scored.__getitem__) if scored else None
