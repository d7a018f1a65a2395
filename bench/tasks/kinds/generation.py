"""Generation: compare a generated text with one or more references."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.core.errors import DataError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.encoded import Arrays, CausalSplit, EncodedSplit, Texts
from gapbench.bench.data.rows import Rows, Table, column, list_column, text_column
from gapbench.bench.data.rows import place as place_of
from gapbench.bench.metrics.base import Inputs, Metric, compute
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.metrics.confidence_bins import (
    calibrated_confidence_error,
    confidence_error,
    maximum_confidence_error,
)
from gapbench.bench.metrics.influence import centred
from gapbench.bench.store.record import Calibration, Scores, SplitScores
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind, by_part, rows_of
from gapbench.bench.tasks.kinds.prompts import PromptedTask, encode_pairs

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod, TrainState
    from gapbench.bench.models.backbone import Reader
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions


_REFERENCES = "references"  # column in a file of references


class Writing(FrozenModel):
    """How a text is generated from the input, and its references."""

    references: str | None = Field(
        default=None,
        description="column with a list of reference texts; None: rows with equal input "
        "belong together, and 'label' holds one reference each",
    )
    parts: str | None = Field(
        default=None,
        description="column of the test rows, such as a category; each value is also scored "
        "separately as a part; blank means no part",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of a target's probability spread evenly"
    )
    decoding: Decoding = Decoding()


class GenerationTask(PromptedTask):
    """An input with a text to generate."""

    measures: ClassVar[tuple[str, ...]] = ("texts", "tokens")

    kind: Literal["generation"]
    generation: Writing

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if self.selection_metric.measures == "texts":
            raise ValueError(
                f"field 'checkpoint_metric' must not need decoded texts, as {self.selection!r} "
                "does; set it to perplexity or token_accuracy"
            )
        return self

    @property
    def written(self) -> int:
        """Largest number of tokens decoded after a prompt."""
        return self.generation.decoding.max_new_tokens

    @property
    def label_smoothing(self) -> float:
        """Share of a token's probability that training spreads evenly over the vocabulary."""
        return self.generation.label_smoothing

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text: inputs and references."""
        return (*self.text, self.label)


class Generation(TaskKind[GenerationTask]):
    """Each example is an input; each of its references is a sequence to train on."""

    Task = GenerationTask
    init_option = "target"
    Split: ClassVar[type[EncodedSplit]] = CausalSplit
    final_train_size: ClassVar[int] = 1_000  # decoding is slow
    not_in_files: ClassVar[Mapping[str, str]] = {
        "tokens": "it needs the model's probabilities of the references' tokens"
    }

    def infers(self, labels: Sequence[Any]) -> bool:
        """Accept any column named as the text to generate."""
        return True

    def from_labels(self, column: str, labels: Sequence[Any]) -> dict[str, Any]:
        """Return how texts are decoded and scored; lists of texts are references."""
        listed = isinstance(labels[0], list)
        references = {"references": column} if listed else {}
        return {
            "generation": references | {"decoding": {"beams": 4, "max_new_tokens": 64}},
            "metrics": ["bleu", "rouge_l", "chrf"],
            "checkpoint_metric": "perplexity",
        }

    def read(self, task: GenerationTask, place: str, table: Table) -> Rows:
        """Return each distinct input once, with all its references."""
        prompts = task.prompts(place, table)
        if task.generation.references is None:
            references = [[text] for text in text_column(place, table, task.label)]
        else:
            references = list_column(place, table, task.generation.references)
        parts = _parts(task, place, table) or [""] * len(prompts)
        gathered: dict[str, list[str]] = {}
        first: dict[str, int] = {}
        for row, (prompt, texts) in enumerate(zip(prompts, references, strict=True)):
            if not any(text.strip() for text in texts):
                raise DataError(f"{place}, row {row}: no reference text; give at least one")
            gathered.setdefault(prompt, []).extend(text for text in texts if text.strip())
            first.setdefault(prompt, row)
        rows: dict[str, list[Any]] = {
            "prompt": [*gathered],
            "references": [*gathered.values()],
            "part": [parts[row] for row in first.values()],
        }
        return Rows(
            rows, np.zeros(len(gathered), np.int64), row_numbers=np.array([*first.values()])
        )

    def read_references(self, task: GenerationTask, place: str, table: Table) -> Rows:
        """Return reference rows for scoring; references may be lists in a column."""
        if task.label not in table and _REFERENCES in table:
            listed = task.generation.model_copy(update={"references": _REFERENCES})
            task = task.model_copy(update={"generation": listed})
        return self.read(task, place, table)

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return the prompts."""
        return list(rows.columns["prompt"])

    def encode(self, task: GenerationTask, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise every input with each of its references."""
        prompts, references = rows.columns["prompt"], rows.columns["references"]
        pairs = [
            [(prompt, text) for text in texts]
            for prompt, texts in zip(prompts, references, strict=True)
        ]
        held = [
            {"references": texts, "part": part}
            for texts, part in zip(references, rows.columns["part"], strict=True)
        ]
        encoded = encode_pairs(task, place, pairs, rows.numbers, reader)
        return encoded | Texts.of(held).arrays()

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return the runs' outputs for each token of the references; see `token_outputs`."""
        from gapbench.bench.tasks.token_outputs import token_outputs

        return token_outputs(method, state, subset)

    def finish(
        self, method: AnyMethod, state: TrainState, subset: EvalSubset, tokenizer: Any
    ) -> Outputs:
        """Return ``texts`` (runs, examples): the texts that runs generate for each input."""
        from gapbench.bench.data.batching import Batch
        from gapbench.bench.tasks.generation import decode

        split, task = _split(subset), state.task
        assert isinstance(task, GenerationTask)  # noqa: S101 - of this kind
        firsts = split.sequence_offsets[subset.examples]
        starts = split.offsets[firsts]
        prompts = [
            split.input_ids[start : start + size]
            for start, size in zip(starts, split.prompts[firsts], strict=True)
        ]
        state.model.eval()
        written = decode(
            lambda inputs: method.predict(state, Batch.of_prompts(inputs)),
            prompts,
            state.axis.size,
            task.generation.decoding,
            end_id=int(tokenizer.eos_token_id),
            pad_id=split.pad_id,
            device=state.axis.device,
        )
        texts = [tokenizer.batch_decode(each, skip_special_tokens=True) for each in written]
        return {
            "texts": np.array([[text.strip() for text in each] for each in texts], dtype=object)
        }

    def part(self, outputs: Outputs, subset: EvalSubset, part: EvalSubset) -> Outputs:
        """Return the outputs of some examples: values of target tokens, and texts."""
        places = np.searchsorted(subset.examples, part.examples)
        tokens = rows_of(_tokens(subset), places)
        return {
            name: values[places if name == "texts" else tokens] for name, values in outputs.items()
        }

    def metric_inputs(self, task: GenerationTask, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return values of each target token and, at the end, texts with their references."""
        inputs: dict[str, tuple[Any, ...] | None] = {
            "tokens": tuple(outputs[name] for name in ("loss", "confidence", "correct"))
        }
        if "texts" in outputs:
            held = [each["references"] for each in _held(subset)]
            inputs["texts"] = (list(outputs["texts"]), held)
        return inputs

    def score(
        self, task: GenerationTask, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return metrics of target tokens and of generated texts, the latter also by part."""
        scores = super().score(task, outputs, subset, names)
        written = [name for name in names if get_metric(name).measures == "texts"]
        if not written:
            return scores
        texts = {"texts": self.metric_inputs(task, outputs, subset)["texts"]}
        parts = by_part(texts, [each["part"] for each in _held(subset)])
        return scores.model_copy(
            update={"parts": {part: compute(written, own) for part, own in parts.items()}}
        )

    def read_outputs(
        self, task: GenerationTask, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the texts of a file, with their references."""
        return {"texts": (given.texts(), rows.columns["references"])}, {}

    def final_metrics(self, task: GenerationTask, split: str) -> Sequence[str]:
        """Return all metrics for a test split, only the cheaper ones for train and validation."""
        names = super().final_metrics(task, split)
        expensive = {m for m in task.metrics[1:] if get_metric(m).measures == "texts"}
        extra = ("perplexity", "token_accuracy", "token_ece")
        tested = split not in {"train", "validation"}
        kept = [name for name in names if tested or name not in expensive]
        return tuple(dict.fromkeys((*kept, *extra)))

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset] | None, test: tuple[Outputs, EvalSubset]
    ) -> Calibration:
        """Return calibration over all target tokens of test, without a temperature."""
        confidence, correct = test[0]["confidence"], test[0]["correct"]
        return Calibration(
            ece=confidence_error(confidence, correct),
            ece_floor=calibrated_confidence_error(confidence),
            ece_equal_mass=confidence_error(confidence, correct, scheme="equal_mass"),
            mce=maximum_confidence_error(confidence, correct),
            brier=float(test[0]["brier"].mean()),
            nll=float(test[0]["loss"].mean()),
        )

    def item_values(
        self, metric: Metric, inputs: Inputs, subset: EvalSubset
    ) -> NDArray[np.float64] | None:
        """Return the contribution of each example to a score, summed over its target tokens."""
        values = super().item_values(metric, inputs, subset)
        if values is None or metric.measures != "tokens":
            return values
        tokens = _tokens(subset)
        score = values.mean()
        return centred(score, _sums(values - score, tokens) / tokens.mean())

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the text generated for each input, and the mean loss over its references."""
        split, tokens = _split(subset), _tokens(subset)
        return pa.table(
            {
                "example_id": split.example_ids[subset.examples],
                "text": list(outputs["texts"]),
                "loss": _sums(outputs["loss"], tokens) / tokens,
                "tokens": tokens,
            }
        )


def _parts(task: GenerationTask, place: str, table: Table) -> list[str] | None:
    """Return the part that each row belongs to, "" for none; None if the split has no parts."""
    name = task.generation.parts
    # Only test rows need parts: published training rows often lack the column.
    if name is None or (name not in table and place != place_of(task, "test")):
        return None
    return [str(value or "") for value in column(place, table, name)]


def _split(subset: EvalSubset) -> CausalSplit:
    assert isinstance(subset.split, CausalSplit)  # noqa: S101 - of this kind
    return subset.split


def _tokens(subset: EvalSubset) -> NDArray[np.int64]:
    """Return the target tokens of each example, over all of its references."""
    split = _split(subset)
    counts = split.target_counts[subset.sequences]
    return _sums(counts, np.diff(split.sequence_offsets)[subset.examples])


def _sums(values: NDArray[Any], sizes: NDArray[np.int64]) -> NDArray[Any]:
    """Return the sum of each consecutive group of values with the given ``sizes``, none 0."""
    sums: NDArray[Any] = np.add.reduceat(values, np.cumsum(sizes) - sizes)
    return sums


def _held(subset: EvalSubset) -> list[Any]:
    """Return the references and the part of each example."""
    texts = _split(subset).texts
    return [texts[example] for example in subset.examples]
