"""Scoring with rows of several questions that begin alike, and with rows of one question each.

Both ways take turns in one process, on the first test rows of a task, by the backbone as it is.

    python -m tests.benchmarks.shared_beginnings BACKBONE mmlu_5_shots --data DATA --questions 100
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config import task_files
from gapbench.bench.core.process import prepare
from gapbench.bench.data import packing
from gapbench.bench.data.encoded import AbsentSplit, CausalSplit, Indices, TaskData
from gapbench.bench.data.packing import PackedRow
from gapbench.bench.data.sources import Sources
from gapbench.bench.tasks import kinds, token_outputs
from gapbench.bench.tasks.dataset import read_rows
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs
from tests.support.causal_files import make_runs
from tests.support.small_stack import CPU, load_backbone


def apart(split: CausalSplit, examples: Indices, **room: Any) -> list[PackedRow]:
    """Pack every example by itself."""
    rows: list[PackedRow] = []
    number = 0
    for example in examples:
        own = packing.pack(split, np.array([example]), **room)
        rows += [replace(row, numbers=row.numbers + number) for row in own]
        number += sum(len(row.numbers) for row in own)
    return rows


def scorer(options: argparse.Namespace) -> Callable[[], Outputs]:
    """Return what scores the first test rows of the task with the backbone in float32."""
    task = task_files.load(options.task)
    (run,) = make_runs(task, "untuned")
    run = replace(run, cell=run.cell.changed({"precision": "fp32"}))
    rows = read_rows(task, Sources(options.data))["test"].take(np.arange(options.questions))
    backbone, kind = load_backbone(options.backbone, [run]), kinds.get(task.kind)
    arrays = {"targets": rows.targets, "example_ids": rows.numbers}
    arrays |= kind.encode(task, "test", rows, backbone.reader)
    test = kind.load(arrays, backbone.tokenizer.pad_token_id)
    data = TaskData(AbsentSplit(), AbsentSplit(), test)
    return partial(kind.outputs, *set_up([run], backbone, data, CPU), EvalSubset.of(test))


def main() -> None:
    """Print the processor seconds of every turn, and how far the outputs are apart."""
    options = _parser().parse_args()
    prepare(options.threads)
    score = scorer(options)
    for turn in range(options.turns):
        made, told = [], []
        for name, pack in (("one question", apart), ("several", packing.pack)):
            token_outputs.pack = pack  # type: ignore[attr-defined]
            started = time.process_time()
            made += [next(iter(score().values()))]
            told += [f"rows of {name}: {time.process_time() - started:.1f} s"]
        apart_by = np.abs(made[0] - made[1]).max()
        print(f"turn {turn}: {', '.join(told)}; outputs differ by {apart_by:.1e}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("task")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
