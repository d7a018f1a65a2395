"""A fabricated results folder with written answers, and judges of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gapbench.bench.config.run import Run
from gapbench.bench.config.task import Task
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import kinds
from tests.support.causal_files import TELL
from tests.support.results_folder import items_of, make_cell, make_record

METHODS = ("lora", "lora_dropout", "head")
SEEDS, ITEMS = 3, 12
GOOD = {"lora": 2, "lora_dropout": 4, "head": 1}
"""How often each method's answers say well, of which judges think much."""

Line = dict[str, Any]


def make_task(data: Path, **change: Any) -> Task:
    """Return a task of generation whose rows are written to a folder."""
    task: Task = kinds.task_classes()["generation"].model_validate(TELL | change)
    for split in ("train", "test"):
        path = data / task.name / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        who = [f"{split} {row}" for row in range(ITEMS)]
        rows = {
            "who": who,
            "what": ["red"] * ITEMS,
            "telling": [f"it is\u2028{each}" for each in who],
        }
        pd.DataFrame(rows).to_parquet(path)
    return task


def text_of(method: str, seed: int, item: int) -> str:
    """Return what a run wrote; the first item's answers are all the same."""
    if item == 0:
        return "same for all"
    rng = np.random.default_rng([GOOD[method], seed, item])
    return " ".join(["well"] * int(rng.binomial(5, GOOD[method] / 5)) + [f"{method[:5]}{seed}"])


def answered(folder: Path, methods: tuple[str, ...] = METHODS) -> Store:
    """Write a results folder whose runs wrote answers, and their rows in ``data`` beside it."""
    task = make_task(folder / "data")
    data = Sources(folder / "data").data(task)
    store = Store(folder / "results")
    store.open_for_writing()
    cells = [make_cell(method, task=task).changed({"data": data}) for method in methods]
    runs = [Run(cell, seed) for cell in cells for seed in range(SEEDS)]
    store.write_plan("told", [(run, "default") for run in runs])
    for run in runs:
        record = make_record(run.cell, run.seed)
        store.write(record, predictions(record))
    return store


def predictions(record: Record) -> dict[str, pa.Table]:
    """Return the stored tables of a run, with its answers on test."""
    tables = items_of(record, ITEMS)
    texts = [text_of(record.cell.method, record.seed, item) for item in range(ITEMS)]
    return tables | {"test": tables["test"].append_column("text", pa.array(texts))}


def lines_of(path: Path) -> list[Line]:
    """Return the lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]


def write_lines(path: Path, lines: list[Line]) -> Path:
    """Write lines to a file."""
    path.write_text(
        "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8"
    )
    return path


def count_well(text: str) -> int:
    """Return how good an answer is."""
    return text.count("well")


def rate(line: Line) -> Line:
    """Judge a line by how often answers say well."""
    if "answer" in line:
        return line | {"score": 1 + 1.5 * count_well(line["answer"])}
    first, second = (count_well(line[side]) for side in ("answer_a", "answer_b"))
    return line | {"preference": "tie" if first == second else "AB"[second > first]}


def judged(path: Path, judge: str, verdict: Callable[[Line], Line] = rate) -> list[Line]:
    """Return the lines of a file as a judge fills them."""
    return [verdict(line) | {"judge": judge} for line in lines_of(path)]
