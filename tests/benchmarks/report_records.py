"""A large results folder with a known story, in the store's own format, to measure reports by.

All of GLUE and three built-in tasks on three backbones: every method of the suite `glue_methods`,
two of them tuned as well, ten seeds of each. A few runs failed, were skipped, are missing or cannot
be read. What runs score is told in `tests.benchmarks.report_story`.

    python -m tests.benchmarks.report_records --runs 10000 --out /tmp/results
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gapbench.bench.config.run import Cell, Fingerprint, Run
from gapbench.bench.config.task_files import load
from gapbench.bench.experiment import suite as suites
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.analysis import write as write_study
from tests.benchmarks.report_story import Place, scored
from tests.support.fabricated_studies import search
from tests.support.results_folder import make_cell, make_record

SIZES = {
    "cola": 1043,
    "sst2": 872,
    "mrpc": 408,
    "stsb": 1500,
    "qqp": 2000,
    "mnli": 2000,
    "qnli": 2000,
    "rte": 277,
    "wnli": 71,
    "syn_acceptability": 800,
    "syn_entailment": 800,
    "syn_sentiment": 800,
}
"""Test examples of each task; the largest sets of GLUE are cut."""

BACKBONES = {"roberta-base": "CPU, 8 cores", "deberta-v3-base": "GPU A", "roberta-large": "GPU A"}
"""Where runs on each backbone took place."""

METHODS = tuple(suites.load("glue_methods")[0].methods)
TUNED = ("lora", "hiddenkey")
SEEDS = 10
PLACE = SEEDS * (len(METHODS) + len(TUNED))
"""Runs of one task on one backbone."""

SUITE = "large"
UNREADABLE = 3


def write(root: Path, runs: int = 10_000, seed: int = 0) -> Store:
    """Write a results folder.

    Args:
        root: a new or empty folder.
        runs: least number of planned runs; a task is never cut.
        seed: of everything in it.
    """
    store = Store(root)
    store.open_for_writing()
    planned: list[tuple[Run, str]] = []
    for number, place in enumerate(_places(-(-runs // PLACE), seed)):
        rng = np.random.default_rng([seed, 1, number])
        for rank, (cell, variant) in enumerate(_cells(place, root, number)):
            advantage = -0.6 if cell.method in {"majority", "untuned"} else 0.012 * rank
            for each in range(SEEDS):
                planned.append((Run(cell, each), variant))
                skill = place.level + advantage + rng.normal(0, 0.05)
                _put(store, place, Run(cell, each), skill, rng)
    store.write_plan(SUITE, planned)
    for run, _ in planned[7 :: len(planned) // UNREADABLE]:
        store.record_path(run).write_text('{"schema_version": 1,', encoding="utf-8")
    return store


def _places(count: int, seed: int) -> Iterator[Place]:
    """Yield the first places of the grid, all tasks of a backbone before the next backbone."""
    grid = [(task, backbone) for backbone in BACKBONES for task in SIZES]
    for name, backbone in grid[:count]:
        task, number = load(name), list(SIZES).index(name)
        rng = np.random.default_rng([seed, 0, number])
        regression = task.kind == "regression"
        n = SIZES[name]
        targets = rng.uniform(0, 5, n) if regression else rng.integers(0, len(task.labels), n)
        level = 0.6 + 0.1 * (number % 5) + 0.15 * list(BACKBONES).index(backbone)
        yield Place(task, backbone, level, rng.normal(0, 1, n), targets)


def _cells(place: Place, root: Path, number: int) -> Iterator[tuple[Cell, str]]:
    """Yield the cells of a place, and their variants; write the studies of the tuned ones."""
    for entry in METHODS:
        config = {"rank": 8, "alpha": 16.0, **entry.config}
        yield _cell(place, entry.method, config), entry.variant
    for method in TUNED:
        study = search(
            24,
            seed=number,
            name=f"{number:04x}{TUNED.index(method):012x}",
            suite=SUITE,
            task=place.task.name,
            backbone=place.backbone,
            method=method,
            metric=place.task.metrics[0],
        )
        write_study(root / "tuning" / study.name, study)
        won = next(trial.params for trial in study.trials if trial.number == study.best_number)
        config = {name: value for name, value in won.items() if name != "learning_rate"}
        yield _cell(place, method, config, learning_rate=won["learning_rate"]), "tuned"


def _cell(place: Place, method: str, config: dict[str, Any], **training: Any) -> Cell:
    cell = make_cell(method, task=place.task, config=config)
    return cell.model_copy(
        update={
            "backbone": Fingerprint(name=place.backbone, digest="b" * 64),
            "training": cell.training.model_copy(update=training),
        }
    )


def _put(store: Store, place: Place, run: Run, skill: float, rng: np.random.Generator) -> None:
    """Store a run, unless it is one of those that are missing."""
    device = BACKBONES[place.backbone]
    fate = rng.random()
    if run.cell.method == "hiddencut" and place.task.kind == "regression":
        status, detail = Status.SKIPPED, "hiddencut compares class distributions; there are none"
    elif fate < 0.01:
        status, detail = Status.FAILED, "Traceback (most recent call last):\nRuntimeError: no room"
    elif fate < 0.015:
        status, detail = Status.DIVERGED, "the loss is not finite at step 412"
    elif fate < 0.02:
        return
    else:
        table, content = scored(place, run.cell.method, skill, rng)
        store.write(make_record(run.cell, run.seed, device=device, **content), {"test": table})
        return
    store.write(make_record(run.cell, run.seed, status=status, detail=detail, device=device))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    options = _parser().parse_args()
    made = write(options.out, options.runs)
    print(f"{len(made.plans())} planned runs in {options.out}")
