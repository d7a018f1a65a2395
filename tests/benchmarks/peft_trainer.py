"""The same fine-tuning by PEFT and the model library's `Trainer`, to set beside gapbench's scores.

Same splits, same token ids, same optimiser settings, number of epochs and choice of checkpoint;
order of examples and initial values come from the library. Prints one JSON line a run.

    python -m tests.benchmarks.peft_trainer mrpc --data DATA --backbone BACKBONE --train-size 640
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from gapbench.bench.adaptation.build import load_backbone
from gapbench.bench.config.run import Budget, Cell, Training
from gapbench.bench.config.task_files import load
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.metrics import classification
from gapbench.bench.models import loading
from gapbench.bench.tasks import dataset


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """An encoded split as the trainer wants it."""

    def __init__(self, split: EncodedSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.split)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Return one example, not padded."""
        part = slice(self.split.offsets[i], self.split.offsets[i + 1])
        row: dict[str, Any] = {"input_ids": self.split.input_ids[part].tolist()}
        row["attention_mask"] = [1] * len(row["input_ids"])
        if self.split.token_type_ids is not None:
            row["token_type_ids"] = self.split.token_type_ids[part].tolist()
        return row | {"labels": self.split.targets[i].item()}


def main() -> None:
    """Train each method at each seed and print its test scores."""
    options = _parser().parse_args()
    sources = Sources(options.data)
    fingerprint = sources.backbone(options.backbone)
    task = load(options.task)
    budget = Budget(epochs=options.epochs, batch_size=16, train_size=options.train_size)
    cell = Cell(
        task=task,
        data=sources.data(task),
        backbone=fingerprint,
        method="lora",
        config={},
        training=Training(),
        budget=budget,
    )
    tokenizer = loading.load_tokenizer(options.backbone)
    splits = dataset.prepare(cell, sources, load_backbone(cell, sources).reader)
    for method, rate in options.methods:
        for seed in range(options.seeds):
            started = time.perf_counter()
            scores = _run(method, rate, seed, options, splits, tokenizer, task.metrics)
            seconds = round(time.perf_counter() - started, 1)
            print(
                json.dumps(
                    {
                        "task": task.name,
                        "method": method,
                        "seed": seed,
                        **scores,
                        "seconds": seconds,
                    }
                ),
                flush=True,
            )


def _run(
    method: str,
    rate: float,
    seed: int,
    options: argparse.Namespace,
    splits: TaskData,
    tokenizer: Any,
    names: tuple[str, ...],
) -> dict[str, Any]:
    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        options.backbone,
        dtype=torch.float32,
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    if method == "lora":
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=8,
                lora_alpha=options.alpha,
                target_modules=options.targets,
                modules_to_save=["classifier"],
            ),
        )
    elif method == "head":
        model.bert.requires_grad_(requires_grad=False)

    def compute(prediction: Any) -> dict[str, Any]:
        return classification.score(names, prediction.predictions, prediction.label_ids)

    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                num_train_epochs=options.epochs,
                learning_rate=rate,
                seed=seed,
                per_device_train_batch_size=16,
                per_device_eval_batch_size=64,
                warmup_steps=0.06,
                weight_decay=0.0,
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                eval_strategy="no",
                save_strategy="no",
                use_cpu=True,
            ),
            train_dataset=Rows(splits.train),
            compute_metrics=compute,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        found = trainer.predict(Rows(splits.test)).metrics
    return {name: found[f"test_{name}"] for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--train-size", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--targets", default=r".*\.(query|value)", help="a pattern, or all-linear")
    parser.add_argument(
        "--methods",
        nargs="+",
        type=_method,
        default=[("lora", 1e-3), ("head", 5e-3), ("full", 5e-5)],
        metavar="NAME=RATE",
    )
    return parser


def _method(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    return name, float(rate)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    main()
