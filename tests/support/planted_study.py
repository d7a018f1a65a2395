"""A study whose runs are not trained: a planted function gives their scores.

Everything else is real: the storage, the sampler, the claims and the records.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from gapbench.bench.config.run import Budget, Cell, Run
from gapbench.bench.store.record import Calibration, Cost, SplitScores, Status
from gapbench.bench.store.store import store_at
from gapbench.bench.tuning.schema import Dimension, Limit
from gapbench.bench.tuning.study import Session
from gapbench.bench.tuning.study_plan import Search, StudyPlan
from tests.support.small_suite import CELL, blank

SPACE = {
    "learning_rate": Dimension(
        where="training", kind="float", low=1e-4, high=1e-2, log=True, default=5e-4
    ),
    "rank": Dimension(where="config", kind="int", low=1, high=64, log=True, default=2),
    "dropout": Dimension(where="config", kind="float", low=0.0, high=0.3, default=0.0),
}
STEPS = 4
REGRESSION: dict[str, Any] = {
    "kind": "regression",
    "labels": [],
    "label_range": [0, 1],
    "metrics": ["mse"],
}
"""Changes that make the small suite's task one on whose score no two trials tie."""
Evaluate = Callable[[Run], dict[str, Any]]


def plan(trials: float = 24, **search: Any) -> StudyPlan:
    """Return a study of LoRA, with a budget of trials unless `limit` is given."""
    asked = Search(**{"limit": Limit(unit="trials", amount=trials)} | search)
    # A copy would keep the hash that another test may have asked for.
    fields = {name: getattr(CELL, name) for name in Cell.model_fields}
    cell = Cell(**fields | {"budget": Budget(steps=STEPS, evaluations=2)})
    plain = float(STEPS * asked.trial_seeds * cell.budget.batch_size)
    return StudyPlan("planted", "default", cell, SPACE, asked, plain)


def session(study: StudyPlan, folder: Path, storage: BaseStorage | None = None) -> Session:
    """Open a study whose records go to ``folder``."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Session(study, storage or InMemoryStorage(), store_at(folder))


def bowl(run: Run) -> float:
    """Return a score with one optimum, 0: learning rate 10^-2.5, rank 16, dropout 0.1."""
    rate, config = run.cell.training.learning_rate, run.cell.config
    rank, dropout = int(config["rank"]), float(config["dropout"])
    away = (math.log2(rank) - 4) ** 2 / 10 + (10 * (dropout - 0.1)) ** 2
    return -((math.log10(rate) + 2.5) ** 2) - away


def scored(run: Run, score: float, ece: float = 0.1, train: float = 0.0) -> dict[str, Any]:
    """Return the fields of a record with these scores."""
    metric = run.cell.task.metrics[0]
    splits = {"train": train, "validation": score}
    return {
        "status": Status.OK,
        "splits": {
            name: SplitScores(metrics={metric: value}, loss=0.5, examples=8)
            for name, value in splits.items()
        },
        "calibration": Calibration(ece=ece, ece_equal_mass=ece, mce=ece, brier=0.1, nll=0.1),
        "cost": cost(run),
    }


def cost(run: Run, seconds: float = 2.0) -> Cost:
    """Return what a run costs that makes all its steps."""
    return Cost(
        train_seconds=seconds,
        evaluation_seconds=0.0,
        steps=run.cell.budget.total_steps(1),
        train_tokens=1,
        tokens_per_second=1.0,
        peak_memory_bytes=1,
        trainable_params=1,
        train_flops=1.0,
        forward_passes=STEPS,
        backward_passes=STEPS,
        stack_size=1,
    )


def planted(run: Run) -> dict[str, Any]:
    """Evaluate a run by the bowl."""
    return scored(run, bowl(run))


def carry_out(opened: Session, evaluate: Evaluate = planted) -> list[list[Run]]:
    """Spend the budget of a study; return the runs of each turn."""
    turns: list[list[Run]] = []
    while runs := opened.advance():
        with opened.store.claim(runs) as mine:
            for run in mine:
                opened.store.write(blank(run, **evaluate(run)))
        turns.append(runs)
    return turns
