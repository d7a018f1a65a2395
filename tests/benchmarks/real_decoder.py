"""A real decoder beside the model library: scores of choices, greedy texts, LoRA training.

Choices: the largest difference, in nats, between the log-likelihoods that a run stores and those of
single sequences in the library's own model. Texts: how many prompts are continued as `generate`
does. Training: the loss on held-out rows before and after a run of LoRA on the first task, by
`gapbench.run`. Exits with 1 if a number differs, or the loss does not fall.

    python -m tests.benchmarks.real_decoder --data DATA --backbone FOLDER
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

import gapbench
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.registry import resolve_config
from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Budget, Cell, Run, Training
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.models import attention, head_hooks
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.generation import decode

TOLERANCE = 1e-3  # nats
_CPU = torch.device("cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare on every task, then decode, then train."""
    options = _parser().parse_args(arguments)
    options.sources = Sources(options.data)
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    plain: Any = transformers.AutoModelForCausalLM.from_pretrained(
        options.backbone, dtype=torch.float32
    ).eval()
    agree = True
    for name in options.tasks:
        run = _run(options, _task(name, options))
        backbone, data = _prepared(run, options)
        subset = _evenly_spaced(data.test, options.rows)
        off, scores = _choices(run, backbone, data, plain, subset)
        rows = len(subset.examples)
        print(f"{name}: {scores} choices of {rows} rows, off by {off:.1e} nats", flush=True)
        agree &= off <= TOLERANCE
    same = _texts(backbone, data, plain, options.prompts)
    print(f"greedy texts: {same} of {options.prompts} as 'generate' writes them", flush=True)
    before, after = _trained(_task(options.tasks[0], options), options)
    print(
        f"LoRA, {options.train} rows of {options.tasks[0]}: validation loss of {options.validation}"
        f" rows {before:.3f}, then {after:.3f}"
    )
    return int(not (agree and same == options.prompts and after < before))


def _task(name: str, options: argparse.Namespace) -> Task:
    return load(name, options.beside).model_copy(update={"validation_size": options.validation})


def _run(options: argparse.Namespace, task: Task) -> Run:
    cell = Cell(
        task=task,
        data=options.sources.data(task),
        backbone=options.sources.backbone(options.backbone),
        method="untuned",
        config=resolve_config("untuned", {}, "here"),
        training=Training(),
        budget=Budget(steps=1, train_size=options.rows),
        precision="fp32",
    )
    return Run(cell, 0)


def _prepared(run: Run, options: argparse.Namespace) -> tuple[Backbone, TaskData]:
    backbone = checked_backbone(run.cell, options.sources, _CPU)
    if isinstance(backbone, str):
        sys.exit(backbone)
    return backbone, dataset.prepare(run.cell, options.sources, backbone.reader)


def _evenly_spaced(split: EncodedSplit, rows: int) -> EvalSubset:
    return EvalSubset(split, np.arange(rows, dtype=np.int64) * len(split) // rows)


def _choices(
    run: Run, backbone: Backbone, data: TaskData, plain: Any, subset: EvalSubset
) -> tuple[float, int]:
    """Return the largest difference of a choice's log-likelihood, and the number of choices."""
    method, state = set_up([run], backbone, data, _CPU)
    outputs = kinds.get(run.cell.task.kind).outputs(method, state, subset)
    split: Any = subset.split
    expected = []
    for example in subset.examples:
        for number in range(split.sequence_offsets[example], split.sequence_offsets[example + 1]):
            ids = split.input_ids[split.offsets[number] : split.offsets[number + 1]]
            expected.append(_log_likelihood(plain, ids, int(split.prompts[number])))
    sizes = np.diff(split.sequence_offsets)[subset.examples]
    chosen = zip(outputs["logits"][0], sizes, strict=True)
    ours = np.concatenate([each[:size] for each, size in chosen])
    return float(np.abs(ours - expected).max()), len(expected)


def _log_likelihood(model: Any, ids: Any, prompt: int) -> float:
    text = torch.from_numpy(ids.astype(np.int64))
    with torch.inference_mode():
        logits = model(input_ids=text[None]).logits[0, prompt - 1 : -1].double().log_softmax(-1)
    return float(logits.gather(1, text[prompt:, None]).sum())


def _texts(backbone: Backbone, data: TaskData, plain: Any, count: int) -> int:
    """Return how many prompts are continued as the library continues them, greedily."""
    split: Any = data.test
    firsts = split.sequence_offsets[:count]
    prompts = [
        split.input_ids[start : start + size].astype(np.int64)
        for start, size in zip(split.offsets[firsts], split.prompts[firsts], strict=True)
    ]
    ends, pad = int(backbone.tokenizer.eos_token_id), int(backbone.tokenizer.pad_token_id)
    settings = Decoding(beams=1, max_new_tokens=20, no_repeat_ngram=0)
    model: Any = _decoder(backbone)
    (ours,) = decode(
        lambda given: model(**given).logits,
        prompts,
        1,
        settings,
        end_ids=[ends],
        pad_id=pad,
        device=_CPU,
    )
    same = 0
    for prompt, written in zip(prompts, ours, strict=True):
        text = plain.generate(
            torch.from_numpy(prompt)[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=ends,
            pad_token_id=pad,
        )[0, len(prompt) :]
        same += [token for token in text.tolist() if token != ends] == written
    return same


def _decoder(backbone: Backbone) -> Any:
    model: Any = backbone.model()
    attention.take_over(model)
    head_hooks.attach(model, LANGUAGE_MODEL)
    return model


def _trained(task: Task, options: argparse.Namespace) -> tuple[float, float]:
    """Return the validation loss before and after a run of LoRA, in nats."""
    suite = {
        "name": "real-decoder",
        "tasks": [task],
        "methods": ["lora"],
        "backbones": [options.backbone],
        "seeds": 1,
        "training": {"learning_rate": 1e-3},
        "budget": {"epochs": 1, "batch_size": 8, "evaluations": 1, "train_size": options.train},
    }
    with tempfile.TemporaryDirectory() as folder:
        results = gapbench.run(
            suite,
            data=_fewer_test_rows(task, options, Path(folder, "data")),
            results=Path(folder, "results"),
            device="cpu",
            stack=1,
            workers=1,
            progress=False,
        )
        curve = results.curves().query("split == 'validation'").sort_values("step")
    return float(curve["loss"].iloc[0]), float(curve["loss"].iloc[-1])


def _fewer_test_rows(task: Task, options: argparse.Namespace, folder: Path) -> Path:
    """Copy a task's rows; a run scores all rows of test, which would take longer than training."""
    (folder / task.name).mkdir(parents=True)
    for name, rows in ((task.splits.train, None), (task.splits.test, options.validation)):
        part = pd.read_parquet(options.data / task.name / f"{name}.parquet")[:rows]
        part.to_parquet(folder / task.name / f"{name}.parquet")
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder a task")
    parser.add_argument("--backbone", required=True, help="folder of a decoder")
    parser.add_argument("--tasks", nargs="+", default=["arc_easy", "piqa"])
    parser.add_argument("--beside", type=Path, help="folder whose tasks/ comes first")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--train", type=int, default=128, help="rows that LoRA trains on, once")
    parser.add_argument("--validation", type=int, default=64, help="rows of validation and test")
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
