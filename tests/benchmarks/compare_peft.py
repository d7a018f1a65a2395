"""Runs an hour in a stack, beside those of PEFT with the model library's `Trainer`.

Both fine-tune LoRA (rank 8 on query and value) on the same examples, with the same batch size,
precision, threads and final evaluation on train, validation and test, and take turns in one
process. What preparation, a step and evaluation take is measured on a few steps, and a run of the
given number of steps is worked out from that. Batches are padded to their longest sequence; the
library draws them at random, which is its default. The last line holds the ratios.

    python -m tests.benchmarks.compare_peft rte --data DATA --backbone BACKBONE --quick
"""

import argparse
import json
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import peft
import torch
import transformers

from bench import backbone as backbones
from bench import data, registry
from bench.config import Budget, Cell, Run, Training
from bench.run import Attempt
from bench.set_up import load_backbone
from bench.sources import Sources
from bench.splits import TaskData
from bench.tasks import load
from tests.benchmarks.peft_trainer import Rows

RATE = 5e-4


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
    """What both sides do."""

    cell: Cell
    sources: Sources
    splits: TaskData
    location: str
    steps: int

    def stacked(self, runs: int) -> Took:
        """Train and score a stack."""
        began = time.perf_counter()
        backbone = load_backbone(self.cell, self.sources)
        planned = [Run(self.cell, seed) for seed in range(runs)]
        attempt = Attempt.prepare(
            planned, backbone, self.sources, torch.device("cpu"), lambda _: None
        )
        attempt.train()
        costs = [record.cost for record, _ in attempt.records()]
        whole = time.perf_counter() - began
        train = sum(cost.train_seconds for cost in costs if cost)
        evaluation = sum(cost.evaluation_seconds for cost in costs if cost)
        rest = whole - train - evaluation
        return Took(rest / runs, train / runs / self.steps, evaluation / runs)

    def library(self) -> Took:
        """Train and score one run with PEFT and `Trainer`."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(folder)
            prepared = time.perf_counter()
            trainer.train()
            trained = time.perf_counter()
            for split in (self.splits.train, self.splits.validation, self.splits.test):
                trainer.predict(Rows(split))
        ended = time.perf_counter()
        return Took(prepared - began, (trained - prepared) / self.steps, ended - trained)

    def _trainer(self, folder: str) -> transformers.Trainer:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            self.location,
            dtype=torch.float32,
            num_labels=self.cell.task.n_outputs,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
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
            use_cpu=True,
        )
        return transformers.Trainer(
            model=peft.get_peft_model(model, config),
            args=arguments,
            train_dataset=Rows(self.splits.train),
            data_collator=transformers.DataCollatorWithPadding(
                backbones.load_tokenizer(self.location)
            ),
        )


def main() -> None:
    """Print one line a pair, then one with the medians of the ratios."""
    options = _parser().parse_args()
    if options.quick:
        options.steps, options.pairs = 16, 3
    torch.set_num_threads(options.threads)
    ratios: dict[str, float] = {}
    for precision in options.precision:
        work = _work(options, precision)
        found = []
        for _ in range(options.pairs):
            ours, theirs = work.stacked(options.runs), work.library()
            found.append(ours.an_hour(options.of_steps) / theirs.an_hour(options.of_steps))
            print(_line(precision, ours, theirs, found[-1]), flush=True)
        ratios[precision] = round(median(found), 2)
    shape = {"task": options.task, "runs": options.runs, "steps": options.of_steps}
    print(json.dumps(shape | {"runs_an_hour_ratio": ratios}))


def _line(precision: str, ours: Took, theirs: Took, ratio: float) -> str:
    parts = [
        f"{name} {took.preparation:.2f} + {1000 * took.step:.1f} ms a step + {took.evaluation:.2f}"
        for name, took in (("stack", ours), ("library", theirs))
    ]
    return f"{precision}: {'; '.join(parts)} s a run: {ratio:.2f}"


def _work(options: argparse.Namespace, precision: str) -> Work:
    sources = Sources(options.data)
    task = load(options.task)
    cell = Cell(
        task=task,
        data=sources.data(task),
        backbone=sources.backbone(options.backbone),
        method="lora",
        config=registry.resolve_config("lora", {}, "benchmark"),
        training=Training(learning_rate=RATE),
        budget=Budget(steps=options.steps, batch_size=16, evaluations=1),
        precision=precision,
    )
    splits = data.prepare(cell, sources, load_backbone(cell, sources).reader)
    folder = backbones.backbone_folder(options.backbone)
    return Work(cell, sources, splits, str(folder or options.backbone), options.steps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="tiny-encoder")
    parser.add_argument("--runs", type=int, default=8, help="in a stack")
    parser.add_argument("--steps", type=int, default=60, help="measured, of each run")
    parser.add_argument("--of-steps", type=int, default=690, help="length of the run worked out")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="16 steps, 3 pairs")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
