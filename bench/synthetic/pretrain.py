"""Pretrain the built-in backbones: `python -m gapbench.bench.synthetic.pretrain KIND --out DIR`.

Both learn from `bench.synthetic.language.corpus` alone, which shares the grammar with the built-in
tasks, but neither their labels nor any of their sentences. All dropout is off; the stored encoder
configuration keeps the library's default of 0.1 for fine-tuning. The same seed, versions and one
thread give the same weights. The models are in `bench.synthetic.pretraining_models`; runs load
backbones with `bench.models.loading`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from torch import nn

from gapbench.bench.synthetic.pretraining_models import (
    PRETRAINING_MODELS,
    Architecture,
    PretrainingModel,
    Recipe,
    build_tokenizer,
)

RECIPE_FILE = "recipe.json"

RECIPES: dict[Architecture, Recipe] = {
    "encoder": Recipe(),
    "decoder": Recipe(steps=1800, corpus_size=50_000),
}
"""The settings that made the committed backbones."""


def train(
    kind: Architecture, recipe: Recipe, steps: int | None = None
) -> Iterator[tuple[int, PretrainingModel, dict[str, float]]]:
    """Pretrain, yielding after every step its number from 1, the model and the losses.

    Args:
        kind: `encoder` or `decoder`.
        recipe: The settings; the schedule does not change when fewer steps are made.
        steps: Stop after this many steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = PRETRAINING_MODELS[kind](recipe)
    optimiser = torch.optim.AdamW(
        model.module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe))
    model.module.train()
    for step in range(recipe.steps if steps is None else steps):
        losses = model.losses(step)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield step + 1, model, {name: loss.item() for name, loss in losses.items()}


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain one backbone and write its folder; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m gapbench.bench.synthetic.pretrain",
        description="Pretrain a tiny backbone on the built-in grammar's text.",
        epilog="example: python -m gapbench.bench.synthetic.pretrain encoder "
        "--out bench/synthetic/backbones/tiny-encoder",
    )
    parser.add_argument("kind", choices=list(RECIPES), help="which backbone to make")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N",
        help="torch threads (default: 1, as for the committed weights)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    make(options.kind, RECIPES[options.kind], options.out)


def make(kind: Architecture, recipe: Recipe, folder: Path) -> None:
    """Pretrain and write weights, tokenizer and `recipe.json` into a folder."""
    begun = time.perf_counter()
    curve: list[dict[str, float]] = []
    recent: list[dict[str, float]] = []
    model: PretrainingModel
    for step, model, losses in train(kind, recipe):  # noqa: B007 - the last one is saved
        recent.append(losses)
        if step % recipe.log_every and step < recipe.steps:
            continue
        means = {name: round(float(np.mean([row[name] for row in recent])), 4) for name in losses}
        curve.append({"step": step, **means})
        recent.clear()
        _report(step, recipe, time.perf_counter() - begun, means)
    sys.stderr.write("\n")
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    build_tokenizer(kind).save_pretrained(folder)
    story = {
        "kind": kind,
        "recipe": asdict(recipe),
        "threads": torch.get_num_threads(),
        "duration_s": round(time.perf_counter() - begun, 1),
        "versions": {
            lib.__name__: lib.__version__ for lib in (torch, transformers, tokenizers, np)
        },
        "curve": curve,
    }
    (folder / RECIPE_FILE).write_text(json.dumps(story, indent=1) + "\n", encoding="utf-8")


def _report(step: int, recipe: Recipe, seconds: float, means: dict[str, float]) -> None:
    left = seconds / step * (recipe.steps - step)
    losses = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
    line = f"step {step}/{recipe.steps}  {losses}  about {left / 60:.1f} min left"
    sys.stderr.write(f"\r{line:<100}")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
