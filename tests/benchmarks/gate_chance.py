"""How often the gate stops what did not change: on drawn numbers, and on trained runs.

    python -m tests.benchmarks.gate_chance --gates 400 --reruns 20

Drawn: every row goes its own way, with a spread of its own. Trained: the suite of
`tests.support.planted_bugs` again, each time with other threads, stacks and rounding.
"""

import argparse
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import gapbench
from gapbench.reports.results.load import LoadedResults, load
from gapbench.reports.results.rows import CURVE
from gapbench.reports.verdict.gate import gate
from tests.support.planted_bugs import other_arithmetic, run
from tests.support.results_folder import fill

_COLUMNS = ("validation_score", "test_score", "test_loss")
_ROUNDING = (0.0, 1e-6, 1e-3, 3e-2)


def rate(like: LoadedResults, gates: int, seeds: int, rows: int) -> float:
    """Return the share of gates that are stopped by chance.

    Args:
        like: results whose first run lends its other columns.
        gates: how many to draw.
        seeds: of each row.
        rows: how many.
    """
    rng = np.random.default_rng([20261128, seeds, rows])
    first = like.runs.iloc[0].to_dict()
    keys = list(product(range(rows), range(seeds)))
    plain = pd.DataFrame(
        [first | {"seed": s, "run_hash": f"{r}-{s}", "config_hash": str(r)} for r, s in keys]
    )
    still = np.ones((4, len(CURVE)))
    before = replace(like, runs=plain, curves=dict.fromkeys(plain["run_hash"], still))
    spread = np.repeat(np.geomspace(0.001, 0.05, rows), seeds)
    stopped = 0
    for _ in range(gates):
        moves = {name: plain[name] + spread * rng.normal(size=len(keys)) for name in _COLUMNS}
        curves = {
            key: still + own * rng.normal(size=len(CURVE))
            for key, own in zip(plain["run_hash"], spread, strict=True)
        }
        after = replace(like, runs=plain.assign(**moves), curves=curves)
        stopped += not gate(before, after).passed
    return stopped / gates


def reruns(count: int, folder: Path) -> int:
    """Train the suite again so often; return how many times the gate stopped it."""
    before, stopped = run(folder / "before"), 0
    for number in range(count):
        torch.set_num_threads(1 + number % 2)
        with other_arithmetic(number, _ROUNDING[number % len(_ROUNDING)]):
            after = run(folder / str(number), stack=(None, 1, 2, 3)[number // 2 % 4])
        found = gapbench.gate(after, before)
        print(
            f"re-run {number}: {found.found.n_equal} of 25 equal, passed {found.passed}", flush=True
        )
        stopped += not found.passed
    return stopped


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=400, help="drawn gates of each case")
    parser.add_argument("--reruns", type=int, default=20, help="trainings of the whole suite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = load(fill(Path(place) / "made", methods=("lora",), seeds=1))
        for case in product((3, 5), (1, 3, 8)):
            print(
                f"{case[0]} seeds, {case[1]} rows: {100 * rate(made, options.gates, *case):.1f} %",
                flush=True,
            )
        stopped = reruns(options.reruns, Path(place))
        print(f"stopped {stopped} of {options.reruns} re-runs without a bug")
