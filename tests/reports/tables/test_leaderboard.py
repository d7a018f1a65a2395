"""The leaderboard's columns, averages, failures and ranks, and its form as text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.store.record import SplitScores, Status
from gapbench.bench.store.record_io import predictions_path
from gapbench.bench.store.store import Store
from gapbench.reports.render.build import terminal
from gapbench.reports.results.load import load
from gapbench.reports.results.selection import Selection
from gapbench.reports.stats.estimates import Sample, estimate
from gapbench.reports.tables.leaderboard import COLUMNS, UNCERTAINTY, leaderboard
from gapbench.reports.tables.suite_summary import suite_summaries
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import format_table
from tests.support.results_folder import FEW, SKILL, fill, make_cell, make_record, make_task, put

CONTRACT = (
    "suite, task, backbone, method, variant, n_seeds, metric, higher_is_better, "
    "score, score_ci_low, score_ci_high, status, rank_group, "
    "beaten_by, reference, vs_reference, vs_reference_low, vs_reference_high, "
    "vs_reference_claim, train_score, train_score_ci_low, train_score_ci_high, "
    "validation_score, validation_score_ci_low, validation_score_ci_high, "
    "generalization_gap, gap_ci_low, gap_ci_high, train_loss, test_loss, loss_gap, "
    "ece, ece_ci_low, ece_ci_high, ece_calibrated, "
    "brier, nll, nll_ci_low, nll_ci_high, temperature, train_seconds, evaluation_seconds, "
    "forward_passes, inference_passes, tokens_per_second, peak_memory_bytes, trainable_params, "
    "train_flops, tune_trials, tune_seconds, n_failed, device, setting, config_hash"
)


def table_of(store: Store) -> pd.DataFrame:
    """Return the leaderboard of a results folder."""
    return leaderboard(summarise(load(store)))


def plan(store: Store, *methods: str, seeds: int = 3) -> None:
    """Add default cells to the plan without running them."""
    store.write_plan(
        "quickstart",
        [(Run(make_cell(method), seed), "default") for method in methods for seed in range(seeds)],
    )


def test_leaderboard_has_exactly_the_published_columns(tmp_path: Path) -> None:
    """Names and order are the contract's, whatever the folder holds."""
    table = table_of(fill(tmp_path, methods=("lora",), seeds=1))
    assert ", ".join(table.columns) == CONTRACT == ", ".join(COLUMNS)


def test_leaderboard_with_intervals_says_what_they_are_over_at_its_end(tmp_path: Path) -> None:
    """Two seeds give intervals; the columns before stay where they are."""
    table = table_of(fill(tmp_path, methods=("lora", "bitfit"), seeds=3, tasks=(make_task(),)))
    assert tuple(table.columns) == (*COLUMNS, *UNCERTAINTY)
    assert table["score_ci_over"].tolist() == ["seeds and items", "seeds and items"]


def test_leaderboard_holds_no_interval_that_the_metric_does_not_allow(tmp_path: Path) -> None:
    """With two seeds far apart, scores end at 1, and differences at the width."""
    store = Store(tmp_path)
    store.open_for_writing()
    plan(store, "lora", "head", seeds=2)
    for method, scores in (("lora", (0.9, 0.5)), ("head", (0.4, 0.6))):
        for seed, score in enumerate(scores):
            test = SplitScores(metrics={"accuracy": score, "f1": 0.5}, loss=1.0, examples=10)
            splits = {"test": test}
            put(store, make_record(make_cell(method), seed, splits=splits))
    table = table_of(store)
    assert table["score_ci_high"].between(0.9, 1).all()
    differences = table.set_index("method").loc["head"]
    assert (differences["vs_reference_low"], differences["vs_reference_high"]) == (-1, 1)


def test_leaderboard_averages_the_seeds_of_a_cell(tmp_path: Path) -> None:
    """Score and gap are plain means of the records, seconds medians."""
    store = fill(tmp_path, methods=("lora",), tasks=(make_task(),))
    records = [make_record(make_cell("lora"), seed) for seed in range(3)]
    row = table_of(store).iloc[0]
    assert row["n_seeds"] == 3
    assert row["score"] == pytest.approx(np.mean([r.score("test") or 0 for r in records]))
    gaps = [record.generalization_gap or 0 for record in records]
    assert row["generalization_gap"] == pytest.approx(np.mean(gaps))
    assert row["gap_ci_low"] < row["generalization_gap"] < row["gap_ci_high"]
    assert row["train_seconds"] == pytest.approx(
        np.median([r.cost.train_seconds for r in records if r.cost])
    )
    assert row["config_hash"] == records[0].cell_hash


def test_scores_on_other_splits_have_intervals_where_their_outputs_are_stored(
    tmp_path: Path,
) -> None:
    """Over seeds and the items of that split; without its outputs there is none."""
    store = fill(tmp_path, methods=("lora", "bitfit"), tasks=(make_task(),))
    for seed in range(3):
        predictions_path(store.record_path(Run(make_cell("bitfit"), seed)), "train").unlink()
    table = table_of(store).set_index("method")
    records = [make_record(make_cell("lora"), seed) for seed in range(3)]
    for split in ("train", "validation"):
        scores = dict(enumerate(record.score(split) or 0.0 for record in records))
        items = {seed: np.full(400, score) for seed, score in scores.items()}
        expected = estimate(Sample(scores, (items,))).interval(3, (0.0, 1.0))
        found = table.loc["lora", [f"{split}_score_ci_low", f"{split}_score_ci_high"]]
        assert found.tolist() == pytest.approx([expected.low, expected.high])
    assert np.isnan(table.loc["bitfit", "train_score_ci_low"])
    assert table.loc["bitfit", "validation_score_ci_low"] > 0
    assert table.loc["bitfit", "train_score"] > 0


def test_leaderboard_with_one_seed_leaves_intervals_and_ranks_empty(tmp_path: Path) -> None:
    """One seed gives a mean and nothing that would need a spread."""
    table = table_of(fill(tmp_path, methods=FEW, seeds=1))
    empty = ["score_ci_low", "score_ci_high", "gap_ci_low", "gap_ci_high", "rank_group"]
    assert table[[*empty, "tune_trials", "tune_seconds"]].isna().all(axis=None)
    assert table["score"].notna().all()


def test_leaderboard_where_lower_is_better_puts_the_lowest_first(tmp_path: Path) -> None:
    """A regression task scored by mse is led by the smallest error."""
    task = make_task("syn_similarity", kind="regression")
    table = table_of(fill(tmp_path, methods=FEW, seeds=8, tasks=(task,)))
    assert table["score"].is_monotonic_increasing
    assert table["rank_group"].iloc[0] == 1
    assert table["rank_group"].iloc[-1] > 1
    assert table["ece"].isna().all()


def test_leaderboard_counts_failed_but_neither_skipped_nor_missing_runs(tmp_path: Path) -> None:
    """A divergence counts; a skip or a run not reached does not, and all cells have a row."""
    store = fill(tmp_path, methods=("lora",), tasks=(make_task(),))
    plan(store, "dora", "flexora", "never")
    put(store, make_record(make_cell("dora"), 0))
    put(store, make_record(make_cell("dora"), 1, status=Status.DIVERGED))
    for seed in range(3):
        put(store, make_record(make_cell("flexora"), seed, status=Status.SKIPPED, detail="no"))
    table = table_of(store).set_index("method")
    assert table["n_failed"].to_dict() == {"lora": 0, "dora": 1, "flexora": 0, "never": 0}
    assert table["n_seeds"].to_dict() == {"lora": 3, "dora": 1, "flexora": 0, "never": 0}
    assert table.loc[["flexora", "never"], ["score", "ece", "train_seconds"]].isna().all(axis=None)


def test_leaderboard_with_an_undefined_score_averages_the_defined_ones(tmp_path: Path) -> None:
    """A run whose main metric is undefined is no seed of the score, and nothing stands for it."""
    store = fill(tmp_path, methods=("lora",), seeds=2, tasks=(make_task(),))
    plan(store, "lora")
    scores = SplitScores(metrics={"accuracy": None, "f1": None}, loss=1.0, examples=10)
    put(store, make_record(make_cell("lora"), 2, splits={"test": scores}, generalization_gap=None))
    row = table_of(store).iloc[0]
    expected = [make_record(make_cell("lora"), seed).score("test") or 0 for seed in range(2)]
    assert (row["n_seeds"], row["n_failed"]) == (2, 0)
    assert row["score"] == pytest.approx(np.mean(expected))


def test_leaderboard_of_seeds_on_two_devices_has_no_seconds(tmp_path: Path) -> None:
    """Times of two machines are not averaged; what does not depend on the machine stays."""
    store = fill(tmp_path, methods=("lora",), seeds=1, tasks=(make_task(),))
    plan(store, "lora", seeds=2)
    put(store, make_record(make_cell("lora"), 1, device="GPU"))
    row = table_of(store).iloc[0]
    assert row["device"] == "CPU, 8 cores; GPU"
    assert row[["train_seconds", "tokens_per_second", "peak_memory_bytes"]].isna().all()
    assert row["trainable_params"] == 14_000


def test_leaderboard_never_averages_a_changed_config_under_an_old_label(tmp_path: Path) -> None:
    """Seeds of two configs under one variant give two rows, told apart by their hash."""
    store = fill(tmp_path, methods=("lora",), tasks=(make_task(),))
    changed = make_cell("lora", config={"rank": 4})
    store.write_plan("quickstart", [(Run(changed, 0), "default")])
    put(store, make_record(changed, 0))
    table = table_of(store)
    planned = table[table["suite"] == "quickstart"]
    assert sorted(planned["n_seeds"]) == [1, 2]
    assert planned["config_hash"].nunique() == 2


def test_leaderboard_ranks_only_rows_on_equal_terms(tmp_path: Path) -> None:
    """Paper-protocol rows are marked and ranked apart from strict ones of the same suite."""
    store = fill(tmp_path, methods=FEW, seeds=8, tasks=(make_task(),))
    paper = make_cell("full", protocol="paper")
    store.write_plan("quickstart", [(Run(paper, seed), "default") for seed in range(8)])
    for seed in range(8):
        put(store, make_record(paper, seed))
    table = table_of(store).set_index("method")
    assert table.loc["full", "variant"] == "default [paper]"
    assert table.loc["full", ["ece_calibrated", "temperature"]].isna().all()  # fitted on test
    assert pd.notna(table.loc["full", "ece"])
    assert table.loc["lora", ["ece_calibrated", "temperature"]].notna().all()
    groups = table["rank_group"].to_dict()
    assert (groups["full"], groups["lora_dropout"]) == (1, 1)
    assert groups["lora"] > 1


def test_format_table_with_long_names_stays_within_its_width(tmp_path: Path) -> None:
    """No line is wider than 80 columns, and a cut name keeps its mark of the paper protocol."""
    store = fill(tmp_path, methods=("lora", "a_method_with_a_very_long_name_indeed"))
    cell = make_cell("another_method_with_a_very_long_name", protocol="paper")
    put(store, make_record(cell, 0))
    text = format_table(table_of(store))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "another~ame [paper]" in text
    assert "such scores flatter" in text


def test_format_table_marks_the_best_group_and_warns_of_too_few_seeds(tmp_path: Path) -> None:
    """Stars stand before group 1 only; one seed gives none, and a sentence on what to do."""
    text = format_table(table_of(fill(tmp_path / "many", methods=FEW, seeds=8)))
    assert text.count(" FLOPs\n") == 2
    assert text.count(" 3.10T\n") == 2 * len(FEW)
    starred = [
        line.split()[1] for line in text.splitlines() if line.startswith("* ") and "." in line
    ]
    assert starred.count("lora_dropout") == 2
    assert "head" not in starred
    assert "Too few seeds" not in text
    text = format_table(table_of(fill(tmp_path / "one", methods=FEW, seeds=1)))
    assert text.count("Too few seeds for a verdict: one seed gives no interval.") == 2


def test_format_table_tells_the_time_of_scoring(tmp_path: Path) -> None:
    """The fastest and the slowest row of a task; nothing where their machines differ."""
    store = fill(tmp_path, methods=("lora", "lora_dropout"), seeds=2, tasks=(make_task(),))
    table = table_of(store)
    seconds = {"lora": 4.0, "lora_dropout": 17.8}
    table["evaluation_seconds"] = table["method"].map(seconds)
    machines = dict.fromkeys(table["config_hash"], "here")
    assert "Scoring a run: 4.0 s (lora) to 18 s (lora_dropout).\n" in format_table(table, machines)
    assert "Scoring a run" not in format_table(table)
    assert "Scoring a run" in terminal(store.root)
    mixed = Store(tmp_path / "mixed")
    mixed.open_for_writing()
    cells = [make_cell("lora"), make_cell("lora_dropout")]
    mixed.write_plan("q", [(Run(cell, seed), "default") for cell in cells for seed in range(2)])
    for cell, threads in zip(cells, (1, 16), strict=True):
        for seed in range(2):
            record = make_record(cell, seed)
            provenance = record.provenance.model_copy(update={"threads": threads})
            put(mixed, record.model_copy(update={"provenance": provenance}))
    assert "Scoring a run" not in terminal(mixed.root)


def test_format_table_of_nothing_says_so(tmp_path: Path) -> None:
    """A folder whose only record is unreadable gives an empty table, not a crash."""
    store = fill(tmp_path, methods=("lora",), seeds=1, tasks=(make_task(),))
    record = store.root / store.plans()[0].path
    record.write_text("{", encoding="utf-8")
    next((tmp_path / "plans").glob("*.json")).unlink()
    table = table_of(store)
    assert tuple(table.columns) == COLUMNS
    assert format_table(table) == "No runs.\n"


def test_groups_hold_no_row_that_another_one_of_them_beats(tmp_path: Path) -> None:
    """A row of a later group is beaten by one of each group before it."""
    table = table_of(fill(tmp_path, methods=tuple(SKILL), seeds=5, tasks=(make_task(),)))
    ranked = table[table["rank_group"].notna()].set_index("method")
    assert ranked["rank_group"].max() > 1
    for name, row in ranked.iterrows():
        beaten_by = [each for each in row["beaten_by"].split("; ") if each]
        groups = set(ranked.loc[beaten_by, "rank_group"])
        assert groups == set(range(1, row["rank_group"])), name


def test_part_of_a_folder_makes_the_claims_of_the_whole(tmp_path: Path) -> None:
    """Looking at two methods alone does not make their comparison bolder."""
    store = fill(tmp_path, methods=tuple(SKILL), seeds=5)
    whole = summarise(load(store)).set_index(["task", "method"])
    part = summarise(Selection(method=("lora", "bitfit")).of(load(store)))
    part = part.set_index(["task", "method"])
    assert len(part) == 4
    for column in ("vs_reference_low", "vs_reference_high", "rank_group"):
        pd.testing.assert_series_equal(part[column], whole.loc[part.index, column])


def test_leaderboard_does_not_rank_baselines_that_train_nothing(tmp_path: Path) -> None:
    """An untrained baseline shows its score, but is no rival in the tests."""
    store = fill(tmp_path, methods=("lora", "head"), tasks=(make_task(),))
    plan(store, "majority", seeds=2)
    for seed in range(2):
        record = make_record(make_cell("majority"), seed)
        assert record.cost is not None
        cost = record.cost.model_copy(update={"trainable_params": 0})
        put(store, record.model_copy(update={"cost": cost}))
    table = table_of(store).set_index("method")
    assert pd.isna(table.loc["majority", "rank_group"])
    assert table.loc["majority", "n_seeds"] == 2
    assert table.loc[["lora", "head"], "rank_group"].notna().all()


def test_reference_that_no_row_has_is_refused(tmp_path: Path) -> None:
    """A slip of the keyboard would change every comparison and the answer."""
    store = fill(tmp_path, methods=FEW)
    with pytest.raises(
        ConfigError, match=r"reference 'loar': no row has it; .*did you mean 'lora'"
    ):
        summarise(load(store), "loar")


def test_task_without_the_wanted_reference_has_the_suites_own(tmp_path: Path) -> None:
    """Else its differences would vanish without a word; a part without it is refused."""
    tasks = [make_task(), make_task("syn_negation")]
    runs = [
        Run(make_cell(method, task=task), seed)
        for task, methods in zip(tasks, (("lora", "head", "bitfit"), ("lora", "head")), strict=True)
        for method in methods
        for seed in range(3)
    ]
    store = Store(tmp_path)
    store.open_for_writing()
    store.write_plan("s", [(run, "default") for run in runs])
    for run in runs:
        put(store, make_record(run.cell, run.seed))
    table = summarise(load(store), "bitfit").groupby("task")["reference"].agg(set)
    assert table.to_dict() == {"syn_sentiment": {"bitfit"}, "syn_negation": {"lora"}}
    (over,) = suite_summaries(load(store), summarise(load(store), "bitfit"))
    assert over.reference == "lora"
    part = Selection(task=("syn_negation",)).of(load(store))
    with pytest.raises(ConfigError, match="reference 'bitfit': no row has it"):
        summarise(part, "bitfit")
