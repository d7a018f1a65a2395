"""Small questions whose answers are spans of made-up contexts, as rows and as files."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import transformers
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from gapbench.bench.config.task import Task
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.kinds.span import SpanSplit

NOUNS = ("cat", "dog", "bird", "tree", "house")
COLOURS = ("red", "small", "old")
SIZES = {"train": 40, "validation": 12, "test": 16}
FIND: dict[str, Any] = {
    "name": "find",
    "version": 1,
    "kind": "span",
    "description": "Where in the text is the animal that is asked for?",
    "source": {"files": "parquet"},
    "text": ["question", "context"],
    "label": "answers",
    "group": "title",
    "span": {"version": "1.1", "stride": 4, "max_answer_tokens": 4},
    "metrics": ["span_f1", "exact_match"],
    "validation_size": 10,
    "max_length": 24,
}

Rows = dict[str, list[Any]]


def make_task(version: str = "1.1", **changes: Any) -> Task:
    """Return the task of one version of SQuAD with other fields."""
    span = FIND["span"] | {"version": version} | changes.pop("span", {})
    return Task.model_validate(FIND | {"span": span} | changes)


def questions(
    n: int,
    seed: object,
    *,
    nouns: Sequence[str] = NOUNS,
    colours: Sequence[str] = COLOURS,
    phrases: tuple[int, int] = (2, 8),
    answerable: float = 1.0,
) -> Rows:
    """Return questions that are a noun; the answer is the noun with its colour, if it is there.

    Args:
        n: how many.
        seed: of the draws.
        nouns: what may be asked for; those of a context differ.
        colours: one before each noun.
        phrases: fewest and most nouns of a context.
        answerable: share of the questions that have an answer.
    """
    draw = random.Random(str(seed))  # noqa: S311 - not for secrets
    rows: Rows = {"title": [], "question": [], "context": [], "answers": []}
    for row in range(n):
        most = min(phrases[1], len(nouns) - 1)
        told = draw.sample(list(nouns), draw.randint(phrases[0], most))
        asked = draw.choice(told)
        found = [f"{draw.choice(list(colours))} {noun}" for noun in told]
        context = " and the ".join(found)
        answer = next(phrase for phrase in found if phrase.endswith(asked))
        given = {"text": [answer], "answer_start": [context.index(answer)]}
        if draw.random() >= answerable:
            asked = draw.choice([noun for noun in nouns if noun not in told])
            given = {"text": [], "answer_start": []}
        rows["title"].append(f"text {row // 2}")
        rows["question"].append(asked)
        rows["context"].append(context)
        rows["answers"].append(given)
    return rows


def word_reader(window: int = 64) -> Reader:
    """Return a tokenizer of words and marks, of which it knows none, without special tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Reader(transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer), window)


def encode(task: Task, rows: Rows, reader: Reader) -> SpanSplit:
    """Return rows as a split."""
    kind = kinds.get("span")
    read = kind.read(task, "here", rows)
    arrays = kind.encode(task, "here", read, reader)
    split = kind.load(arrays | {"targets": read.targets, "example_ids": read.numbers}, 0)
    assert isinstance(split, SpanSplit)
    return split


def write_suite(
    folder: Path, task: Task, backbone: str, tables: dict[str, Rows], **suite: Any
) -> tuple[Path, Path]:
    """Write a task's rows, its file and a suite of it; return the suite file and data folder."""
    data = folder / "data"
    (data / task.name).mkdir(parents=True)
    (folder / "tasks").mkdir()
    content = task.model_dump(mode="json", exclude_none=True)
    (folder / "tasks" / f"{task.name}.yaml").write_text(yaml.safe_dump(content))
    for split, rows in tables.items():
        pd.DataFrame(rows).to_parquet(data / task.name / f"{split}.parquet")
    path = folder / "spans.yaml"
    named = {"name": "spans", "tasks": [task.name], "backbones": [backbone]}
    path.write_text(yaml.safe_dump(named | suite))
    return path, data
