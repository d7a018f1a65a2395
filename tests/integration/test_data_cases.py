"""Files that once gave silently wrong numbers, each with the commands of its README."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

import gapbench
from tests.support.shared_cases import Command, Copied


def accuracy(run: Command, files: str) -> float:
    """Return what a file of outputs scores."""
    answer = run(f"score --task {files} --metrics accuracy --json")
    assert answer.code == 0, answer.err
    return float(answer.json["scores"]["accuracy"])


@pytest.mark.parametrize(
    ("case", "data", "columns", "rows"),
    [
        ("02-tsv-quotes", "sentences.tsv", "--text sentence --label label", 600),
        ("203-tsv-quotes", "mine.tsv", "--text text --label label", 200),
    ],
)
def test_every_line_of_a_file_with_tabs_is_a_row(
    copied: Copied, run: Command, case: str, data: str, columns: str, rows: int
) -> None:
    """Quotes in it join no rows, and `init` says how many it read."""
    copied(case)
    answer = run(f"init s/new.yaml --data {data} {columns}")
    assert answer.out.startswith(f"{data}: {rows} rows with columns ")
    assert "odd" not in answer.out
    checked = run("check s/new.yaml --methods lora --json")
    assert checked.code == 0, checked.err
    (row,) = checked.json
    assert row["train"] + row["validation"] + row["test"] == rows


def test_outputs_for_quoted_lines_are_counted_right(copied: Copied, run: Command) -> None:
    """Every line of the references wants an output, whatever quotes it holds."""
    folder = copied("203-tsv-quotes")
    lines = len((folder / "refs.tsv").read_text().splitlines()) - 1
    given = {f"p{n}.csv": len(pd.read_csv(folder / f"p{n}.csv")) for n in (3, 5)}
    for name, count in given.items():
        answer = run(f"score --task sst2 --predictions {name} --references refs.tsv")
        assert answer.code == (0 if count == lines else 2)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_classes_that_are_numbers_are_names(copied: Copied, run: Command, suffix: str) -> None:
    """Perfect outputs score 1 in either format, with the task of then and with a new one."""
    copied("03-class-names-that-are-numbers")
    assert run("init new.yaml --data nums.jsonl --text text --label label").code == 0
    for task in ("nums", "new"):
        files = f"tasks/{task}.yaml --predictions perfect.{suffix} --references nums.jsonl"
        assert accuracy(run, files) == 1.0


@pytest.mark.parametrize(
    ("files", "score"),
    [
        ("stars.yaml --predictions pred12.csv --references refs.jsonl", 0.8),
        ("stars.yaml --predictions pred12.jsonl --references refs.jsonl", 0.8),
        ("stars.yaml --predictions pred123.csv --references refs.jsonl", 1.0),
        ("codes.yaml --predictions codes.csv --references refs2.jsonl", 0.8),
        ("codes.yaml --predictions codes.jsonl --references refs2.jsonl", 0.8),
        ("codes.yaml --predictions codes.csv --references refs3.csv", 1.0),
    ],
)
def test_digits_are_names_in_every_format(
    copied: Copied, run: Command, files: str, score: float
) -> None:
    """Outputs and references may be in formats that tell numbers from names, or not."""
    copied("204-digit-names")
    assert accuracy(run, files) == score


def test_text_and_outputs_of_digits_and_words_agree(copied: Copied, run: Command) -> None:
    """A column of digits alone, and one that holds a word too, name the same classes."""
    folder = copied("204-digit-names")
    labelled(folder, "test", ["1", "2", "none"])
    for name, score in (("sys", 40 / 60), ("sys_one_none", 41 / 60)):
        files = f"s/tasks/b.yaml --predictions {name}.csv --references test.csv"
        assert accuracy(run, files) == pytest.approx(score)


def labelled(folder: Path, name: str, labels: list[str]) -> None:
    """Write 60 rows whose texts say what their labels, which follow in turn, are."""
    drawn = [labels[row % len(labels)] for row in range(60)]
    words = {"1": "bad poor sad", "2": "good nice fine", "3": "red small", "none": "tree house"}
    rows = {"text": [f"{words[label]} {n}" for n, label in enumerate(drawn)], "label": drawn}
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def test_test_file_without_one_class_is_scored_by_its_names(copied: Copied, run: Command) -> None:
    """Names like numbers stay names where test holds no others; `check` says what lacks."""
    folder = copied("204-digit-names")
    labelled(folder, "train", ["1", "2", "3", "none", "2"])
    labelled(folder, "test_no_none", ["1", "2", "2", "2"])
    given = "--data train.csv --test test_no_none.csv --text text --label label"
    answer = run(f"init s2/b.yaml {given}")
    assert answer.code == 0, answer.err
    checked = run("check s2/b.yaml --methods lora")
    assert (checked.code, "test has no example of class 3, none" in checked.err) == (0, True)
    ran = run("run s2/b.yaml --methods full,majority --seeds 1 --workers 1 --results r")
    assert ran.code == 0, ran.err
    runs = gapbench.load("r").runs.set_index("method")
    assert runs.loc["majority", "test_score"] == 0.75
    assert runs.loc["full", "test_score"] == pytest.approx(runs.loc["full", "train_score"], abs=0.1)
    assert runs.loc["full", "test_score"] > 0.9


def test_outputs_in_another_order_are_aligned_by_id(copied: Copied, run: Command) -> None:
    """Perfect outputs score 1 in any order that an id tells; an unknown id is refused."""
    folder = copied("06-score-ignores-ids")
    for name in ("in_order", "by_idx"):
        assert accuracy(run, f"rte --predictions {name}.csv --references rte.parquet") == 1.0
    table = pd.read_csv(folder / "by_idx.csv")
    table.loc[3, "idx"] = -1
    table.to_csv(folder / "unknown.csv", index=False)
    answer = run("score --task rte --predictions unknown.csv --references rte.parquet")
    assert (answer.code, answer.out) == (2, "")
    assert "idx is " in answer.err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("twice.csv", "it has 2 columns 'label'; rename or remove all but one"),
        ("half.jsonl", r"line 4: it holds \ud83d, one half of a pair"),
        ("big.csv", "at most 2,147,483,646 of this format are read; save it as .parquet"),
    ],
)
def test_files_that_broke_a_reader_are_refused_in_a_line(
    copied: Copied, run: Command, data: str, said: str
) -> None:
    """Nothing is written, and the message names what to do."""
    folder = copied("11-data-files")
    with (folder / "big.csv").open("wb") as file:
        file.truncate(2200 * 2**20)
    answer = run(f"init new.yaml --data {data} --text text --label label")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not (folder / "new.yaml").exists()


def test_texts_are_cut_as_the_caption_metrics_cut_them(copied: Copied, run: Command) -> None:
    """ROUGE-L and CIDEr are those of pycocoevalcap 1.2 with its Java tokeniser."""
    copied("224-ptb")
    answer = run(
        "score --task e2e_nlg --predictions hyp.txt --references refs.jsonl"
        " --metrics rouge_l,cider --json"
    )
    scores = answer.json["scores"]
    assert (scores["rouge_l"], scores["cider"]) == pytest.approx((0.9167, 7.569), abs=1e-3)


@pytest.mark.parametrize("backbone", ["d-gptj", "d-llama"])
def test_choices_have_the_likelihoods_of_single_texts(
    copied: Copied, run: Command, backbone: str
) -> None:
    """Whatever packing does, they are those of the library's model on one text at a time."""
    folder = copied("01-packed-scoring-other-attention")
    ran = run(f"run ch.yaml --backbone {backbone} --methods untuned --seeds 1 --results r")
    assert ran.code == 0, ran.err
    stored = pd.read_parquet(next((folder / "r").rglob("seed-0.parquet")))
    stored = stored.sort_values("example_id", ignore_index=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / backbone).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / backbone)
    rows = pd.read_parquet(folder / "c_test.parquet")
    for column, option in (("logit_0", "sol1"), ("logit_1", "sol2")):
        expected = [
            likelihood(model, tokenizer, f"Question: {goal}\nAnswer:", f" {text.strip()}")
            for goal, text in zip(rows["goal"], rows[option], strict=True)
        ]
        np.testing.assert_allclose(stored[column], expected, rtol=0, atol=1e-4)


def likelihood(model: Any, tokenizer: Any, prompt: str, rest: str) -> float:
    """Return the log-likelihood of a text after a prompt, in nats."""
    whole = tokenizer("a")["input_ids"]
    first = whole[:1] if whole[0] == tokenizer.bos_token_id else []
    asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([first + tokenizer(prompt + rest, add_special_tokens=False)["input_ids"]])
    start = len(first) + len(asked)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, start - 1 : -1].double()
    return float(logits.log_softmax(-1).gather(1, ids[0, start:, None]).sum())
