"""Language modelling: losses are the model library's, and every token is predicted once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

import gapbench
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.models.backbone import Reader
from gapbench.bench.store.items import ItemTable
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import kinds
from tests.support.causal_files import FAMILIES, STORIES, make_decoder

TEXTS = ["the cat is red", "", "a dog and a bird", "the " * 70 + "fox"]


@pytest.fixture(params=FAMILIES)
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small decoder; the texts of one family begin with a token, those of the other do not."""
    return make_decoder(tmp_path / "decoder", request.param)


@pytest.fixture
def score(tmp_path: Path, decoder: Path) -> Callable[..., Record]:
    """Return a function that scores the bare decoder on the texts."""
    (tmp_path / "data" / "stories").mkdir(parents=True)
    pd.DataFrame({"text": TEXTS}).to_parquet(tmp_path / "data" / "stories" / "test.parquet")

    def scored(**changes: Any) -> Record:
        suite = {
            "name": "told",
            "tasks": [STORIES | changes],
            "backbones": [str(decoder)],
            "methods": ["untuned"],
            "seeds": 1,
            "budget": {"steps": 1},
        }
        gapbench.run(suite, results=tmp_path / "results", data=tmp_path / "data")
        (record,) = Store(tmp_path / "results").records()
        assert isinstance(record, Record)
        return record

    return scored


def _library_loss(decoder: Path, windows: list[list[int]]) -> float:
    """Return the mean loss of all tokens but the first of each window, by the library's model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(decoder).eval()
    total = 0.0
    for window in windows:
        ids = torch.tensor([window])
        with torch.inference_mode():
            total += float(model(input_ids=ids, labels=ids).loss) * (len(window) - 1)
    return total / sum(len(window) - 1 for window in windows)


def _cut(tokens: list[int], size: int) -> list[list[int]]:
    return [tokens[start : start + size] for start in range(0, len(tokens) - 1, size - 1)]


@pytest.mark.parametrize("join", [None, " "])
def test_loss_is_that_of_the_model_library(
    decoder: Path, score: Callable[..., Record], join: str | None
) -> None:
    """The library shifts its own labels; windows overlap by one token, so none is left out."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(decoder)
    texts = [text for text in TEXTS if text] if join is None else [join.join(TEXTS)]
    begun = "llama" in str(transformers.AutoConfig.from_pretrained(decoder).model_type)
    windows: list[list[int]] = []
    predicted = 0
    for text in texts:
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = [tokenizer.bos_token_id, *own] if begun else own
        windows += _cut(tokens, 32)
        predicted += len(tokens) - 1
    record = score(join=join)
    scores = record.splits["test"]
    assert sum(len(window) - 1 for window in windows) == predicted
    assert scores.examples == (len(texts) if join is None else len(windows))
    assert scores.metrics["token_loss"] == pytest.approx(_library_loss(decoder, windows), rel=1e-5)
    assert scores.metrics["perplexity"] == pytest.approx(np.exp(scores.loss), rel=1e-9)


def test_values_of_items_have_the_score_as_their_mean(
    tmp_path: Path, score: Callable[..., Record]
) -> None:
    """Intervals over documents rest on that, though documents differ in length."""
    record = score()
    table = Store(tmp_path / "results").predictions(record.run)
    assert table is not None
    for metric in STORIES["metrics"]:
        values = ItemTable(table).checked(metric, record.splits["test"].metrics[metric])
        assert values is not None
        assert len(values) == 3


def test_a_text_without_a_token_to_predict_is_refused(tmp_path: Path) -> None:
    """One word of a tokenizer that begins no text predicts nothing."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_decoder(tmp_path / "d", "gpt2"))
    task = Task.model_validate(STORIES)
    kind, reader = kinds.get("language_modelling"), Reader(tokenizer, 48)
    rows = kind.read(task, "stories", {"text": ["the cat", "dog"]})
    with pytest.raises(DataError, match="row 1: the text has no token that follows another"):
        kind.encode(task, "stories", rows, reader)
    with pytest.raises(DataError, match="all rows are blank"):
        kind.read(task, "stories", {"text": ["", " "]})
