"""Tasks of every kind, and outputs that `gapbench score` holds against their references."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.support.small_suite import Answer, call

Capture = pytest.CaptureFixture[str]
Table = Mapping[str, Sequence[Any]]

SHARED: dict[str, Any] = {
    "name": "small",
    "version": 1,
    "description": "A task of a test.",
    "source": {"files": "parquet"},
    "validation_size": 8,
    "max_length": 16,
}
TASKS: dict[str, dict[str, Any]] = {
    "classification": {
        "kind": "classification",
        "text": ["sentence"],
        "labels": ["no", "maybe", "yes"],
        "metrics": ["accuracy", "matthews_correlation"],
    },
    "regression": {
        "kind": "regression",
        "text": ["sentence"],
        "label_range": [0, 5],
        "metrics": ["pearson", "mse"],
    },
    "choice": {
        "kind": "choice",
        "text": ["question"],
        "choice": {"options": "options"},
        "metrics": ["accuracy", "accuracy_norm"],
    },
    "span": {
        "kind": "span",
        "text": ["question", "context"],
        "label": "answers",
        "span": {"version": "2.0"},
        "metrics": ["span_f1", "exact_match"],
    },
    "generation": {
        "kind": "generation",
        "text": ["record"],
        "label": "telling",
        "generation": {"parts": "category"},
        "metrics": ["bleu", "rouge_l", "ter"],
        "checkpoint_metric": "perplexity",
    },
}
REFERENCES: dict[str, Table] = {
    "classification": {"sentence": ["a", "b", "c", "d"], "label": [0, 2, 1, 2]},
    "regression": {"sentence": ["a", "b", "c"], "label": [0.5, 2.0, 4.5]},
    "choice": {
        "question": ["q0", "q1", "q2"],
        "options": [["aa", "b"], ["a", "bb", "cccc"], ["a", "b", "c"]],
        "label": [0, 2, 1],
    },
    "span": {
        "id": ["x", "y", "z"],
        "question": ["who?", "where?", "why?"],
        "context": ["the cat sat", "in the old house", "nobody knows"],
        "answers": [
            {"text": ["the cat", "cat"], "answer_start": [0, 4]},
            {"text": ["old house"], "answer_start": [7]},
            {"text": [], "answer_start": []},
        ],
    },
    "generation": {
        "record": ["r0", "r1", "r0", "r2"],
        "telling": [
            "the red cat sees a dog",
            "a bird is in the old house",
            "a dog is seen by the red cat",
            "it is 5",
        ],
        "category": ["seen", "unseen", "seen", "seen"],
    },
}
TELLINGS = ["the red cat sees a dog", "a bird likes the old house", "it is not 5"]


def scored(
    folder: Path,
    capsys: Capture,
    kind: str,
    predictions: Table | str,
    suffix: str = ".parquet",
    **changes: Any,
) -> Answer:
    """Score predictions for a small task of a kind."""
    task = folder / "small.yaml"
    task.write_text(yaml.safe_dump(SHARED | TASKS[kind]))
    references = folder / "references.parquet"
    pd.DataFrame(changes.get("references", REFERENCES[kind])).to_parquet(references)
    path = folder / f"predictions{suffix}"
    if isinstance(predictions, str):
        path.write_bytes(predictions.encode())
    elif suffix == ".csv":
        pd.DataFrame(predictions).to_csv(path, index=False)
    else:
        pd.DataFrame(predictions).to_parquet(path)
    files = ("--predictions", path, "--references", references)
    return call(capsys, "score", "--task", task, *files, *changes.get("flags", ("--json",)))
