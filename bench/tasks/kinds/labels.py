"""Classification and regression: one sequence a unit, one head, one decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from gapbench.bench.adaptation.losses import decision_losses
from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.data.encoded import Arrays, EncodedSplit
from gapbench.bench.data.rows import Rows, label_column, text_column
from gapbench.bench.metrics import calibration, classification
from gapbench.bench.models.backbone import Reader
from gapbench.bench.store.record import Calibration, SplitScores, Truth
from gapbench.bench.tasks.eval_subset import EvalSubset, forward
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind


class Labels(TaskKind):
    """One class or value for each text or pair of texts."""

    def read(self, task: Task, place: str, table: Mapping[str, Sequence[Any]]) -> Rows:
        """Return texts by column, and targets."""
        texts = {name: text_column(place, table, name) for name in task.text}
        return Rows(texts, label_column(task, place, table))

    def encode(self, task: Task, place: str, rows: Rows, reader: Reader) -> Arrays:
        """Tokenise each text or pair, cut at the end if it is too long."""
        import datasets  # here, since it takes long to load and what it makes is kept

        datasets.disable_progress_bars()
        table = datasets.Dataset.from_dict(
            {f"text{i}": list(texts) for i, texts in enumerate(rows.columns.values())}
        )
        limit = min(task.max_length, reader.window)
        encoded = table.map(
            lambda batch: dict(
                reader.tokenizer(*batch.values(), truncation=True, max_length=limit)
            ),
            batched=True,
            remove_columns=table.column_names,
            keep_in_memory=True,
        )
        tokens = encoded.data["input_ids"].combine_chunks()
        lengths = np.asarray(tokens.value_lengths())
        arrays: Arrays = {
            "input_ids": np.asarray(tokens.flatten()).astype(np.int32),
            "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "cut": _cut(rows, lengths, limit, reader),
        }
        if "token_type_ids" in encoded.column_names:
            types = encoded.data["token_type_ids"].combine_chunks().flatten()
            arrays["token_type_ids"] = np.asarray(types).astype(np.int8)
        return arrays

    def load(self, arrays: Arrays, pad_id: int) -> EncodedSplit:
        """Return a split from its arrays."""
        return EncodedSplit(**arrays, pad_id=pad_id)

    def outputs(self, method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
        """Return ``logits`` (runs, units, outputs), float64."""
        out = np.empty((state.axis.size, len(subset.units), state.task.n_outputs))
        for places, _, logits in forward(method, state, subset):
            out[:, places] = logits.double().cpu().numpy()
        return {"logits": out}

    def score(
        self, task: Task, outputs: Outputs, subset: EvalSubset, names: Sequence[str]
    ) -> SplitScores:
        """Return metrics of the likeliest classes, or of the values."""
        logits, targets = outputs["logits"], subset.targets
        losses = decision_losses(torch.from_numpy(logits), torch.from_numpy(targets), task.kind)
        return SplitScores(
            metrics=classification.score(names, logits, targets),
            loss=float(losses.mean()),
            examples=len(targets),
        )

    def calibrate(
        self, validation: tuple[Outputs, EvalSubset], test: tuple[Outputs, EvalSubset]
    ) -> Calibration | None:
        """Fit the temperature on validation and measure test calibration; None for regression."""
        if validation[0]["logits"].shape[1] == 1:
            return None
        pairs = [(outputs["logits"], subset.targets) for outputs, subset in (validation, test)]
        return calibrated(*pairs)

    def best_possible(self, task: Task, test: EncodedSplit) -> Truth | None:
        """Return what the true probabilities or means score."""
        truth, main = test.truth, task.metrics[0]
        if truth is None:
            return None
        if task.kind == "regression":
            return Truth(score=classification.score([main], truth, test.targets)[main])
        return truth_of_classes(truth, test.targets, main)

    def table(self, outputs: Outputs, subset: EvalSubset) -> pa.Table:
        """Return label, logits and, where known, the truth."""
        logits, truth = outputs["logits"], subset.split.truth
        columns: dict[str, Any] = {
            "example_id": subset.split.example_ids[subset.units],
            "label": subset.targets,
        }
        columns |= {f"logit_{k}": logits[:, k] for k in range(logits.shape[1])}
        if truth is not None:
            name = "true_probability_" if truth.shape[1] > 1 else "true_mean_"
            columns |= {f"{name}{k}": truth[subset.units, k] for k in range(truth.shape[1])}
        return pa.table(columns)


def _cut(rows: Rows, lengths: NDArray[np.int64], limit: int, reader: Reader) -> NDArray[np.bool_]:
    """Return of which units the tokenizer cut the text, (n,); only those of full length may be."""
    cut = lengths >= limit
    full = np.flatnonzero(cut)
    if len(full):
        texts = rows.take(full).columns.values()
        whole = reader.tokenizer(*texts, verbose=False)["input_ids"]
        cut[full] = [len(ids) > limit for ids in whole]
    return cut


def calibrated(validation: tuple[Any, Any], test: tuple[Any, Any]) -> Calibration:
    """Fit the temperature on logits and labels of validation; measure both on those of test."""
    temperature = calibration.fit_temperature(*validation)
    report = calibration.calibration_report(*test, temperature)
    return Calibration(temperature=temperature, **report)


def truth_of_classes(truth: Any, targets: Any, metric: str) -> Truth:
    """Return the scores of the predictor that knows the probabilities, (units, classes)."""
    logits = np.log(np.clip(truth, 1e-12, None))
    report = calibration.calibration_report(logits, targets, 1.0)
    return Truth(
        score=classification.score([metric], logits, targets)[metric],
        ece=report["ece"],
        brier=report["brier"],
        nll=report["nll"],
    )
