"""Verdicts where runs are lost, missing, collapsed or without stored items."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.record import Status
from gapbench.bench.store.record_io import predictions_path
from gapbench.bench.store.store import Store
from gapbench.reports.prose.card import card
from gapbench.reports.results.load import load
from gapbench.reports.tables.row_status import RowStatus, state
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict import recommend
from gapbench.reports.verdict.build import verdicts
from tests.support.known_truth import MISSING, _put, verdicts_of, write
from tests.support.results_folder import make_cell, make_record, make_task, put

EQUAL = dict.fromkeys(("lora", "dora", "bitfit", "head", "bilora"), 2.0)
BARE = {"majority": 0.0, "untuned": -0.2}


def test_failed_runs_count_as_the_untrained_row(tmp_path: Path) -> None:
    """A method that loses most of its seeds is far worse, and never recommended."""
    fates = {("dora", seed): Status.DIVERGED for seed in range(4)}
    (found,) = verdicts_of(write(tmp_path, EQUAL | BARE | {"dora": 3.5}, fates=fates))
    dora = found["dora"]
    assert dora.status == "collapsed"
    assert not dora.compared
    assert "4 runs without a score counted as majority" in dora.why
    assert (dora.levels["score"].mean or 1) < 0.65
    assert found.recommended == "lora"
    assert dora.n_failed == 4


def test_failed_runs_without_an_untrained_row_leave_the_ranking(tmp_path: Path) -> None:
    """The others are compared without it."""
    fates = {("dora", 0): Status.FAILED}
    (found,) = verdicts_of(write(tmp_path, EQUAL | {"dora": 3.5}, fates=fates))
    assert (found["dora"].status, found["dora"].why) == ("failed", "1 run has no score")
    assert found["dora"].to_reference["score"].withheld == "dora lacks scores: 1 run has no score"
    assert found["dora"].to_reference["score"].claim == ""
    assert found.recommended == "lora"


@pytest.mark.parametrize(
    ("fate", "said"),
    [(Status.OK, "5 runs without a score"), (Status.FAILED, "all 5 runs failed")],
)
def test_row_without_any_score_says_whether_its_runs_failed(
    tmp_path: Path, fate: Status, said: str
) -> None:
    """Runs that end well may have an undefined score, such as a correlation of equal answers."""
    store, cell = write(tmp_path, EQUAL), make_cell("olora")
    store.write_plan("known", [(Run(cell, seed), "default") for seed in range(5)])
    for seed in range(5):
        record = make_record(cell, seed, status=fate, detail=None if fate is Status.OK else "x")
        if fate is Status.OK:
            none = {"metrics": {"accuracy": None, "f1": None}}
            test = record.splits["test"].model_copy(update=none)
            record = record.model_copy(update={"splits": record.splits | {"test": test}})
        store.write(record)
    (found,) = verdicts_of(store)
    row = found["olora"]
    assert (row.status, row.why, row.n_failed) == ("failed", said, 5)


def test_lost_runs_are_told_where_nothing_is_ranked(tmp_path: Path) -> None:
    """Of five seeds with lost ones, more seeds would not help, but a row to count them as would."""
    fates = {("lora", 1): Status.FAILED, ("dora", 2): Status.DIVERGED}
    levels = {"lora": 0.5, "dora": 1.0}
    (found,) = verdicts_of(write(tmp_path / "lost", levels, fates=fates))
    assert found.why == recommend.LOST
    said = card(found)
    assert "runs were lost" in said.headline
    assert "--seeds" not in said.points["What would change this"]
    (found,) = verdicts_of(write(tmp_path / "told", levels | BARE, fates=fates))
    assert found.why != recommend.LOST
    gone = {(name, seed): Status.FAILED for name in levels for seed in range(5)}
    (found,) = verdicts_of(write(tmp_path / "gone", levels, fates=gone))
    assert "gapbench status" in card(found).points["What would change this"]


def test_task_without_a_score_is_left_out_whatever_its_first_row(tmp_path: Path) -> None:
    """A row that never ran has no protocol, and yet does not make a group of its own."""
    store = Store(tmp_path)
    store.open_for_writing()
    cells = [
        make_cell(method, task=make_task(task))
        for task in ("t1", "t2", "t3")
        for method in ("aaa", "full", "lora")
    ]
    store.write_plan("q", [(Run(cell, seed), "default") for cell in cells for seed in range(2)])
    for cell in cells:
        for seed in range(2):
            if cell.task.name != "t3":
                put(store, make_record(cell, seed))
            elif cell.method != "aaa":
                store.write(make_record(cell, seed, status=Status.FAILED, detail="x"))
    results = load(store)
    (found,) = verdicts(results, summarise(results))
    assert dict(found.left_out) == {"t3": "no row has a score"}


def test_row_with_missing_seeds_is_incomplete_and_leads_nothing(tmp_path: Path) -> None:
    """Two lucky seeds of five make no leader; the command that completes them is given."""
    fates = {("dora", seed): MISSING for seed in (2, 3, 4)}
    levels = EQUAL | BARE | {"dora": 3.5}
    (found,) = verdicts_of(write(tmp_path, levels, fates=fates))
    assert (found["dora"].status, found["dora"].why) == ("incomplete", "2 of 5 seeds")
    assert found["dora"].commands == (f"gapbench run known --results {tmp_path}",)
    assert found.recommended == "lora"
    assert set(found.ties) == set(EQUAL) - {"lora", "dora"}


def test_collapsed_seeds_withhold_interval_and_rank(tmp_path: Path) -> None:
    """A mean of two kinds of runs describes neither."""
    store = write(tmp_path, EQUAL | BARE)
    cell = make_cell("olora")
    store.write_plan("known", [(Run(cell, seed), "default") for seed in range(5)])
    for seed, score in enumerate((0.78, 0.79, 0.5, 0.785, 0.5)):
        record = make_record(cell, seed)
        test = record.splits["test"].model_copy(
            update={"metrics": {"accuracy": score, "f1": score}}
        )
        store.write(record.model_copy(update={"splits": record.splits | {"test": test}}))
    (found,) = verdicts_of(store)
    row = found["olora"]
    assert (row.status, row.why) == ("collapsed", "2 of 5 seeds lie far below the others")
    assert row.levels["score"].low is None
    assert row.levels["score"].withheld == row.why
    assert not row.compared


def test_mean_over_tasks_of_a_row_that_collapsed_on_one_has_no_interval(tmp_path: Path) -> None:
    """What is withheld on a task is not said of all of them."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability")):
        store = write(tmp_path, EQUAL | BARE, task=make_task(name), draw=draw)
    run = Run(make_cell("dora", task=make_task("syn_acceptability")), 0)
    record, like = store.find(run), store.predictions(Run(make_cell("majority"), 0))
    assert record is not None
    test = record.splits["test"].model_copy(update={"metrics": {"accuracy": 0.1, "f1": 0.1}})
    store.record_path(run).unlink()
    store.write(
        record.model_copy(update={"splits": record.splits | {"test": test}}), {"test": like}
    )
    (found,) = verdicts_of(store)
    assert found["dora"].status == "collapsed"
    assert {each.low for each in found["dora"].levels.values()} == {None}
    assert "1 of 5 seeds lie far below the others" in found["dora"].levels["score"].withheld


def test_gains_over_an_untrained_row_without_items_are_not_claimed(tmp_path: Path) -> None:
    """Nor is anything about a lost run that counts as that row."""
    near = dict.fromkeys(EQUAL, 0.3) | {"majority": 0.0}  # or the row would have collapsed
    store = write(tmp_path, near, fates={("dora", 1): Status.FAILED}, spread=0.3)
    for seed in range(5):
        predictions_path(store.record_path(Run(make_cell("majority"), seed))).unlink()
    (found,) = verdicts_of(store)
    assert (found.untrained, found.learned) == ((), None)
    assert found["dora"].status == "itemless"


def test_rows_without_items_are_not_told_to_run_more_seeds(tmp_path: Path) -> None:
    """What is missing are outputs, which no further seed brings back."""
    store = write(tmp_path, EQUAL)
    for method in EQUAL:
        for seed in range(5):
            predictions_path(store.record_path(Run(make_cell(method), seed))).unlink(
                missing_ok=True
            )
    (found,) = verdicts_of(store)
    assert found.why == recommend.NO_ITEMS
    assert card(found).headline == "No answer: no values of single test items are known."
    assert not [point for point in card(found).points if "--seeds" in str(point)]


@pytest.mark.parametrize(
    ("statuses", "why"),
    [
        ({"itemless"}, recommend.NO_ITEMS),
        ({"collapsed"}, recommend.COLLAPSED),
        ({"collapsed", "itemless"}, recommend.COLLAPSED),
        ({"single", "itemless"}, recommend.TOO_FEW),
        ({"incomplete", "collapsed"}, recommend.TOO_FEW),
    ],
)
def test_what_is_missing_is_told_by_the_rows_that_seeds_would_help(
    tmp_path: Path, statuses: set[str], why: str
) -> None:
    """More seeds are asked for only where some row lacks them."""
    (found,) = verdicts_of(write(tmp_path, EQUAL, seeds=1))
    states = [*statuses, *statuses]
    rows = [
        replace(entry, status=state)
        for entry, state in zip(found.entries, states, strict=False)
        if entry.status != "untrained"
    ]
    assert recommend.recommend(rows, (), "lora", learned=None, costs={})[1] == why


def test_nothing_is_recommended_while_the_reference_is_incomplete(tmp_path: Path) -> None:
    """Its absence is no reason to use another method."""
    store = write(tmp_path, EQUAL | {"dora": 3.4}, fates={("lora", 4): MISSING})
    (found,) = verdicts_of(store)
    assert (found.recommended, found.why) == ("", recommend.NO_REFERENCE)
    assert "lora, which others are compared with, has 4 of 5 seeds." in card(found).headline
    assert found["lora"].commands


def test_seed_that_one_row_has_in_addition_is_no_obstacle(tmp_path: Path) -> None:
    """All others are compared on the seeds that they have in common."""
    store = write(tmp_path, EQUAL | {"dora": 3.4})
    store.write_plan("known", [(Run(make_cell("dora"), 5), "default")])
    like, run = Run(make_cell("dora"), 4), Run(make_cell("dora"), 5)
    record = store.find(like)
    assert record is not None
    kept = {split: store.predictions(like, split) for split in ("train", "validation", "test")}
    copied = record.model_copy(update={"seed": 5, "run_hash": run.hash})
    store.write(copied, {split: table for split, table in kept.items() if table is not None})
    (found,) = verdicts_of(store)
    assert {each.status for each in found.entries} == {"ranked", "reference"}
    assert found.recommended == "dora"


def write_twin(store: Store) -> None:
    """Give BitFit the outputs of LoRA, seed by seed."""
    twin = make_cell("bitfit")
    store.write_plan("known", [(Run(twin, seed), "default") for seed in range(5)])
    for seed in range(5):
        like = Run(make_cell("lora"), seed)
        record = store.find(like)
        assert record is not None
        copied = make_record(twin, seed).model_copy(update={"splits": record.splits})
        store.write(copied, {"test": store.predictions(like)})


@pytest.mark.parametrize("others", [{"dora": 2.0, "head": 1.0}, {}])
def test_identical_predictions_have_their_own_reason(
    tmp_path: Path, others: dict[str, float]
) -> None:
    """More seeds would not tell them apart, and the answer does not ask for any."""
    store = write(tmp_path, {"lora": 2.0} | others)
    write_twin(store)
    (found,) = verdicts_of(store)
    contrast = found["bitfit"].to_reference["score"]
    assert contrast.difference == 0
    assert contrast.withheld.startswith("identical on every seed")
    assert (contrast.low, contrast.claim) == (None, "")
    shown = card(found)
    if others:  # which still rule something out, and stand beside the answer
        assert found.ruled_out is not None
        assert "bitfit is identical to lora on every seed." in shown.certainty
        assert f"any of the {len(others)} others is better by more than" in shown.certainty
        assert "bitfit" not in {name for name, _ in shown.heads}
    else:
        assert found.ruled_out is None
        assert "identical on every seed" in shown.certainty
    assert "More seeds" not in shown.points.get("What would change this", "")


@pytest.mark.parametrize("tasks", [("syn_sentiment",), ("syn_sentiment", "syn_acceptability")])
def test_second_name_of_the_same_runs_widens_nothing(
    tmp_path: Path, tasks: tuple[str, ...]
) -> None:
    """What training gains is told as surely, and what varies as usual stays so."""
    for draw, name in enumerate(tasks):
        store = write(tmp_path, {"lora": 0.3, "dora": 0.4} | BARE, task=make_task(name), draw=draw)
    before = verdicts_of(store)[0]
    for method in ("dora", "majority"):
        cells = [make_cell(method, task=make_task(name)) for name in tasks]
        runs = [(Run(cell, seed), "again") for cell in cells for seed in range(5)]
        store.write_plan("known", runs)
    after = verdicts_of(store)[0]
    assert {("dora / again", "majority / again"), *before.gains} < after.gains.keys()
    assert {pair: after.gains[pair] for pair in before.gains} == before.gains
    assert [after[each.name].status for each in before.entries] == [
        each.status for each in before.entries
    ]


def test_rows_without_stored_items_are_not_compared(tmp_path: Path) -> None:
    """Seeds alone do not say what other items would change; a gap needs those of train too."""
    store = write(tmp_path, EQUAL | {"dora": 3.4, "head": 3.4})
    for seed in range(5):
        dora, head = (store.record_path(Run(make_cell(name), seed)) for name in ("dora", "head"))
        predictions_path(dora).unlink()
        predictions_path(head, "train").unlink()
    (found,) = verdicts_of(store)
    assert found.recommended == "head"
    assert (found["dora"].status, found["dora"].why) == (
        "itemless",
        "no values of single test items are known",
    )
    level = found["dora"].levels["score"]
    assert (level.n_items, level.low) == (0, None)
    assert level.withheld == "no values of single items are known"
    assert found["head"].levels["gap"].low is None
    gap = found.contrast("head", "lora", "gap")
    assert (gap.claim, gap.withheld) == ("", "no values of single items are known")
    assert gap.difference is not None


def test_row_without_runs_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """That it stands first leaves them the bounds and the level of their metric."""
    fates = {("lora", seed): MISSING for seed in range(5)}
    store = write(tmp_path, {"lora": 2.0, "dora": 5.0, "head": 5.0}, fates=fates, items=60)
    (found,) = verdicts_of(store, "head")
    assert found["lora"].status == "incomplete"
    assert found.contrast("dora", "head").confidence == pytest.approx(0.95)
    levels = [found[name].levels["score"] for name in ("dora", "head")]
    assert all(each.high is not None and each.high <= 1 for each in levels)


def test_leaderboard_says_of_every_row_what_the_verdict_says(tmp_path: Path) -> None:
    """Of an untrained one too, and of one with the reference's own answers."""
    store = write(tmp_path, {"lora": 2.0, "dora": 2.0, "head": 1.0} | BARE)
    write_twin(store)
    (found,) = verdicts_of(store)
    table = summarise(load(store), "lora").set_index("name")
    assert table.loc["majority", "vs_reference_claim"] == "worse"
    for name in set(table.index) - {"lora"}:
        row, contrast = table.loc[name], found[name].to_reference["score"]
        assert row["vs_reference_claim"] == contrast.claim
        ends = [None if pd.isna(row[f"vs_reference_{end}"]) else row[f"vs_reference_{end}"]
                for end in ("low", "high")]  # fmt: skip
        assert ends == [contrast.low, contrast.high], name


def test_training_is_shown_to_help_by_a_row_of_which_it_is_shown(tmp_path: Path) -> None:
    """The best mean may be of a row that varies too much to be told from what trains nothing."""
    store = write(tmp_path, BARE | {"lora": 1.0, "head": 1.0}, seeds=3)
    noisy = make_cell("dora")
    runs = [Run(noisy, seed) for seed in range(3)]
    store.write_plan("known", [(run, "default") for run in runs])
    for run, share in zip(runs, (0.62, 0.75, 0.88), strict=True):
        _put(store, run, (np.arange(800) < 800 * share).astype(int), flops=1e12)
    (found,) = verdicts_of(store)
    assert found.entries[0].name == "dora"
    assert found.learned is True
    assert {each.claim for each in found.untrained} == {"better"}
    assert "dora" not in {each.first for each in found.untrained}


@pytest.mark.parametrize("fate", [MISSING, Status.FAILED])
def test_row_that_is_named_for_want_of_an_answer_is_not_to_be_used(
    tmp_path: Path, fate: Status | str
) -> None:
    """The card calls it the reference, and calls nothing unbeaten."""
    fates = {(name, seed): fate for name in EQUAL for seed in range(1, 5)}
    (found,) = verdicts_of(write(tmp_path, EQUAL, fates=fates))
    assert found.why in recommend.UNANSWERED
    said = card(found)
    assert "use this" not in {what for _, what in said.heads}
    assert "nothing" not in said.points.values()


def test_best_row_that_equals_the_untrained_one_is_no_answer(tmp_path: Path) -> None:
    """Identical outputs are a comparison: training is not shown to help."""
    store = write(tmp_path, {"lora": 2.0, "dora": 1.0, "untuned": 0.0})
    for seed in range(5):
        like, twin = (store.find(Run(make_cell(name), seed)) for name in ("lora", "untuned"))
        assert like is not None
        assert twin is not None
        same = twin.model_copy(update={"splits": like.splits})
        store.record_path(twin.run).unlink()
        store.write(same, {"test": store.predictions(like.run)})
    (found,) = verdicts_of(store)
    assert found.learned is False
    assert (found.recommended, found.why) == ("", recommend.UNTRAINED)


def test_one_row_alone_stands_under_its_own_name(tmp_path: Path) -> None:
    """The table of the answer has no number under an empty head."""
    (found,) = verdicts_of(write(tmp_path, {"lora": 2.0}, seeds=1))
    shown = card(found)
    assert shown.heads[0][0] == "lora"
    assert shown.heads[1][0] == ""
    assert all(measure.first and not measure.second for measure in shown.measures)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("untrained", "trains nothing"),
        ("incomplete", "has 2 of 5 seeds"),
        ("failed", "lacks scores: 2 of 5 seeds"),
        ("itemless", "cannot be judged: 2 of 5 seeds"),
    ],
)
def test_state_of_a_row_is_said_in_plain_words(status: RowStatus, said: str) -> None:
    """Readers do not know the names that states have in the code."""
    assert state(status, "2 of 5 seeds" * (status != "untrained")) == said
