"""Base of classification and regression: one sequence, one head, one target per example."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import model_validator

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION, HeadType
from gapbench.bench.config.task import Task
from gapbench.bench.data.encoded import Arrays
from gapbench.bench.data.rows import Rows
from gapbench.bench.metrics import classification
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind, TaskT
from gapbench.bench.tasks.kinds.input_tokens import require_tokens, tokenised

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset


MOST_NUMBERED_CLASSES = 20
"""More distinct numbers than this are values, not classes, unless the user says otherwise."""


class LabelledTask(Task):
    """A text or a pair of texts with one label."""

    head: ClassVar[HeadType] = SEQUENCE_CLASSIFICATION

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if len(self.text) > 2:
            raise ValueError("field 'text' may name at most two columns for this kind")
        return self


class Labels(TaskKind[TaskT]):
    """One class or value for each text or pair of texts."""

    def encode(self, task: TaskT, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise each text or pair, cut at the end if too long."""
        limit = min(task.max_length, reader.window)
        texts = list(rows.columns.values())
        settings = {"truncation": True, "max_length": limit}
        made = list(tokenised(place, rows.numbers, texts, reader.tokenizer, **settings))
        parts = [part for _, _, part in made]
        lengths = np.array([len(ids) for part in parts for ids in part["input_ids"]])
        require_tokens(place, "texts", rows.numbers, lengths)
        arrays: Arrays = {
            "input_ids": _flat(parts, "input_ids", np.int32),
            "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "cut": _cut(place, rows, lengths, limit, reader),
            "escaped": np.concatenate([np.full(len(p["input_ids"]), e) for _, e, p in made]),
        }
        if "token_type_ids" in parts[0]:
            arrays["token_type_ids"] = _flat(parts, "token_type_ids", np.int8)
        return arrays

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return ``logits`` (runs, examples, outputs), float64."""
        from gapbench.bench.tasks.eval_subset import forward

        out = np.empty((state.axis.size, len(subset.examples), state.task.n_outputs))
        for places, _, logits in forward(method, state, subset):
            out[:, places] = logits.double().cpu().numpy()
        return {"logits": out}

    def metric_inputs(self, task: TaskT, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return the most likely classes (or the predicted values) and the targets."""
        return classification.inputs(outputs["logits"], subset.targets)

    def loss(self, task: TaskT, outputs: Outputs, subset: EvalSubset) -> float:
        """Return the mean loss of the examples."""
        import torch

        from gapbench.bench.adaptation.losses import target_losses

        logits, targets = torch.from_numpy(outputs["logits"]), torch.from_numpy(subset.targets)
        return float(target_losses(logits, targets, task.loss).mean())

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the label, logits and, where known, the truth."""
        columns: dict[str, Any] = label_columns(outputs, subset)
        truth = subset.split.truth
        if truth is not None:
            name = "true_probability_" if truth.shape[1] > 1 else "true_mean_"
            columns |= {f"{name}{k}": truth[subset.examples, k] for k in range(truth.shape[1])}
        return pa.table(columns)


def are_values(labels: Sequence[Any]) -> bool:
    """Whether labels are numbers, and some are not whole or too many are distinct for classes."""
    numbers = numbers_of(labels)
    parted = any(not float(number).is_integer() for number in numbers)
    return len(numbers) == len(labels) and (parted or len({*numbers}) > MOST_NUMBERED_CLASSES)


def numbers_of(labels: Sequence[Any]) -> list[float]:
    """Return the labels that are finite numbers."""
    numbers = (v for v in labels if isinstance(v, int | float) and not isinstance(v, bool))
    return [number for number in numbers if abs(number) <= sys.float_info.max]


def _flat(parts: list[Any], name: str, dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """Return one value per token, for all sequences."""
    return np.fromiter(
        (number for part in parts for sequence in part[name] for number in sequence), dtype
    )


def label_columns(outputs: Outputs, subset: EvalSubset) -> dict[str, Any]:
    """Return the row number, label and logits of every example, with null for NaN."""
    columns = {
        "example_id": subset.split.example_ids[subset.examples],
        "label": subset.targets,
    }
    logits = outputs["logits"].T
    return columns | {f"logit_{k}": pa.array(e, from_pandas=True) for k, e in enumerate(logits)}


def _cut(
    place: str, rows: Rows, lengths: NDArray[np.int64], limit: int, reader: Reader
) -> NDArray[np.bool_]:
    """Return which texts the tokenizer cut, (n,); only full-length ones can be."""
    cut = lengths >= limit
    full = np.flatnonzero(cut)
    if len(full):
        part = rows.take(full)
        texts = list(part.columns.values())
        made = tokenised(place, part.numbers, texts, reader.tokenizer, verbose=False)
        cut[full] = [len(ids) > limit for _, _, whole in made for ids in whole["input_ids"]]
    return cut
