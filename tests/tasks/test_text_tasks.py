"""The built-in generation and choice tasks read the rows that are published."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gapbench.bench.config import task_files
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import HubSource
from gapbench.bench.data.rows import Rows
from gapbench.bench.tasks import kinds

# One row of each choice task as its data set has it, the pairs that it means, and the right one.
ROWS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], int]] = {
    "piqa": (
        {"goal": "Dry a pan.", "sol1": "Use a towel.", "sol2": "Use a hammer.", "label": 0},
        [
            ("Question: Dry a pan.\nAnswer:", "Use a towel."),
            ("Question: Dry a pan.\nAnswer:", "Use a hammer."),
        ],
        0,
    ),
    "winogrande": (
        {
            "sentence": "Ann thanked Sue as _ had helped.",
            "option1": "Ann",
            "option2": "Sue",
            "answer": "2",
        },
        [("Ann thanked Sue as Ann", "had helped."), ("Ann thanked Sue as Sue", "had helped.")],
        1,
    ),
    "hellaswag": (
        {
            "activity_label": "Baking",
            "ctx": "A bowl is shown. then a cook",
            "endings": ["stirs it.", "eats a hat.", "sings.", "flies."],
            "label": "0",
        },
        [
            ("Baking: A bowl is shown. then a cook", text)
            for text in ("stirs it.", "eats a hat.", "sings.", "flies.")
        ],
        0,
    ),
    "commonsense_qa": (
        {
            "question": "Where do fish live?",
            "choices": {"label": ["A", "B", "C"], "text": ["trees", "rivers", "books"]},
            "answerKey": "B",
        },
        [("Question: Where do fish live?\nAnswer:", text) for text in ("trees", "rivers", "books")],
        1,
    ),
    "openbookqa": (
        {
            "question_stem": "Ice is",
            "choices": {"label": ["A", "B"], "text": ["hot", "cold"]},
            "answerKey": "B",
        },
        [("Ice is", "hot"), ("Ice is", "cold")],
        1,
    ),
    "social_i_qa": (
        {
            "context": "Kim fell.",
            "question": "How is Kim?",
            "answerA": "hurt",
            "answerB": "rich",
            "answerC": "a cat",
            "label": "1",
        },
        [("Q: Kim fell. How is Kim?\nA:", text) for text in ("hurt", "rich", "a cat")],
        0,
    ),
    **{
        f"arc_{level}": (
            {
                "question": "What is iron?",
                "choices": {"label": ["1", "2"], "text": ["a gas", "a metal"]},
                "answerKey": "2",
            },
            [("Question: What is iron?\nAnswer:", text) for text in ("a gas", "a metal")],
            1,
        )
        for level in ("easy", "challenge")
    },
    **{
        f"race_{level}": (
            {
                "example_id": "x.txt",
                "article": "Tom ran.",
                "question": "Who ran?",
                "options": ["Ann", "Tom"],
                "answer": "B",
            },
            [("Article: Tom ran.\n\nQuestion: Who ran?\nAnswer:", text) for text in ("Ann", "Tom")],
            1,
        )
        for level in ("middle", "high")
    },
    **{
        name: (
            {
                "question": " 2 + 2? ",
                "subject": "elementary_mathematics",
                "choices": ["3", "4"],
                "answer": 1,
            },
            pairs,
            1,
        )
        for names, pairs in (
            (
                ("mmlu", "mmlu_5_shots"),
                [("2 + 2?\nA. 3\nB. 4\nAnswer:", letter) for letter in "AB"],
            ),
            (("mmlu_answers",), [("Question: 2 + 2?\nAnswer:", text) for text in "34"]),
        )
        for name in names
    },
}
BUILTIN = [task_files.load(name) for name in task_files.builtin_names()]
# What the stored copies have otherwise than the published data sets.
STORED: dict[str, dict[str, Any]] = {
    "arc_easy": {"label": "label", "choice": {"options": "choices"}},
    "openbookqa": {
        "label": "label",
        "choice": {"options": "choices"},
        "text": ["question"],
    },
    "social_i_qa": {
        "text": ["question"],
        "prompt": "Q: {question}\nA:",
        "choice": {"options": "choices"},
        "labels": [],
        "group": None,
    },
    "winogrande": {"label": "label", "labels": []},
    "race_middle": {"label": "label", "labels": [], "splits": {"test": "validation"}},
    "piqa": {},
}


def read_file(task: Task, folder: Path, split: str) -> Rows:
    """Return the units of a stored parquet file."""
    table = pq.read_table(folder / f"{split}.parquet").to_pydict()
    return kinds.get(task.kind).read(task, f"task {task.name!r}, split {split!r}", table)


def test_every_choice_task_has_a_row_here() -> None:
    """No task from a hub is left out below."""
    hubs = {t.name for t in BUILTIN if t.kind == "choice" and isinstance(t.source, HubSource)}
    assert hubs == ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_choice_task_reads_a_row_of_its_data_set(name: str) -> None:
    """Columns, prompt, choices and label are those of the published rows."""
    row, pairs, right = ROWS[name]
    rows = kinds.get("choice").read(task_files.load(name), "here", {k: [v] for k, v in row.items()})
    assert rows.columns["pairs"] == [pairs]
    assert rows.targets.tolist() == [right]


@pytest.mark.parametrize(
    ("name", "row", "prompt"),
    [
        (
            "e2e_nlg",
            {"meaning_representation": "name[Alimentum], food[French]", "human_reference": "It."},
            "name[Alimentum], food[French] ||",
        ),
        (
            "web_nlg",
            {
                "modified_triple_sets": ["Bern | country | Switzerland", "Bern | area | 51.6"],
                "references": ["It."],
                "test_category": "seen",
            },
            "Bern : country : Switzerland | Bern : area : 51.6 ||",
        ),
        (
            "dart",
            {"tripleset": [["Ann", "AGE", "9"], ["Ann", "HOME", "Bern"]], "references": ["It."]},
            "Ann : AGE : 9 | Ann : HOME : Bern ||",
        ),
    ],
)
def test_generation_task_writes_its_input_out(name: str, row: dict[str, Any], prompt: str) -> None:
    """Attributes and triples become one line with a mark at its end."""
    rows = kinds.get("generation").read(
        task_files.load(name), "here", {k: [v] for k, v in row.items()}
    )
    assert rows.columns["prompt"] == [prompt]
    assert rows.columns["references"] == [["It."]]


@pytest.mark.parametrize("name", STORED)
def test_stored_copy_of_a_choice_task_is_read_whole(name: str, shared_folder: Path) -> None:
    """Every row of real data has its choices, of which one is right."""
    task = Task.model_validate(task_files.load(name).model_dump() | STORED[name])
    for split in (task.splits.train, task.splits.test):
        path = shared_folder / "data" / name
        rows = read_file(task, path, split)
        assert len(rows) == pq.read_metadata(path / f"{split}.parquet").num_rows
        counts = [len(pairs) for pairs in rows.columns["pairs"]]
        assert all(target < count for target, count in zip(rows.targets, counts, strict=True))


def test_e2e_test_set_has_the_inputs_and_references_of_the_challenge(shared_folder: Path) -> None:
    """630 inputs with 4,693 references, as the organisers count them."""
    rows = read_file(task_files.load("e2e_nlg"), shared_folder / "data" / "e2e_nlg", "test")
    assert len(rows) == 630
    assert sum(map(len, rows.columns["references"])) == 4693


def test_webnlg_test_set_is_parted_into_seen_and_unseen(shared_folder: Path) -> None:
    """The parts have the sizes of the challenge; the training set has none."""
    task, folder = task_files.load("web_nlg"), shared_folder / "data" / "webnlg"
    parts = read_file(task, folder, "test").columns["part"]
    assert {part: parts.count(part) for part in set(parts)} == {"seen": 971, "unseen": 891}
    assert set(read_file(task, folder, "train").columns["part"]) == {""}
