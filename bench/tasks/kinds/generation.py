"""Generation: a text is written for each input, and held against one or several references."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.batching import Batch
from gapbench.bench.data.encoded import Arrays, CausalSplit, EncodedSplit, Texts
from gapbench.bench.data.rows import Rows, Table, column, list_column, text_column
from gapbench.bench.data.rows import place as place_of
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.metrics import text as text_metrics
from gapbench.bench.models.backbone import Reader
from gapbench.bench.store.record import Calibration, Scores, SplitScores
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.generation import decode
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind
from gapbench.bench.tasks.kinds.causal import encode_pairs, token_outputs


class Generation(TaskKind):
    """Each unit is an input; each of its references is a sequence to train on."""

    final_train_size: ClassVar[int] = 1_000  # they are decoded

    def read(self, task: Task, place: str, table: Mapping[str, Sequence[Any]]) -> Rows:
        """Return each distinct input once, with all its references."""
        assert task.generation is not None  # noqa: S101 - the task's own check
        columns = [text_column(place, table, name) for name in task.text]
        prompts = [task.fill(texts) for texts in zip(*columns, strict=True)]
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

    def inputs(self, rows: Rows) -> Sequence[Hashable]:
        """Return the prompts."""
        return list(rows.columns["prompt"])

    def encode(self, task: Task, place: str, rows: Rows, reader: Reader) -> Arrays:
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

    def load(self, arrays: Arrays, pad_id: int) -> EncodedSplit:
        """Return a split from its arrays."""
        plain = {name: values for name, values in arrays.items() if "." not in name}
        return CausalSplit(**plain, texts=Texts.from_arrays(arrays), pad_id=pad_id)

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return what the runs say of each token of the references; see `token_outputs`."""
        return token_outputs(method, state, subset)

    def finish(
        self, method: AnyMethod, state: TrainState, subset: EvalSubset, tokenizer: Any
    ) -> Outputs:
        """Return ``texts`` (runs, units): what the runs write for each input."""
        split, task = subset.split, state.task
        assert isinstance(split, CausalSplit)  # noqa: S101 - of this kind
        assert task.generation is not None  # noqa: S101 - of this kind
        firsts = split.units[subset.units]
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

    def score(
        self, task: Task, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return metrics of the target tokens and of the texts written."""
        tokens = [outputs[name] for name in ("loss", "confidence", "correct")]
        known = [classification.get(name) for name in names]
        scores = {
            m.name: classification.defined(m.function(*tokens)) for m in known if m.kind == "tokens"
        }
        written = [m.name for m in known if m.kind == "texts"]
        parts: dict[str, Scores] = {}
        if written:
            parts = _score_texts(written, outputs["texts"], subset)
            scores |= parts.pop("")
        return SplitScores(
            metrics={name: scores[name] for name in names},
            loss=float(np.mean(outputs["loss"])),
            examples=len(subset.units),
            parts=parts,
        )

    def final_metrics(self, task: Task, split: str) -> Sequence[str]:
        """Return all metrics of a test split; without the dearer ones, of train and validation."""
        names = super().final_metrics(task, split)
        dear = {m for m in task.metrics[1:] if classification.get(m).kind == "texts"}
        extra = ("perplexity", "token_accuracy", "token_ece")
        tested = split not in {"train", "validation"}
        kept = [name for name in names if tested or name not in dear]
        return tuple(dict.fromkeys((*kept, *extra)))

    def calibrate(
        self,
        validation: tuple[Outputs, EvalSubset],
        test: tuple[Outputs, EvalSubset],
    ) -> Calibration:
        """Return calibration over all target tokens of test, without a temperature."""
        confidence, correct = test[0]["confidence"], test[0]["correct"]
        return Calibration(
            ece=calibration.confidence_error(confidence, correct),
            ece_equal_mass=calibration.confidence_error(confidence, correct, scheme="equal_mass"),
            mce=calibration.maximum_confidence_error(confidence, correct),
            brier=float(test[0]["brier"].mean()),
            nll=float(test[0]["loss"].mean()),
        )

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return the text written for each input, and its mean loss over references' tokens."""
        split = subset.split
        assert isinstance(split, CausalSplit)  # noqa: S101 - of this kind
        counts = split.decision_counts[subset.sequences]
        owner = np.repeat(np.arange(len(subset.units)), np.diff(split.units)[subset.units])
        losses = np.add.reduceat(outputs["loss"], np.cumsum(counts) - counts)
        tokens = np.bincount(owner, counts)
        return pa.table(
            {
                "example_id": split.example_ids[subset.units],
                "text": list(outputs["texts"]),
                "loss": np.bincount(owner, losses) / tokens,
                "tokens": tokens.astype(np.int64),
            }
        )


def _parts(task: Task, place: str, table: Table) -> list[str] | None:
    """Return the part that each row belongs to, "" for none; None if the split has no parts."""
    assert task.generation is not None  # noqa: S101 - the task's own check
    name = task.generation.parts
    # Only test rows need them: published training rows often lack the column.
    if name is None or (name not in table and place != place_of(task, "test")):
        return None
    return [str(value or "") for value in column(place, table, name)]


def _score_texts(
    names: Sequence[str], texts: NDArray[Any], subset: EvalSubset
) -> dict[str, Scores]:
    """Return the metrics of all texts, under "", and those of each part, under its name."""
    split = subset.split
    assert isinstance(split, CausalSplit)  # noqa: S101 - of this kind
    held = [split.texts[unit] for unit in subset.units]
    scores: dict[str, Scores] = {}
    for part in sorted({"", *(each["part"] for each in held)}):
        chosen = [i for i, each in enumerate(held) if part in {"", each["part"]}]
        references = [held[i]["references"] for i in chosen]
        scores[part] = text_metrics.score(names, [texts[i] for i in chosen], references)
    return scores
