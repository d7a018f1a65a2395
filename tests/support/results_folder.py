"""Fabricated results folders, realistic enough to look at: tasks x methods x seeds.

Scores follow a simple story: the train score climbs to a method's `memory`, the test score to its
`skill`, and the more a method memorises, the more confident and the worse calibrated it is.
"""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from gapbench.bench.config.run import Budget, Cell, Fingerprint, Protocol, Run, Training
from gapbench.bench.config.task import Task
from gapbench.bench.store.record import (
    Calibration,
    Checkpoint,
    Cost,
    CurvePoint,
    Provenance,
    Record,
    SplitScores,
    Status,
    Truth,
)
from gapbench.bench.store.record_io import ITEM
from gapbench.bench.store.store import Store

SKILL = {
    "majority": 0.55,
    "head": 0.66,
    "bitfit": 0.74,
    "lora": 0.75,
    "full": 0.76,
    "lora_dropout": 0.80,
}
MEMORY = {
    "majority": 0.55,
    "head": 0.70,
    "bitfit": 0.83,
    "lora": 0.97,
    "full": 0.99,
    "lora_dropout": 0.88,
}
STEPS = range(0, 201, 20)
FEW = ("head", "lora", "lora_dropout")


def make_task(name: str = "syn_sentiment", *, kind: str = "classification", **change: Any) -> Task:
    """Return a small built-in task; regression is scored by mse, where lower is better."""
    if kind == "regression":
        change = {"label_range": (0.0, 1.0), "metrics": ("mse", "pearson"), **change}
    else:
        change = {"labels": ("negative", "positive"), "metrics": ("accuracy", "f1"), **change}
    return Task.model_validate(
        {
            "name": name,
            "version": 1,
            "kind": kind,
            "description": "fabricated",
            "source": {
                "builtin": name,
                "seed": 0,
                "sizes": {"train": 200, "validation": 100, "test": 400},
            },
            "text": ("text",),
            "validation_size": 100,
            "max_length": 32,
            **change,
        }
    )


def make_cell(
    method: str = "lora",
    *,
    task: Task | None = None,
    protocol: Protocol = "strict",
    config: dict[str, Any] | None = None,
) -> Cell:
    """Return a cell on the tiny encoder."""
    return Cell(
        task=task or make_task(),
        data=Fingerprint(name="builtin", digest="d" * 64),
        backbone=Fingerprint(name="tiny-bert", digest="b" * 64),
        method=method,
        config={"rank": 8, "alpha": 16.0} if config is None else config,
        training=Training(),
        budget=Budget(steps=200),
        protocol=protocol,
    )


def make_record(
    cell: Cell | None = None,
    seed: int = 0,
    *,
    status: Status = Status.OK,
    detail: str | None = None,
    device: str = "CPU, 8 cores",
    **change: Any,
) -> Record:
    """Return one record; only a run with status ok has scores.

    Args:
        cell: what was run.
        seed: decides the noise of the scores.
        status: how it ended.
        detail: why.
        device: where it ran.
        change: fields laid over the result.
    """
    cell = cell or make_cell()
    run = Run(cell, seed)
    content: dict[str, Any] = {
        "run_hash": run.hash,
        "cell_hash": cell.hash,
        "seed": seed,
        "cell": cell,
        "status": status,
        "detail": detail,
        "provenance": Provenance(
            started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            device=device,
            device_type="cpu" if device.startswith("CPU") else "cuda",
            threads=2,
            code_hash="c" * 64,
            versions={"gapbench": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        ),
    }
    if status is Status.OK:
        content |= _results(cell, seed)
    return Record.model_validate(content | change)


def fill(
    root: Path,
    *,
    methods: tuple[str, ...] = tuple(SKILL),
    seeds: int = 3,
    tasks: tuple[Task, ...] | None = None,
    suite: str = "quickstart",
) -> Store:
    """Write a complete results folder with its plan and predictions, or add them to one.

    The files of a new one are made once for all tests that ask for the same.
    """
    tasks = tasks or (make_task(), make_task("syn_similarity", kind="regression"))
    if (root / "plans").exists():
        return _fill(root, methods, seeds, tasks, suite)
    described = tuple(task.model_dump_json() for task in tasks)
    for place, content in _files(methods, seeds, described, suite).items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content)
    store = Store(root)
    store.open_for_writing()
    return store


@lru_cache(maxsize=64)
def _files(
    methods: tuple[str, ...], seeds: int, described: tuple[str, ...], suite: str
) -> dict[Path, bytes]:
    tasks = tuple(map(Task.model_validate_json, described))
    with TemporaryDirectory() as folder:
        _fill(Path(folder), methods, seeds, tasks, suite)
        paths = filter(Path.is_file, Path(folder).rglob("*"))
        return {path.relative_to(folder): path.read_bytes() for path in paths}


def _fill(
    root: Path, methods: tuple[str, ...], seeds: int, tasks: tuple[Task, ...], suite: str
) -> Store:
    store = Store(root)
    store.open_for_writing()
    cells = [make_cell(method, task=task) for task in tasks for method in methods]
    runs = [Run(cell, seed) for cell in cells for seed in range(seeds)]
    store.write_plan(suite, [(run, "default") for run in runs])
    for run in runs:
        put(store, make_record(run.cell, run.seed))
    return store


def put(store: Store, record: Record, items: int = 400) -> None:
    """Store a record and, where it ended well, predictions that give its scores."""
    store.write(record, items_of(record, items) if record.status is Status.OK else {})


def items_of(record: Record, n: int = 400) -> dict[str, pa.Table]:
    """Return items of each scored split that add equally to each recorded value."""
    recorded = {split: dict(scores.metrics) for split, scores in record.splits.items()}
    if record.calibration is not None and "test" in recorded:
        recorded["test"] |= {name: getattr(record.calibration, name) for name in ("ece", "nll")}
    tables = {split: pa.table({"example_id": np.arange(n)}) for split in recorded}
    if "test" in tables and record.cell.task.kind == "classification":
        tables["test"] = make_predictions(record, n)
    for split, values in recorded.items():
        for name, value in values.items():
            if value is not None:
                items = pa.array(np.full(n, value))
                tables[split] = tables[split].append_column(f"{ITEM}{name}", items)
    return tables


def make_predictions(record: Record, n: int = 400) -> pa.Table:
    """Return two-class test predictions whose overconfidence grows with a method's memory."""
    rng = np.random.default_rng(record.seed)
    truth = rng.beta(0.6, 0.6, n)
    labels = (rng.random(n) < truth).astype(np.int64)
    sharpness = 0.5 + 4 * (MEMORY.get(record.cell.method, 0.9) - 0.5)
    logit = sharpness * (np.log(truth / (1 - truth)) + rng.normal(0, 0.8, n))
    return pa.table(
        {
            "example_id": np.arange(n),
            "label": labels,
            "logit_0": -logit / 2,
            "logit_1": logit / 2,
            "true_probability_0": 1 - truth,
            "true_probability_1": truth,
        }
    )


def _results(cell: Cell, seed: int) -> dict[str, Any]:
    regression = cell.task.kind == "regression"
    rng = np.random.default_rng([seed, len(cell.method), len(cell.task.name)])
    noise = 0.0 if cell.method == "majority" else 0.01
    skill = SKILL.get(cell.method, 0.7) + noise * rng.normal()
    memory = MEMORY.get(cell.method, 0.9) + noise * rng.normal()
    curve = tuple(_point(step, memory, skill, regression=regression) for step in STEPS)
    last = curve[-1]
    overconfidence = max(0.0, memory - skill)
    classifier = {
        "calibration": Calibration(
            temperature=1 + 4 * overconfidence,
            ece=0.02 + overconfidence / 2,
            ece_calibrated=0.02 + overconfidence / 8,
            ece_equal_mass=0.03,
            mce=0.3,
            ece_equal_mass_calibrated=0.02,
            mce_calibrated=0.2,
            brier=0.4,
            brier_calibrated=0.35,
            nll=0.6 + overconfidence,
            nll_calibrated=0.5,
        ),
        "truth": Truth(score=0.86, ece=0.011, brier=0.2, nll=0.3),
    }
    gap = (last.train_score or 0) - (last.test_score or 0)
    return {
        "curve": curve,
        "checkpoint": Checkpoint(step=160, validation_score=last.validation_score),
        "generalization_gap": -gap if regression else gap,
        "loss_gap": last.test_loss - last.train_loss,
        "splits": {
            split: _split(cell, getattr(last, f"{split}_score"), getattr(last, f"{split}_loss"))
            for split in ("train", "validation", "test")
        },
        "cost": _cost(cell.method, rng),
        **({"truth": Truth(score=0.01)} if regression else classifier),
    }


def _split(cell: Cell, score: float, loss: float) -> SplitScores:
    metrics: dict[str, float | None] = dict.fromkeys(cell.task.metrics, score / 2)
    return SplitScores(metrics=metrics | {cell.task.metrics[0]: score}, loss=loss, examples=200)


def _point(step: int, memory: float, skill: float, *, regression: bool) -> CurvePoint:
    risen = 1 - np.exp(-step / 50)
    train = float(0.5 + (memory - 0.5) * risen)
    test = float(0.5 + (skill - 0.5) * risen - 0.0002 * max(0, step - 120) * (memory > 0.9))
    if regression:
        train, test = (1 - train) / 4, (1 - test) / 4
    losses = (train, test) if regression else (1.2 - train, 1.2 - test)
    return CurvePoint(
        step=step,
        train_score=train,
        validation_score=test + 0.005,
        test_score=test,
        train_loss=losses[0],
        validation_loss=losses[1],
        test_loss=losses[1] + 0.002,
    )


def _cost(method: str, rng: np.random.Generator) -> Cost:
    seconds = 0.0 if method == "majority" else 2 + 20 * (method == "full") + float(rng.random())
    tokens = 0 if method == "majority" else 51_200
    return Cost(
        train_seconds=seconds,
        evaluation_seconds=0.5,
        steps=200,
        train_tokens=tokens,
        tokens_per_second=tokens / seconds if seconds else None,
        peak_memory_bytes=int(3e8 + 5e8 * (method == "full")),
        trainable_params={"majority": 0, "full": 1_200_000}.get(method, 14_000),
        train_flops=3.1e12 if seconds else 0.0,
        forward_passes=200,
        backward_passes=200,
        stack_size=3,
    )
