"""Cases of `../shared/cases`: what users reported of checkpoints, and what is answered now."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
import yaml

import gapbench
from tests.support.shared_cases import Copied
from tests.support.small_suite import call

CASES = Path(__file__).parents[3] / "shared" / "cases"
EMPTY = "2 of 40 texts have no tokens, the first in row 0"
REFUSED = [
    ("04", "a.yaml", "bert-drop", "lacks bert.encoder.layer.1.attention.self.query.bias"),
    ("04", "a.yaml", "d-llama-drop", "lacks model.layers.1.self_attn.q_proj.weight"),
    ("04", "a.yaml", "bert-ddp", "begin with 'module.'"),
    ("07", "short/e.yaml", "d-gpt2", EMPTY),
    ("07", "long/e.yaml", "d-gpt2", EMPTY),
    ("08", "a.yaml", "d-gpt2-pad", "its padding token '[PAD]' has the id 500"),
    ("08", "a.yaml", "d-gpt2-added", "the token 'movie' has the id 501"),
    ("08", "p.yaml", "roberta-tt", "the segments 0 to 1, but the backbone has 1"),
    ("08", "a.yaml", "bert-ddp", "begin with 'module.'"),
    ("01", "ch.yaml", "../04-missing-weights-become-head/d-llama-nohead", "lacks lm_head.weight"),
]
HEADS = [
    ("04-missing-weights-become-head", "bert"),
    ("05-trained-head-kept", "bart-cls2"),
    ("05-trained-head-kept", "bert-cls2"),
    ("05-trained-head-kept", "t5-cls2"),
    ("10-refused-heads", "bert-cls3"),
    ("10-refused-heads", "modernbert"),
]
SINGLE = [
    ("08-check-says-valid", "long", "l", "camembert-nolen"),
    ("08-check-says-valid", "long", "l", "mpnet-nolen"),
    ("09-xlnet", "a", "s", "xlnet"),
    ("13-end-token-in-text", "eos", "eos", "bart"),
    ("13-end-token-in-text", "eos", "eos", "t5"),
]
Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is absent")


@pytest.mark.parametrize(("number", "suite", "backbone", "message"), REFUSED)
def test_what_is_wrong_is_named_before_anything_runs(
    number: str, suite: str, backbone: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    """`check` refuses, and in the same words each run, which stores no logits."""
    (folder,) = CASES.glob(f"{number}-*")
    given = (folder / suite, "--backbone", (folder / backbone).resolve())
    answer = call(capsys, "check", *given)
    assert answer.code == 2
    assert message in answer.err
    answer = call(capsys, "run", *given, "--workers", 1, "--results", tmp_path / "R")
    assert answer.code == 3
    assert message in answer.err
    assert set(gapbench.load(tmp_path / "R").runs["status"]) == {"failed"}
    assert not list((tmp_path / "R").rglob("*.parquet"))


def edited(path: Path, **changes: Any) -> Path:
    """Write a suite again with other fields."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return path


def valid(capsys: Capture, suite: Path, backbone: object) -> gapbench.Results:
    """Return the results of a suite that `check` calls valid."""
    given = (suite, "--backbone", backbone)
    for command in (("check", *given), ("run", *given, "--workers", 1, "--results", "R")):
        answer = call(capsys, *command)
        assert answer.code == 0, answer.err
    return gapbench.load("R")


def logits(results: gapbench.Results, **run: Any) -> np.ndarray:
    """Return the stored logits of a run, in the order of the test file."""
    (name,) = results.runs.loc[(results.runs[list(run)] == pd.Series(run)).all(axis=1), "run_hash"]
    found = results.predictions(name).sort_values("example_id")
    return found.filter(like="logit_").to_numpy()


def library_logits(folder: Path, texts: pd.Series) -> np.ndarray:
    """Return what the model library's classifier makes of each text alone, marks read as words.

    A text is cut where the model would otherwise run out of positions.
    """
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=2
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def alone(text: str) -> torch.Tensor:
        whole = tokenizer(text, split_special_tokens=True, return_tensors="pt")
        for length in range(whole["input_ids"].shape[1], 0, -1):
            inputs = tokenizer(
                text,
                split_special_tokens=True,
                truncation=True,
                max_length=length,
                return_tensors="pt",
            )
            try:
                return model(**inputs).logits
            except (IndexError, RuntimeError):  # of the table of positions
                continue
        raise AssertionError(text)

    with torch.inference_mode():
        return torch.cat([alone(text) for text in texts]).numpy()


@pytest.mark.parametrize(("case", "backbone"), HEADS)
def test_head_is_drawn_anew_for_every_run(
    copied: Copied, capsys: Capture, case: str, backbone: str
) -> None:
    """Other logits at another seed, none the checkpoint's own; `head` and LoRA train all of it."""
    folder = copied(case)
    ranks = [{"method": "lora", "variant": f"r{n}", "config": {"rank": n}} for n in (1, 2)]
    suite = edited(folder / "a.yaml", methods=["untuned", "head", *ranks])
    results = valid(capsys, edited(suite, seeds=2), backbone)
    texts = pd.read_parquet(folder / "s_test.parquet")["text"]
    drawn = [logits(results, method="untuned", seed=seed) for seed in (0, 1)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    assert drawn[0].shape == drawn[1].shape == (len(texts), 2)
    if backbone.endswith("cls2"):
        own = library_logits(folder / backbone, texts)
        assert all(np.abs(one - own).max() > 1e-3 for one in drawn)
    for seed in (0, 1):
        assert np.abs(logits(results, method="head", seed=seed) - drawn[seed]).max() > 1e-5
    runs = results.runs
    trained = {name: set(each) for name, each in runs.groupby("variant")["trainable_params"]}
    one, two = (trained[name].pop() for name in ("r1", "r2"))
    head = set(runs.loc[runs["method"] == "head", "trainable_params"])
    assert head == {
        2 * one - two
    }  # an adapter's parameters double with its rank, the head's do not
    assert min(head) > 0


@pytest.mark.parametrize(("case", "name", "task", "backbone"), SINGLE)
def test_rows_have_the_logits_of_single_texts(
    copied: Copied, capsys: Capture, case: str, name: str, task: str, backbone: str
) -> None:
    """Whatever is long, padded or a mark among them; with a head, so that both sides have one."""
    folder = copied(case)
    labels = {"num_labels": 2, "id2label": {0: "0", 1: "1"}}
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(backbone, **labels)
    model.save_pretrained(folder / "headed")
    transformers.AutoTokenizer.from_pretrained(backbone).save_pretrained(folder / "headed")
    valid(capsys, folder / f"{name}.yaml", backbone)
    suite = edited(folder / f"{name}.yaml", tasks=[{"task": task, "head": "keep"}])
    results = valid(capsys, suite, folder / "headed")
    texts = pd.read_parquet(folder / f"{task}_test.parquet")["text"]
    found = logits(results, backbone="headed")
    np.testing.assert_allclose(found, library_logits(folder / "headed", texts), atol=2e-5)
