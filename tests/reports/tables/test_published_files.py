"""The published figures in `results/reference/published`: consistent and honestly marked.

What the columns and the words in them mean is explained beside the files.
"""

import csv
import re
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.metrics.base import discover

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "results" / "reference" / "published"
PAPERS = ("bilora", "flexora", "hiddenkey", "lora_dropout")
COLUMNS = [
    "paper", "table", "method", "variant", "backbone", "task", "metric", "value", "unit",
    "spread", "spread_kind", "aggregate", "runs", "certainty", "note",
]  # fmt: skip
KEY = ("paper", "table", "method", "variant", "backbone", "task", "metric")

OTHER_METHODS = {
    "adapter",
    "bidora",
    "h_adapter",
    "lora_drop",
    "loraprune",
    "p_adapter",
    "prefix_tuning",
    "unnamed_baseline",
}
"""Methods that the papers compare with and gapbench does not have."""

OTHER_METRICS = {
    "auc", "average", "correlation", "p_value", "selected_blocks_count", "trainable_params",
    "trainable_params_per_block", "trainable_params_share", "training_time",
    "training_time_increase", "accuracy_gain", "average_gain", "pearson_gain",
}  # fmt: skip
TASKS = {
    "", "average", "cola", "commonsense_qa", "e2e_nlg", "glue", "gsm8k", "hellaswag", "math_500",
    "metamath_gsm", "mnli", "mnli_matched", "mnli_mismatched", "mrpc", "per_residue_labels",
    "piqa", "pubmed_qa", "qnli", "qqp", "race", "race_high", "race_middle", "rte", "squad_v1",
    "squad_v2", "sst2", "stsb", "web_nlg_all", "web_nlg_seen", "web_nlg_unseen", "winogrande",
}  # fmt: skip
BACKBONES = {
    "baichuan-7b", "chatglm3-6b", "deberta-v2-xxl", "deberta-v3-base", "gemma-7b", "gpt2-large",
    "gpt2-medium", "llama-7b", "llama2-7b", "llama3-8b", "mistral-7b", "ouro-1.4b",
    "protein_language_model", "qwen-7b", "roberta-base", "roberta-large", "unstated",
    "vicuna-7b", "xuanyuan-6b", "yi-6b", "zephyr-7b",
}  # fmt: skip
VARIANT_KEYS = {
    "against", "base", "budget", "compensation", "fixed_blocks", "kl_weight", "pattern",
    "position", "rank", "rate", "ratio", "search_samples", "seed",
}  # fmt: skip
VARIANT_WORDS = {
    "pattern": {"element", "column", "span"},
    "compensation": {"js"},
    "position": {"input", "output"},
}
CERTAINTIES = {
    "read", "baseline_source", "third_party", "reviews", "inferred", "plot", "recalled",
}  # fmt: skip
RANGES = {
    "percent": (0, 100),
    "fraction": (0, 1),
    "points": (-100, 100),
    "score": (0, 10),
    "minutes": (1, 10_000),
    "blocks": (1, 32),
    "parameters": (1, 10_000_000_000),
    "million": (0, 10_000),
}
INCONSISTENT = {("hiddenkey_minus", "position=input"), ("hiddenkey_minus", "position=output")}
"""Rows of HiddenKey's Table 1 whose printed average is not the mean of the printed cells."""

Row = dict[str, str]


def read(paper: str) -> list[Row]:
    """Return the rows of one paper, every field as it is written."""
    with (FOLDER / f"{paper}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


ROWS = [row for paper in PAPERS for row in read(paper)]


def last_digit(written: str) -> Decimal:
    """Return what one step of the last printed digit is worth: 0.01 for 91.50."""
    exponent = Decimal(written).as_tuple().exponent
    assert isinstance(exponent, int), written
    return Decimal(1).scaleb(exponent)


def plain(name: str) -> str:
    """Return a name without what spellings differ in."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@pytest.mark.parametrize("paper", PAPERS)
def test_published_file_has_the_columns_and_its_own_name_in_every_row(paper: str) -> None:
    """Every row fills exactly the documented columns, without stray blanks."""
    rows = read(paper)
    assert rows
    for row in rows:
        assert list(row) == COLUMNS
        assert row["paper"] == paper
        assert all(isinstance(field, str) and field == field.strip() for field in row.values())
        assert all(row[name] for name in ("table", "method", "backbone", "metric", "unit"))


def test_published_folder_holds_the_four_papers_and_no_other_table() -> None:
    """A file that is not checked here cannot slip in."""
    assert sorted(path.stem for path in FOLDER.glob("*.csv")) == list(PAPERS)


def test_published_words_are_all_from_the_allowed_lists() -> None:
    """Every column but the numbers, the place and the note is a closed vocabulary, used up."""
    used = {name: {row[name] for row in ROWS} for name in COLUMNS}
    assert used["task"] == TASKS
    assert used["metric"] - set(discover()) == OTHER_METRICS
    assert used["backbone"] == BACKBONES
    assert used["unit"] == set(RANGES)
    assert used["certainty"] == CERTAINTIES
    assert used["spread_kind"] == {"", "std"}
    assert used["aggregate"] == {"", "mean", "median"}
    for row in ROWS:
        pairs = dict(pair.split("=") for pair in row["variant"].split())
        assert pairs.keys() <= VARIANT_KEYS, row
        for key, words in VARIANT_WORDS.items():
            assert pairs.get(key, min(words)) in words, row


def test_published_figures_are_each_given_once() -> None:
    """No two rows claim the same figure."""
    counts = Counter(tuple(row[name] for name in KEY) for row in ROWS)
    assert [key for key, count in counts.items() if count > 1] == []


def test_published_values_lie_in_the_range_of_their_unit() -> None:
    """A value in the wrong unit, or with a slipped digit group, is out of its range."""
    for row in ROWS:
        low, high = RANGES[row["unit"]]
        assert low <= Decimal(row["value"]) <= high, row
        if row["unit"] in {"blocks", "parameters"}:
            assert row["value"].isdecimal(), row


def test_published_spreads_and_runs_come_with_what_they_belong_to() -> None:
    """A kind of spread needs a spread, and a count of runs is a positive whole number."""
    for row in ROWS:
        assert row["spread"] or not row["spread_kind"], row
        assert not row["spread"] or Decimal(row["spread"]) >= 0, row
        assert not row["runs"] or int(row["runs"]) > 0, row
        assert row["runs"] or not row["aggregate"], row


def test_published_averages_equal_the_mean_of_their_cells_except_two() -> None:
    """Up to rounding, an average is the mean of its row; HiddenKey's Table 1 breaks this twice."""
    cells: dict[tuple[str, ...], list[str]] = defaultdict(list)
    averages: dict[tuple[str, ...], str] = {}
    for row in ROWS:
        key = tuple(row[name] for name in KEY[:5])
        if row["metric"] == "average":
            averages[key] = row["value"]
        elif row["unit"] == "percent" and row["task"]:
            cells[key].append(row["value"])
    wrong = {}
    for key, average in averages.items():
        values = [Decimal(value) for value in cells[key]]
        assert len(values) in {4, 5, 8}, key
        off = sum(values, Decimal(0)) / len(values) - Decimal(average)
        if abs(off) > (last_digit(average) + max(map(last_digit, cells[key]))) / 2:
            wrong[key] = off
    assert len(averages) == 36
    assert {key[2:4] for key in wrong} == INCONSISTENT
    assert all(round(off, 2) == Decimal("0.75") for off in wrong.values())


def test_published_inconsistent_averages_say_so_in_their_notes() -> None:
    """Whoever reads one of the two averages reads the warning."""
    marked = {
        (row["method"], row["variant"])
        for row in ROWS
        if row["metric"] == "average" and row["note"].startswith("inconsistent")
    }
    assert marked == INCONSISTENT


def test_published_methods_are_spelled_as_gapbench_spells_them() -> None:
    """A name is gapbench's, a paper's own, or listed here; none is a variant spelling of ours."""
    ours = set(registry.discover())
    used = {row["method"] for row in ROWS}
    assert used <= ours | OTHER_METHODS | set(PAPERS)
    respelled = {plain(name) for name in ours} & {plain(name) for name in used - ours}
    assert respelled == set()
    assert used >= OTHER_METHODS
    against = re.findall(r"against=(\S+)", " ".join(row["variant"] for row in ROWS))
    assert set(against) <= ours


def test_published_tasks_are_spelled_as_gapbench_spells_them() -> None:
    """Where gapbench has the task, the name is its own."""
    ours = {path.stem for path in (REPOSITORY / "suites" / "tasks").glob("*.yaml")}
    used = {row["task"] for row in ROWS}
    assert ours & used
    assert {plain(name) for name in ours} & {plain(name) for name in used - ours} == set()


def test_published_figures_that_nobody_read_say_where_they_come_from() -> None:
    """Every figure less sure than `read` carries a note."""
    assert [row for row in ROWS if row["certainty"] != "read" and not row["note"]] == []


@pytest.mark.parametrize("paper", ["bilora", "flexora", "lora_dropout"])
def test_published_scores_of_unread_tables_are_never_marked_read(paper: str) -> None:
    """Of these papers only code was read: no score of theirs may pass for one that was."""
    sure = {row["metric"] for row in read(paper) if row["certainty"] == "read"}
    assert sure <= {"selected_blocks_count", "trainable_params", "trainable_params_share"}


def test_published_block_lists_agree_with_their_counts_and_parameters() -> None:
    """A list has as many blocks as its row says, and rank 8 costs 106,496 parameters in each."""
    counts = {}
    for row in read("flexora"):
        if row["note"].startswith("blocks: "):
            words = row["note"].removeprefix("blocks: ").partition(";")[0].split()
            blocks = [block for word in words for block in _span(word)]
            assert len(set(blocks)) == len(blocks) == int(row["value"]), row
            assert blocks == sorted(blocks), row
            counts[tuple(row[name] for name in KEY[:6])] = len(blocks)
    parameters = {
        tuple(row[name] for name in KEY[:6]): int(row["value"])
        for row in read("flexora")
        if row["metric"] == "trainable_params" and row["certainty"] == "read"
    }
    assert len(counts) == 15
    assert len(parameters) == 7
    # Query: 8 * (4096 + 4096); value: 8 * (4096 + 1024), as its heads are shared.
    assert parameters == {key: 8 * (8192 + 5120) * counts[key] for key in parameters}


def _span(word: str) -> range:
    first, _, last = word.partition("-")
    return range(int(first), int(last or first) + 1)


def test_published_readme_explains_every_word_that_a_reader_meets() -> None:
    """Columns, certainties and units are all explained."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([a-z_]+)`", text))
    assert set(COLUMNS) | CERTAINTIES | set(RANGES) <= explained
