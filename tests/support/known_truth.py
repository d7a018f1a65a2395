"""Results folders whose truth is known, written through the store: scores, items and fates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gapbench.bench.config.run import Fingerprint, Run
from gapbench.bench.config.task import Task
from gapbench.bench.store.record import SplitScores, Status
from gapbench.bench.store.record_io import ITEM
from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.model import Verdict
from tests.support.results_folder import items_of, make_cell, make_record, make_task
from tests.support.simulated_runs import correct

MISSING = "missing"
Fates = Mapping[tuple[str, int], Status | str]
"""What becomes of the run of a method and seed, if it does not end well."""


def write(
    root: Path,
    levels: Mapping[str, float],
    *,
    seeds: int = 5,
    items: int = 800,
    fates: Fates | None = None,
    task: Task | None = None,
    spread: float = 0.1,
    draw: int = 0,
    backbone: str = "tiny-bert",
    flops: Mapping[str, float] | None = None,
) -> Store:
    """Write accuracies of one task with the predictions that they come from.

    Args:
        root: of the results folder.
        levels: of each method, log odds of a right answer; `majority` and `untuned` train nothing,
            and give the same answers for every seed.
        seeds: of each method.
        items: test items.
        fates: of runs that do not end well.
        task: a classification task.
        spread: standard deviation of log odds between seeds.
        draw: seed of all chance.
        backbone: name of it.
        flops: that training a method takes; 1e12 of those that are not named.
    """
    store = Store(root)
    store.open_for_writing()
    rng = np.random.default_rng(draw)
    task = task or make_task()
    hard = rng.normal(0, 1.5, items)
    for method, level in levels.items():
        cell = make_cell(method, task=task)
        cell = cell.model_copy(update={"backbone": Fingerprint(name=backbone, digest="b" * 64)})
        runs = [Run(cell, seed) for seed in range(seeds)]
        store.write_plan("known", [(run, "default") for run in runs], "gapbench run known")
        bare = method in {"majority", "untuned"}
        effects = rng.normal(0, 0.0 if bare else spread, 1 if bare else seeds)
        right = correct(rng, level, effects, hard + rng.normal(0, 0.5, items))
        right = np.repeat(right, seeds, axis=0) if bare else right
        for run, answers in zip(runs, right, strict=True):
            fate = (fates or {}).get((method, run.seed), Status.OK)
            if fate is Status.OK:
                cost = 0.0 if bare else (flops or {}).get(method, 1e12)
                _put(store, run, answers, flops=cost)
            elif fate != MISSING:
                status = Status(fate)
                store.write(make_record(cell, run.seed, status=status, detail="cause"))
    return store


def _put(store: Store, run: Run, answers: np.ndarray, *, flops: float) -> None:
    """Store a run with the predictions that its accuracy comes from."""
    record = make_record(run.cell, run.seed)
    score = float(answers.mean())
    test = SplitScores(metrics={"accuracy": score, "f1": score}, loss=1.0, examples=len(answers))
    assert record.cost is not None
    params = 14_000 if flops else 0
    cost = record.cost.model_copy(update={"trainable_params": params, "train_flops": flops})
    labels = np.arange(len(answers)) % 2
    sure = np.where(answers == 1, 1.0, -1.0) * (2 * labels - 1)
    table = pa.table(
        {
            "example_id": np.arange(len(answers)),
            "label": labels,
            "logit_0": -sure.astype(np.float32),
            "logit_1": sure.astype(np.float32),
        }
    )
    splits = record.splits | {"test": test}
    gap = (record.score("train") or 0.0) - score
    record = record.model_copy(update={"splits": splits, "cost": cost, "generalization_gap": gap})
    items = items_of(record, len(answers))
    for name in ("ece", "nll"):
        table = table.append_column(f"{ITEM}{name}", items["test"][f"{ITEM}{name}"])
    store.write(record, {**items, "test": table})


def verdicts_of(
    store: Store, reference: str = "lora", matters: float | None = None
) -> Sequence[Verdict]:
    """Return the verdicts on a results folder."""
    results = load(store)
    return verdicts(results, summarise(results, reference), matters)
