"""Bases of kinds that are scored by each target token, and of those that also write texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.data.encoded import CausalSplit, EncodedSplit
from gapbench.bench.data.rows import Rows, Table
from gapbench.bench.metrics.base import Inputs, Metric
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.metrics.confidence_bins import (
    calibrated_confidence_error,
    confidence_error,
    maximum_confidence_error,
)
from gapbench.bench.metrics.influence import centred
from gapbench.bench.store.record import Calibration, Scores
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind, TaskT, rows_of
from gapbench.bench.tasks.kinds.dialogues import answer_ends
from gapbench.bench.tasks.kinds.prompts import PromptedT, PromptedTask

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import AnyMethod
    from gapbench.bench.adaptation.train_state import TrainState
    from gapbench.bench.tasks.eval_subset import EvalSubset
    from gapbench.bench.tasks.predictions import Predictions


class TargetTokens(TaskKind[TaskT]):
    """Kinds whose outputs are those of each target token; arrays are (runs, tokens)."""

    Split: ClassVar[type[EncodedSplit]] = CausalSplit

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return the runs' outputs for each target token; see `token_outputs`."""
        from gapbench.bench.tasks.token_outputs import token_outputs

        return token_outputs(method, state, subset)

    def narrowed(self, outputs: Outputs, subset: EvalSubset, part: EvalSubset) -> Outputs:
        """Return the outputs of some examples: values of target tokens, and any texts."""
        places = np.searchsorted(subset.examples, part.examples)
        tokens = rows_of(_tokens(subset), places)
        return {
            name: values[places if name == "texts" else tokens] for name, values in outputs.items()
        }

    def metric_inputs(self, task: TaskT, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return values of each target token."""
        return {"tokens": tuple(outputs[name] for name in ("loss", "confidence", "correct"))}

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

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the mean loss and the number of target tokens of each example."""
        tokens = _tokens(subset)
        return pa.table(
            {
                "example_id": subset.split.example_ids[subset.examples],
                "loss": _sums(outputs["loss"], tokens) / tokens,
                "tokens": tokens,
            }
        )


class WrittenTexts(TargetTokens[PromptedT]):
    """Kinds that are trained on the texts ``references`` in `Texts`, and may write texts."""

    final_train_size: ClassVar[int] = 1_000  # decoding is slow
    not_in_files: ClassVar[Mapping[str, str]] = {
        "tokens": "it needs the model's probabilities of the references' tokens"
    }

    @abstractmethod
    def questions(self, rows: Rows) -> list[str]:
        """Return what each example asks, for people who judge answers."""

    def finish(
        self, method: AnyMethod, state: TrainState, subset: EvalSubset, tokenizer: Any
    ) -> Outputs:
        """Return ``texts`` (runs, examples): the texts that runs generate for each input."""
        from gapbench.bench.data.batching import Batch
        from gapbench.bench.tasks.encoder_decoding import search_of
        from gapbench.bench.tasks.generation import decode

        split, task = _split(subset), state.task
        assert isinstance(task, PromptedTask)  # noqa: S101 - of these kinds
        if task.decoding is None:
            return {}
        state.model.eval()
        written = decode(
            lambda inputs: method.predict(state, Batch.of_prompts(inputs)),
            split.asked_of(subset.examples),
            state.axis.size,
            task.decoding,
            end_ids=answer_ends(tokenizer) if task.templated else [int(tokenizer.eos_token_id)],
            pad_id=split.pad_id,
            device=state.axis.device,
            search=search_of(state.model),
        )
        texts = [tokenizer.batch_decode(each, skip_special_tokens=True) for each in written]
        cut = [[_before(text, task.decoding.stop or ()) for text in each] for each in texts]
        return {"texts": np.array(cut, dtype=object)}

    def metric_inputs(self, task: PromptedT, outputs: Outputs, subset: EvalSubset) -> Inputs:
        """Return values of each target token and, at the end, texts with their references."""
        inputs = dict(super().metric_inputs(task, outputs, subset))
        if "texts" in outputs:
            references = [each["references"] for each in held(subset)]
            inputs["texts"] = (list(outputs["texts"]), references)
        return inputs

    def part_names(self, subset: EvalSubset) -> Sequence[str]:
        """Return the part that each example belongs to."""
        return [each["part"] for each in held(subset)]

    def read_outputs(
        self, task: PromptedT, given: Predictions, table: Table, rows: Rows
    ) -> tuple[Inputs, Scores]:
        """Return the texts of a file, with their references."""
        return {"texts": (given.texts(), rows.columns["references"])}, {}

    def final_metrics(self, task: PromptedT, split: str) -> Sequence[str]:
        """Return all metrics for a test split, only the cheaper ones for train and validation."""
        names = super().final_metrics(task, split)
        expensive = {m for m in task.metrics[1:] if get_metric(m).measures == "texts"}
        extra = ("perplexity", "token_accuracy", "token_ece")
        tested = split not in {"train", "validation"}
        kept = [name for name in names if tested or name not in expensive]
        return tuple(dict.fromkeys((*kept, *extra)))

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return any text generated for each input, and the mean loss over its references."""
        table = super().table(outputs, subset)
        if "texts" not in outputs:
            return table
        return table.add_column(1, "text", pa.array(list(outputs["texts"])))


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


def _before(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of some others, without blanks around it."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends, default=None)].strip()


def held(subset: EvalSubset) -> list[Any]:
    """Return what `Texts` hold of each example."""
    texts = _split(subset).texts
    return [texts[example] for example in subset.examples]
