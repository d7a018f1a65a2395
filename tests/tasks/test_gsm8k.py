"""GSM8K as its task files say, over the real rows."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config import task_files
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources
from gapbench.bench.metrics.base import get
from gapbench.bench.tasks.dataset import read_rows


@pytest.fixture(scope="module")
def rows(shared_folder: Path) -> dict[str, dict[str, Rows]]:
    """Rows of both tasks by split."""
    sources = Sources(shared_folder / "data")
    names = ("gsm8k", "gsm8k_5_shots")
    return {name: read_rows(task_files.load(name), sources) for name in names}


def test_every_answer_ends_with_a_number_that_counts_as_its_own(
    rows: dict[str, dict[str, Rows]],
) -> None:
    """By both readings; the answer of the next row counts only where its number is the same."""
    for split in ("train", "test"):
        references = rows["gsm8k"][split].columns["references"]
        answers = [own[0] for own in references]
        assert all(len(own) == 1 for own in references)
        assert all("\n#### " in answer for answer in answers)
        numbers = [a.rpartition("#### ")[2].replace(",", "") for a in answers]
        shifted = np.roll(np.array(answers, dtype=object), 1).tolist()
        same = np.equal(numbers, np.roll(numbers, 1)).mean()
        for name in ("final_number", "final_number_flexible"):
            score = get(name).function
            assert score(answers, references) == 1.0
            assert score(shifted, references) == pytest.approx(same)


def test_examples_are_the_first_training_rows_and_none_is_scored(
    rows: dict[str, dict[str, Rows]],
) -> None:
    """Each prompt of the scored task is the plain one after the same five solved rows."""
    plain, shown = rows["gsm8k"], rows["gsm8k_5_shots"]
    assert [*shown] == ["test"]
    asked, prompts = plain["test"].columns["prompt"], shown["test"].columns["prompt"]
    (begin,) = {long.removesuffix(short) for long, short in zip(prompts, asked, strict=True)}
    first = zip(plain["train"].columns["prompt"], plain["train"].columns["references"], strict=True)
    solved = [f"{prompt} {own[0]}" for prompt, own in list(first)[:5]]
    assert begin == "\n\n".join([*solved, ""])
    assert not {*asked} & {*plain["train"].columns["prompt"]}
