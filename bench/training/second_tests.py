"""Second tests of a training: the chosen adapter on the test rows of other tasks.

Nothing is chosen there. Where the head comes with the backbone, the bare backbone is scored there
too, without any adapter in place, so that a record says what training changed. That is computed
once in a process for each backbone and test; every record holds it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Cell, Run, SecondTest
from gapbench.bench.config.task import Task
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.encoded import EncodedSplit, GroupedSplit, TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.metrics.calibration import log_softmax
from gapbench.bench.models.backbone import Backbone, Reader
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Scores, SplitScores
from gapbench.bench.store.record_io import BARE
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs

_BARE_METHOD = "untuned"  # scores a model as it is before training
_known: dict[str, Bare] = {}  # of this process, by backbone and test


@dataclass(frozen=True)
class Bare:
    """The backbone without any adapter on a second test.

    Attributes:
        metrics: its scores.
        items: what each example adds to a score, (examples,), where that is known.
        missing: why there are none; "" where there are.
    """

    metrics: Scores
    items: dict[str, NDArray[np.float64]]
    missing: str = ""


@dataclass(frozen=True)
class ReadyTest:
    """A second test with its encoded rows.

    Attributes:
        bare: of the bare backbone; None if that has no head of its own.
    """

    test: SecondTest
    subset: EvalSubset
    bare: Bare | None = None

    @property
    def task(self) -> Task:
        """The task that is tested."""
        return self.test.task

    @property
    def names(self) -> Sequence[str]:
        """Names of the metrics."""
        return kinds.get(self.task.kind).final_metrics(self.task, self.test.name)

    def state(self, trained: TrainState) -> TrainState:
        """Return a stack as it is scored here.

        A head with classes keeps its own; else the test says how outputs are read.
        """
        return trained if trained.task.has_classes else replace(trained, task=self.task)

    def outputs(self, method: AnyMethod, state: TrainState, tokenizer: Any) -> Outputs:
        """Return the outputs of all active runs; each array is (runs, ...)."""
        kind, state = kinds.get(self.task.kind), self.state(state)
        made = kind.outputs(method, state, self.subset)
        made |= kind.finish(method, state, self.subset, tokenizer)
        if self.test.classes is not None:
            made["logits"] = _merged(made["logits"], self.test.classes)
        return made

    def missing(self, outputs: Outputs, position: int) -> dict[str, str]:
        """Return why a run of a stack has no scores here, or the bare backbone; by name."""
        found = {}
        if not kinds.finite(outputs, position):
            found[self.test.name] = "an output of the chosen checkpoint is not finite"
        if self.bare and self.bare.missing:
            found[f"{self.test.name}, {BARE}"] = self.bare.missing
        return found

    def scores(self, outputs: Outputs) -> SplitScores:
        """Return the scores of one run's outputs, with those of the bare backbone.

        The calibration error is without a temperature: one fitted on the trained task's rows says
        nothing of others.
        """
        kind = kinds.get(self.task.kind)
        found = kind.score(self.task, outputs, self.subset, self.names)
        calibration = kind.calibrate(None, (outputs, self.subset))
        return found.model_copy(
            update={
                "bare": self.bare.metrics if self.bare else {},
                "ece": calibration and calibration.ece,
            }
        )

    def predictions(self, outputs: Outputs) -> pa.Table:
        """Return the stored table of one run, with the values of the bare backbone's items."""
        kind = kinds.get(self.task.kind)
        table = kind.predictions(self.task, outputs, self.subset, self.names)
        for name, values in (self.bare.items if self.bare else {}).items():
            table = table.append_column(f"{BARE}{name}", pa.array(values.astype(np.float32)))
        return table


def ready_tests(cell: Cell, sources: Sources, reader: Reader) -> tuple[ReadyTest, ...]:
    """Return the second tests of a cell, encoded; from the cache if possible.

    Raises:
        DataError: if rows are missing, contradict their task, or cannot be read by the backbone.
    """
    return tuple(
        ReadyTest(test, EvalSubset.of(dataset.prepare(cell.testing(test), sources, reader).test))
        for test in cell.also_test
    )


def count_known(train: EncodedSplit, test: EncodedSplit) -> int | None:
    """Return how many inputs of a second test are in train too, token by token.

    Those that were cut are left out, since their ends may differ. None where examples have several
    sequences.
    """
    if isinstance(train, GroupedSplit) or isinstance(test, GroupedSplit):
        return None

    def inputs(split: EncodedSplit) -> list[bytes]:
        whole = np.ones(len(split.lengths), bool) if split.cut is None else ~split.cut
        every = np.split(split.input_ids, split.offsets[1:-1])
        return [ids.tobytes() for ids, known in zip(every, whole, strict=True) if known]

    known = set(inputs(train))
    return sum(each in known for each in inputs(test))


def with_bare(
    tests: Sequence[ReadyTest],
    cell: Cell,
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
) -> tuple[ReadyTest, ...]:
    """Return second tests with the scores of the bare backbone, where it has a head of its own."""
    if cell.task.head != LANGUAGE_MODEL and cell.head is None:
        return tuple(tests)
    classes = cell.task.labels if cell.task.has_classes else ()
    shared = [cell.backbone.digest, cell.number_format, cell.head, classes, str(device)]
    made = []
    for each in tests:
        key = content_hash([*shared, each.test.identity()])
        if key not in _known:
            _known[key] = _bare(each, cell, backbone, task_data, device)
        made.append(replace(each, bare=_known[key]))
    return tuple(made)


def _bare(
    ready: ReadyTest, cell: Cell, backbone: Backbone, task_data: TaskData, device: torch.device
) -> Bare:
    """Score the backbone without any adapter."""
    plain = copy.copy(backbone)
    plain.start = None
    config = registry.resolve_config(_BARE_METHOD, {}, "bare backbone")
    change = {"method": _BARE_METHOD, "config": config, "start": None, "also_test": ()}
    method, state = set_up([Run(cell.changed(change), 0)], plain, task_data, device)
    made = ready.outputs(method, state, backbone.tokenizer)
    if not kinds.finite(made, 0):
        return Bare({}, {}, "an output of the bare backbone is not finite")
    outputs = kinds.of_run(made, 0)
    table = ItemTable(ready.predictions(outputs))
    items = {name: table.values(name) for name in ready.names}
    known = {name: values for name, values in items.items() if values is not None}
    return Bare(ready.scores(outputs).metrics, known)


def _merged(logits: NDArray[np.float64], classes: Sequence[int]) -> NDArray[np.float64]:
    """Return the log-probabilities of a test's classes: each the sum of those that stand for it.

    Args:
        logits: of the model's classes, (runs, examples, classes).
        classes: class of the test that each stands for.
    """
    own = log_softmax(logits)
    groups = [np.flatnonzero(np.equal(classes, each)) for each in range(max(classes) + 1)]
    return np.stack([np.logaddexp.reduce(own[..., group], axis=-1) for group in groups], axis=-1)
