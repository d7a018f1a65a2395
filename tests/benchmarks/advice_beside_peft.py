"""A race of `gapbench advise`, beside PEFT with the model library's `Trainer` in sequence.

Takes the results folder of a race that is over. Its first runs of LoRA are trained again by the
library: the same rows, precision, threads and number of steps, scored once on the block's fold,
where the race scores along training too. The library has no other arm, so each of its runs is
counted as one of LoRA, the cheapest. The last line sets both beside each other: for the runs that
the race made, and for the full grid of arms and blocks.

    gapbench advise --data reviews.csv --text review --label stars --results out
    python -m tests.benchmarks.advice_beside_peft out
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from gapbench.bench.adaptation.build import load_backbone
from gapbench.bench.config.run import Run
from gapbench.bench.core.process import choose_device, prepare
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import dataset
from tests.benchmarks.compare_peft import Work
from tests.benchmarks.peft_trainer import Rows


def main() -> None:
    """Print a line for each run of the library, then what both take."""
    options = _parser().parse_args()
    advice = json.loads((options.results / "advice.json").read_text())
    found = Store(options.results / "race").records()
    raced = [each for each in found if isinstance(each, Record)]
    assert len(raced) == advice["runs"], "the folder holds other races too"
    prepare(options.threads)
    library = fmean(_by_library(run, options.backbone) for run in _first(raced, options.pairs))
    print(json.dumps(_compared(advice, raced, library)))


def _first(raced: list[Record], pairs: int) -> list[Run]:
    """Return the first runs of LoRA, at any of its settings."""
    lora = [record.run for record in raced if record.cell.method == "lora"]
    return sorted(lora, key=lambda run: run.seed)[:pairs]


def _by_library(run: Run, backbone: str) -> float:
    """Return the seconds that one run takes the library, without loading model and rows."""
    sources = Sources()
    sources.backbone(backbone)
    loaded = load_backbone(run.cell, sources)
    splits = dataset.prepare(run.cell, sources, loaded.reader, run.seed)
    steps = run.cell.budget.total_steps(len(splits.train))
    work = Work(run.cell, loaded, splits, splits, steps, choose_device("auto"))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = work.peft_trainer(folder)
        trainer.train()
        trainer.predict(Rows(splits.test))
    seconds = time.perf_counter() - began
    print(f"library, block {run.seed}: {steps} steps in {seconds:.1f} s", flush=True)
    return seconds


def _compared(
    advice: Mapping[str, Any], raced: list[Record], library: float
) -> dict[str, float | str]:
    race = sum(r.cost.train_seconds + r.cost.evaluation_seconds for r in raced if r.cost)
    return {
        "precision": raced[0].cell.precision,
        "race_seconds": round(race, 1),
        "library_seconds_a_run": round(library, 2),
        "runs": advice["runs"],
        "grid": advice["grid"],
        "same_runs_ratio": round(library * advice["runs"] / race, 2),
        "grid_ratio": round(library * advice["grid"] / race, 2),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--backbone", default="tiny-encoder")
    parser.add_argument("--pairs", type=int, default=3, help="runs of the library")
    parser.add_argument("--threads", type=int, default=None)
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
