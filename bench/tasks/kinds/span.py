"""Extractive question answering: the answer is a span of a context, read in windows.

Training is on every window; the target of a window without the whole answer is token 0,
which means no answer. A question's answer is the best span of all its windows, cut out of the
original context.

Source: Devlin et al. 2019, BERT, sections 4.2 and 4.3, and its script for SQuAD.
Deviations:
1. All spans are compared; the script compares those between its 20 best starts and 20 best ends.
2. Version 2.0 predicts no answer if that scores higher than the best span: a threshold of 0, the
   default of the script. The paper tunes it on the development set, which is the test set here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapbench.bench.config.head import SPAN, HeadType
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.encoded import Arrays, EncodedSplit, GroupedSplit, Indices
from gapbench.bench.data.rows import Rows, Table, column, text_column
from gapbench.bench.metrics.base import Inputs
from gapbench.bench.store.record import Scores
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind, rows_of
from gapbench.bench.tasks.kinds.squad_windows import Answer, encode_windows

if TYPE_CHECKING:
    from torch import Tensor

    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions


class AnswerSearch(FrozenModel):
    """How an answer is searched in a context that may be longer than the backbone's window."""

    version: Literal["1.1", "2.0"] = Field(
        description="SQuAD version; 2.0 has unanswerable questions"
    )
    stride: int = Field(default=128, ge=1, le=10**6, description="overlap of windows in tokens")
    max_answer_tokens: int = Field(
        default=30, ge=1, le=10**6, description="longest predicted answer in tokens"
    )


class SpanTask(Task):
    """A question about a context that holds the answer."""

    head: ClassVar[HeadType] = SPAN
    measures: ClassVar[tuple[str, ...]] = ("spans",)

    kind: Literal["span"]
    span: AnswerSearch

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if len(self.text) != 2:
            raise ValueError("field 'text' must name the question's column and the context's")
        return self

    @property
    def n_outputs(self) -> int:
        """Return 2, for the two ends of a span."""
        return 2


@dataclass(frozen=True, kw_only=True)
class SpanSplit(GroupedSplit):
    """Each example is a question with one sequence per window of its context.

    Attributes:
        spans: (sequences, 2) first and last token of the answer; 0, 0 if it is not inside.
        context: (sequences, 2) first token of the context, and the token after its last.
        characters: (all tokens, 2) start and end of every context token in the text.
    """

    spans: Indices
    context: Indices
    characters: NDArray[np.int32]

    @property
    def target_counts(self) -> Indices:
        """Two per sequence: the start and the end."""
        return np.full(len(self.lengths), 2)

    def inputs_and_targets(self, sequences: Indices) -> tuple[Arrays, NDArray[Any]]:
        """Return ``context`` (sequences, 2) and the targets (sequences, 2)."""
        return {"context": self.context[sequences]}, self.spans[sequences]


class Span(TaskKind[SpanTask]):
    """Each example is a question; each window of its context is a sequence with two targets."""

    Task = SpanTask
    Split: ClassVar[type[EncodedSplit]] = SpanSplit

    def read(self, task: SpanTask, place: str, table: Table) -> Rows:
        """Return questions, contexts and accepted answers; targets show which have an answer."""
        questions, contexts = (text_column(place, table, name) for name in task.text)
        answers = [
            _answers(task, f"{place}, row {row}", given, context)
            for row, (given, context) in enumerate(
                zip(column(place, table, task.label), contexts, strict=True)
            )
        ]
        columns: dict[str, Sequence[Any]] = {
            "question": [question.strip() for question in questions],
            "context": contexts,
            "answers": answers,
        }
        return Rows(columns, np.array([bool(each) for each in answers], dtype=np.int64))

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return questions with their contexts."""
        return list(zip(rows.columns["question"], rows.columns["context"], strict=True))

    def encode(self, task: SpanTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every question with each window of its context."""
        return encode_windows(task, place, rows, reader)

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return the loss of each window, and each run's answer to each question.

        ``loss`` (runs, sequences), and (runs, examples) each: ``score`` of the best span,
        ``null_score`` of no answer, and ``start`` and ``stop``, the answer's characters in its
        context, equal for no answer.
        """
        from gapbench.bench.adaptation.losses import target_losses
        from gapbench.bench.tasks.eval_subset import forward

        task = state.task
        assert isinstance(task, SpanTask)  # noqa: S101 - of this kind
        shape = (state.axis.size, len(subset.sequences))
        made: Outputs = {name: np.empty(shape) for name in ("loss", "score", "null_score")}
        made |= {name: np.empty(shape, dtype=np.int64) for name in ("first", "last")}
        for places, batch, raw in forward(method, state, subset):
            logits = raw.double()
            losses = target_losses(logits, batch.targets.view(logits.shape[:-1]), task.loss)
            found = best_spans(logits, task.span.max_answer_tokens)
            found |= {"loss": losses.mean(dim=-1), "null_score": logits[..., 0].sum(dim=-1)}
            for name, values in found.items():
                made[name][:, places] = values.cpu().numpy()
        return {"loss": made.pop("loss")} | _by_question(
            made, subset, refusing=task.span.version == "2.0"
        )

    def narrowed(self, outputs: Outputs, subset: EvalSubset, part: EvalSubset) -> Outputs:
        """Return the outputs of some examples: losses of windows, and answers."""
        places = np.searchsorted(subset.examples, part.examples)
        windows = rows_of(np.diff(_split(subset).sequence_offsets)[subset.examples], places)
        made = super().narrowed({n: v for n, v in outputs.items() if n != "loss"}, subset, part)
        return made | {"loss": outputs["loss"][windows]}

    def metric_inputs(self, task: SpanTask, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return the answers and the accepted answers."""
        held = _split(subset).texts
        accepted = [held[example]["answers"] for example in subset.examples]
        return {"spans": (_texts(outputs, subset), accepted, task.span.version)}

    def read_outputs(
        self, task: SpanTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the answers of a file and the accepted answers."""
        accepted = [[text for _, text in answers] for answers in rows.columns["answers"]]
        return {"spans": (given.texts(table.get("id")), accepted, task.span.version)}, {}

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return each answer, empty for none, with the scores of the best span and of no answer."""
        return pa.table(
            {
                "example_id": subset.split.example_ids[subset.examples],
                "text": _texts(outputs, subset),
                "score": outputs["score"],
                "null_score": outputs["null_score"],
            }
        )


def best_spans(logits: Tensor, longest: int) -> dict[str, Tensor]:
    """Return the best span of each sequence: the highest sum of a start's and an end's logit.

    The end is not before the start, and the span has at most ``longest`` tokens. Token 0 is not in
    a span.

    Args:
        logits: logits of starts and ends, (..., 2, tokens).
        longest: largest number of tokens in a span.

    Returns:
        ``score``, ``first`` and ``last`` token, (...) each.
    """
    from torch.nn import functional as F

    starts, ends = logits[..., 1:].unbind(dim=-2)
    reachable = F.pad(ends, (0, longest - 1), value=-float("inf")).unfold(-1, longest, 1)
    best_end, further = reachable.max(dim=-1)
    score, first = (starts + best_end).max(dim=-1)
    last = first + further.gather(-1, first.unsqueeze(-1)).squeeze(-1)
    return {"score": score, "first": first + 1, "last": last + 1}


def _answers(task: SpanTask, where: str, given: Any, context: str) -> list[Answer]:
    """Return the accepted answers of a row, checked against their positions."""
    found = _pairs(given)
    if found is None:
        raise DataError(
            f"{where}: column {task.label!r} holds {str(given)[:80]!r}, expected texts and their "
            "starts, such as {'text': ['Paris'], 'answer_start': [17]}"
        )
    if not found and task.span.version == "1.1":
        raise DataError(
            f"{where}: the question has no answer, which version 1.1 does not allow; give one in "
            f"column {task.label!r}, or set the task's field 'span.version' to '2.0'"
        )
    for start, text in found:
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text or not text.strip():
            raise DataError(
                f"{where}: column {task.label!r} says that {text[:40]!r} starts at character "
                f"{start} of the context, but {there[:40]!r} is there; give the text exactly as in "
                "the context, and its position in characters, counted from 0"
            )
    return found


def _pairs(given: Any) -> list[Answer] | None:
    """Return starts with their texts, None if the value has another form."""
    if not isinstance(given, Mapping) or not {"text", "answer_start"} <= set(given):
        return None
    texts, starts = given["text"], given["answer_start"]
    if not (isinstance(texts, Sequence) and isinstance(starts, Sequence)):
        return None
    legal = len(texts) == len(starts) and all(
        isinstance(text, str) and isinstance(start, int)
        for text, start in zip(texts, starts, strict=True)
    )
    return list(zip(starts, texts, strict=True)) if legal else None


def _by_question(windows: Outputs, subset: EvalSubset, *, refusing: bool) -> Outputs:
    """Return the best span of all windows of a question, in characters of its context.

    Args:
        windows: outputs of all windows, (runs, sequences) each.
        subset: questions and their windows.
        refusing: whether a question gets no answer if its lowest no-answer score over all windows
            is higher than the score of its best span.
    """
    split = _split(subset)
    counts = np.diff(split.sequence_offsets)[subset.examples]
    begins, owner = np.cumsum(counts) - counts, np.repeat(np.arange(len(counts)), counts)
    score = np.maximum.reduceat(windows["score"], begins, axis=1)
    beaten = windows["score"] < score[:, owner]
    number = np.arange(len(owner))
    best = np.minimum.reduceat(np.where(beaten, len(owner), number), begins, axis=1)
    null = np.minimum.reduceat(windows["null_score"], begins, axis=1)
    offsets = split.offsets[subset.sequences[best]]
    first, last = (np.take_along_axis(windows[name], best, axis=1) for name in ("first", "last"))
    answered = ~((null > score) & refusing)
    return {
        "score": score,
        "null_score": null,
        "start": _character(split, offsets + first, 0) * answered,
        "stop": _character(split, offsets + last, 1) * answered,
    }


def _character(split: SpanSplit, tokens: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return the first character of tokens (side 0), or the one after the last (side 1)."""
    places: NDArray[np.int64] = split.characters[tokens, side].astype(np.int64)
    return places


def _texts(outputs: Outputs, subset: EvalSubset) -> list[str]:
    """Return the answers of one run."""
    split = _split(subset)
    return [
        split.texts[example]["context"][start:stop].strip()
        for example, start, stop in zip(
            subset.examples, outputs["start"], outputs["stop"], strict=True
        )
    ]


def _split(subset: EvalSubset) -> SpanSplit:
    assert isinstance(subset.split, SpanSplit)  # noqa: S101 - of this kind
    return subset.split
