"""`head: keep` begins with the checkpoint's head, for tasks whose labels it was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import gapbench
from gapbench.bench.core.errors import BackboneError
from tests.support.small_suite import CELL, SmallSuite, call, make, rows
from tests.support.tiny_checkpoints import save

Capture = pytest.CaptureFixture[str]
ENTRY = {"task": "animals", "head": "keep"}


def trained(folder: Path, family: str, names: list[str], **changes: Any) -> Path:
    """Save a classifier whose configuration names its labels."""
    labels = {"num_labels": len(names), "id2label": dict(enumerate(names))}
    return save(folder, family, "AutoModelForSequenceClassification", **labels, **changes)


def library_logits(folder: Path, sentences: list[str]) -> np.ndarray:
    """Return what the model library's classifier puts out for texts."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        read = [
            tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
            for text in sentences
        ]
        each = [model(**inputs).logits for inputs in read]
    return torch.cat(each).numpy()


def kept(tmp_path: Path, backbone: Path, **changes: Any) -> SmallSuite:
    """Return a suite whose only task keeps the head."""
    suite = {"tasks": [ENTRY], "methods": ["untuned", "head"], "seeds": 1}
    return make(tmp_path / "small", backbone, **suite | changes)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("bert", ["NO", "yes"]),
        ("t5", ["no", "yes"]),
        ("xlnet", ["No", "Yes"]),
        ("bart", ["Yes", "No"]),
        ("modernbert", ["yes", "no"]),
    ],
)
def test_untuned_is_the_checkpoint_s_own_classifier(
    family: str, names: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """Its logits are the library's, in the order of the task's labels, and methods train it on."""
    backbone = trained(tmp_path / family, family, names)
    small = kept(tmp_path, backbone)
    assert call(capsys, "run", *small.running).code == 0
    results = gapbench.load(small.results)
    runs = results.runs.set_index("method")
    found = results.predictions(runs.loc["untuned", "run_hash"]).sort_values("example_id")
    expected = library_logits(backbone, rows("validation")["sentence"])
    if names[0].lower() == "yes":
        expected = expected[:, ::-1]
    logits = found[["logit_0", "logit_1"]].to_numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    assert runs.loc["head", "trainable_params"] > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog"], r"its labels are 'cat', 'dog', but task 'animals' has 'no', 'yes'"),
        (["LABEL_0", "LABEL_1"], r"use the same names in 'id2label' of its config.json"),
        (["no", "yes", "maybe"], r"no classifier.bias of the size that the task needs"),
    ],
)
def test_head_for_other_labels_is_refused_by_check(
    names: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    """The names on both sides are told, and the way out."""
    small = kept(tmp_path, trained(tmp_path / "bert", "bert", names))
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 2
    with pytest.raises(BackboneError, match=message):
        raise BackboneError(answer.err)


def test_checkpoint_without_a_head_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """There is nothing to keep."""
    small = kept(tmp_path, save(tmp_path / "bert", "bert"))
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 2
    assert "'head: keep': the checkpoint has no classifier.bias" in answer.err


def test_other_values_are_refused(tmp_path: Path, capsys: Capture) -> None:
    """The field and what it may be are named."""
    small = kept(tmp_path, tmp_path, tasks=[{"task": "animals", "head": "new"}])
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 2
    assert "head" in answer.err
    assert "keep" in answer.err


def test_hash_changes_with_the_setting_alone() -> None:
    """Runs of before keep their hashes."""
    assert CELL.head is None
    assert "head" not in CELL.model_dump(exclude_none=True)
    assert CELL.changed({"head": "keep"}).hash != CELL.hash
