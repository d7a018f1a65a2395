"""Runs an hour in a stack, beside those of PEFT with the model library's `Trainer`.

Both fine-tune LoRA (rank 8 on query and value) on the same examples, with the same batch size,
precision, threads and final evaluation on train, validation and test, and take turns in one
process. What preparation, a step and evaluation take is measured on a few steps and a part of the
data, and a run of the given number of steps on the whole is worked out from that. Batches
are padded to their longest sequence; the library draws them at random, which is its default. The
last line holds the ratios: of each precision to the library in the same one, and of bf16 to the
library's default, fp32.

    python -m tests.benchmarks.compare_peft rte --data DATA --backbone BACKBONE --quick
    python -m tests.benchmarks.compare_peft random --backbone bert-base --tokens 128 --runs 16

The second form takes a shape with random weights and rows of random tokens, and no files.
"""

import argparse
import json
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import peft
import torch
import transformers

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import load_backbone, set_up
from gapbench.bench.config.run import Budget, Cell, Run, Training
from gapbench.bench.config.task_files import load
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.core.process import choose_device, prepare
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling import auto_precision, random_models
from gapbench.bench.store import provenance
from gapbench.bench.tasks import dataset
from gapbench.bench.tasks.eval_subset import CURVE_SIZE
from gapbench.bench.training.make_records import records
from gapbench.bench.training.trainer import Trainer
from tests.benchmarks.peft_trainer import Rows

RATE = 5e-4
_ALONG = 2  # times that a stack is scored along training: before the first step and at the last
_HELD_OUT = ("validation", "test")
Ratios = dict[str, list[float]]


@dataclass(frozen=True)
class Took:
    """Seconds of one run: what comes before its steps, one step, and its evaluation."""

    preparation: float
    step: float
    evaluation: float

    def an_hour(self, steps: int) -> float:
        """Return how many runs of so many steps an hour has room for."""
        return 3600 / (self.preparation + steps * self.step + self.evaluation)


@dataclass(frozen=True)
class Work:
    """What both sides do.

    Attributes:
        whole: the splits with the whole training set.
    """

    cell: Cell
    backbone: Backbone
    splits: TaskData
    whole: TaskData
    steps: int
    device: torch.device

    def stacked(self, runs: int) -> Took:
        """Train and score a stack."""
        began = time.perf_counter()
        planned = [Run(self.cell, seed) for seed in range(runs)]
        peak = MemoryPeak(self.device)
        method, state = set_up(planned, self.backbone, self.splits, self.device)
        trainer = Trainer(planned, method, state, self.splits, lambda _: None)
        trainer.train()
        made = records(trainer, self.backbone.tokenizer, peak, provenance.now())
        costs = [record.cost for record, _ in made]
        whole = time.perf_counter() - began
        train = sum(cost.train_seconds for cost in costs if cost)
        evaluation = sum(cost.evaluation_seconds for cost in costs if cost)
        rest = whole - train - evaluation
        more = _scored(self.whole, _ALONG) / _scored(self.splits, _ALONG)
        return Took(rest / runs, train / runs / self.steps, more * evaluation / runs)

    def by_trainer(self) -> Took:
        """Train and score one run with PEFT and `Trainer`."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.peft_trainer(folder)
            prepared = time.perf_counter()
            trainer.train()
            trained = time.perf_counter()
            for split in (self.splits.train, self.splits.validation, self.splits.test):
                trainer.predict(Rows(split))
        ended = time.perf_counter()
        more = _scored(self.whole, 0) / _scored(self.splits, 0)
        evaluation = more * (ended - trained)
        return Took(prepared - began, (trained - prepared) / self.steps, evaluation)

    def peft_trainer(self, folder: str) -> transformers.Trainer:
        """Return the trainer of one run with PEFT."""
        config = peft.LoraConfig(
            r=8, target_modules=["query", "value"], modules_to_save=["classifier"]
        )
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=self.steps,
            learning_rate=RATE,
            per_device_train_batch_size=self.cell.budget.batch_size,
            per_device_eval_batch_size=64,
            bf16=self.cell.precision == "bf16",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            use_cpu=self.device.type == "cpu",
        )
        trainer = transformers.Trainer(
            model=peft.get_peft_model(self.backbone.model().float(), config),
            args=arguments,
            train_dataset=Rows(self.splits.train),
            data_collator=transformers.DataCollatorWithPadding(self.backbone.tokenizer),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer


def main() -> None:
    """Print one line a pair, then one with the medians of the ratios."""
    options = _parser().parse_args()
    if options.quick:
        options.steps, options.pairs, options.train_size = 8, 1, 64
        options.runs, options.scored = min(options.runs, 4), 64
    prepare(options.threads)
    work = {precision: _work(options, precision) for precision in _precisions(options)}
    ratios: Ratios = {}
    for _ in range(options.pairs):
        _compare(options, work, ratios)
    shape = {"task": options.task, "runs": options.runs, "steps": options.of_steps}
    found = {name: round(median(values), 2) for name, values in ratios.items()}
    print(json.dumps(shape | {"runs_an_hour_ratio": found}))


def _precisions(options: argparse.Namespace) -> list[str]:
    """Return what was asked for; else fp32, and bf16 where it pays or the shape is random."""
    if options.precision or options.task == "random":
        return options.precision or ["fp32", "bf16"]
    chosen = auto_precision.choose([options.backbone], 16, choose_device(options.device))
    if chosen == "fp32":
        print("bf16 is left out: it gains too little on this machine; ask by --precision fp32 bf16")
    return list(dict.fromkeys(["fp32", chosen]))


def _compare(options: argparse.Namespace, work: dict[str, Work], ratios: Ratios) -> None:
    """Let the two sides take turns once in every precision."""
    default = None
    for precision, same in work.items():
        ours, theirs = same.stacked(options.runs), same.by_trainer()
        rate, library = (took.an_hour(options.of_steps) for took in (ours, theirs))
        default = library if precision == "fp32" else default
        ratios.setdefault(precision, []).append(rate / library)
        if default and precision != "fp32":
            ratios.setdefault(f"{precision} to fp32", []).append(rate / default)
        print(_line(precision, ours, theirs, rate / library), flush=True)


def _line(precision: str, ours: Took, theirs: Took, ratio: float) -> str:
    parts = [
        f"{name} {took.preparation:.2f} + {1000 * took.step:.1f} ms a step + {took.evaluation:.2f}"
        for name, took in (("stack", ours), ("library", theirs))
    ]
    return f"{precision}: {'; '.join(parts)} s a run: {ratio:.2f}"


def _work(options: argparse.Namespace, precision: str) -> Work:
    device = choose_device(options.device)
    if options.task == "random":
        backbone = random_models.load(options.backbone, precision)
        cell = random_models.cell("lora", backbone, 16, options.tokens, precision)
        splits = random_models.random_rows(backbone.config.vocab_size, 16, options.tokens)
        whole = splits
    else:
        sources, task = Sources(options.data), load(options.task)
        cell = Cell(
            task=task,
            data=sources.data(task),
            backbone=sources.backbone(options.backbone),
            method="lora",
            config=registry.resolve_config("lora", {}, "benchmark"),
            training=Training(learning_rate=RATE),
            budget=Budget(steps=1, batch_size=16, train_size=options.train_size),
            precision=precision,
        )
        backbone = load_backbone(cell, sources)
        splits = dataset.prepare(cell, sources, backbone.reader)
        held_out = {name: _first(splits.open[name], options.scored) for name in _HELD_OUT}
        splits = replace(splits, **held_out)
        everything = cell.model_copy(update={"budget": Budget(steps=1)})
        whole = dataset.prepare(everything, sources, backbone.reader)
    budget = Budget(steps=options.steps, batch_size=16, evaluations=1)
    cell = cell.model_copy(update={"budget": budget})
    return Work(cell, backbone, splits, whole, options.steps, device)


def _first(split: EncodedSplit, rows: int | None) -> EncodedSplit:
    """Return the first rows of a split of single sequences; None for all."""
    if rows is None or rows >= len(split):
        return split
    ends = {len(split.input_ids): int(split.offsets[rows]), len(split): rows}
    arrays = {n: v for n, v in vars(split).items() if isinstance(v, np.ndarray) and n != "offsets"}
    cut = {name: values[: ends[len(values)]] for name, values in arrays.items()}
    return replace(split, **cut, offsets=split.offsets[: rows + 1])


def _scored(splits: TaskData, along: int) -> int:
    """Return how many examples are scored: subsets ``along`` training, and all at the end.

    A split that a subset holds whole is not scored once more.
    """
    sizes = [len(split) for split in (splits.train, splits.validation, splits.test)]
    subsets = [min(sizes[0], CURVE_SIZE), sizes[1], min(sizes[2], CURVE_SIZE)]
    last = [n for n, subset in zip(sizes, subsets, strict=True) if not along or n > subset]
    return along * sum(subsets) + sum(last)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", help="name of a task, or random")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="tiny-encoder")
    parser.add_argument("--tokens", type=int, default=128, help="of a random row")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--runs", type=int, default=8, help="in a stack")
    parser.add_argument("--steps", type=int, default=60, help="measured, of each run")
    parser.add_argument("--of-steps", type=int, default=690, help="length of the run worked out")
    parser.add_argument("--train-size", type=int, default=512, help="of the training set")
    parser.add_argument("--scored", type=int, help="rows of validation and of test; default: all")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", nargs="+", help="default: fp32, and bf16 where it pays")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="one pair, few runs, steps and rows")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
