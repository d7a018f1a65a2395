"""A stack of runs on a small random backbone and random data, ready for its first step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Budget, Cell, Fingerprint, Quantization, Run, Training
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import FileSource
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.models import loading
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training.fitting import fit
from gapbench.bench.training.trainer import Trainer

CPU = torch.device("cpu")
VOCABULARY = 20
AT_THE_MEAN = {"ivon"}
"""Methods that predict in a way of their own, but by default as one model does."""


def random_split(n: int, seed: int, outputs: int = 2) -> EncodedSplit:
    """Return ``n`` examples of 3 to 12 random tokens; their labels depend on their tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(5, VOCABULARY, offsets[-1]).astype(np.int32)
    first = ids[offsets[:-1]]
    targets = first % outputs if outputs > 1 else (first / 10).astype(np.float32)
    return EncodedSplit(
        input_ids=ids,
        token_type_ids=None,
        offsets=offsets,
        targets=targets.astype(np.int64 if outputs > 1 else np.float32),
        example_ids=np.arange(n),
        truth=None,
        pad_id=0,
    )


def random_data(outputs: int = 2, train: int = 48) -> TaskData:
    """Return three small random splits."""
    sizes = {"train": train, "validation": 24, "test": 30}
    return TaskData(**{k: random_split(n, i, outputs) for i, (k, n) in enumerate(sizes.items())})


def make_task(outputs: int = 2) -> Task:
    """Return a task without any rows behind it."""
    kind = "classification" if outputs > 1 else "regression"
    return Task(
        name="toy",
        version=1,
        kind=kind,
        description="",
        source=FileSource(files="parquet"),
        text=("text",),
        labels=tuple(f"class {i}" for i in range(outputs)) if outputs > 1 else (),
        label_range=(0, 5),
        metrics=("accuracy",) if outputs > 1 else ("pearson",),
        validation_size=8,
        max_length=16,
    )


def make_runs(
    method: str,
    seeds: Sequence[int] = (0,),
    *,
    configs: Sequence[dict[str, Any]] = ({},),
    trainings: Sequence[dict[str, Any]] = ({},),
    precision: str = "fp64",
    quantization: Quantization | None = None,
    steps: int = 20,
    batch_size: int = 8,
    outputs: int = 2,
    backbone_dropout: float = 0.0,
    evaluations: int = 2,
    choosing_members: int | None = None,
) -> list[Run]:
    """Return one run a seed; configs and trainings are cycled over the seeds."""
    return [
        Run(
            Cell(
                task=make_task(outputs),
                data=Fingerprint(name="files", digest="0"),
                backbone=Fingerprint(name="random", digest="0"),
                method=method,
                config=registry.resolve_config(method, configs[i % len(configs)], "test"),
                training=Training(**{"learning_rate": 0.01, **trainings[i % len(trainings)]}),
                budget=Budget(
                    steps=steps,
                    batch_size=batch_size,
                    evaluations=evaluations,
                    choosing_members=choosing_members,
                ),
                precision=precision,
                quantization=quantization,
                backbone_dropout=backbone_dropout,
            ),
            seed,
        )
        for i, seed in enumerate(seeds)
    ]


def load_backbone(folder: Path, runs: Sequence[Run]) -> Backbone:
    """Load the backbone of a stack of runs."""
    cell = runs[0].cell
    task = cell.task
    return loading.load(
        str(folder), cell.backbone, task.head, task.n_outputs, cell.precision, cell.quantization
    )


@dataclass
class Trained:
    """A stack after its budget."""

    method: AnyMethod
    state: TrainState
    trainer: Trainer

    def parameters(self) -> Iterator[torch.Tensor]:
        """Yield the trained numbers of every active run, in the order of the runs."""
        yield from self.state.bank.values

    def logits(self, data: TaskData) -> np.ndarray:
        """Return the logits of all active runs on the test split."""
        kind = kinds.get(self.state.task.kind)
        return kind.outputs(self.method, self.state, EvalSubset.of(data.test))["logits"]


def train(folder: Path, runs: Sequence[Run], data: TaskData, *, scored: bool = True) -> Trained:
    """Train a stack to the end of its budget, and fit; the state is that of the last step.

    Unless it is ``scored`` on the way, it has no curve and no chosen checkpoint. Scores take as
    long as steps here, and many tests look only at what training leaves. A method that fits
    something is scored always: before it fits, the first score finds what predictions read.
    """
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None)
    if not (scored or method.fits_on):
        trainer._evaluate = lambda **_: None  # type: ignore[method-assign]
    trainer.train()
    fit(trainer)
    return Trained(method, state, trainer)


MakeBackbone = Callable[[str], Path]
