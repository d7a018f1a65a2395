"""Verdicts on results folders whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import Budget, Run
from gapbench.bench.core.errors import ConfigError, StoreError
from gapbench.bench.store.record import Status
from gapbench.bench.store.record_io import predictions_path
from gapbench.reports.prose.card import card
from gapbench.reports.results.load import load
from gapbench.reports.results.selection import EVERYTHING, Selection
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict import recommend
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.compare import compare
from tests.support.known_truth import MISSING, verdicts_of, write
from tests.support.results_folder import fill, make_cell, make_record, make_task, put

EQUAL = dict.fromkeys(("lora", "dora", "bitfit", "head", "bilora"), 2.0)
BARE = {"majority": 0.0, "untuned": -0.2}


def test_equal_methods_end_with_the_reference(tmp_path: Path) -> None:
    """No claim, the reference recommended, all others ties, and what was ruled out is said."""
    (found,) = verdicts_of(write(tmp_path, EQUAL | BARE))
    assert {each.status for each in found.entries} == {"ranked", "reference", "untrained"}
    assert all(each.claim == "" for each in found.pairs["score"].values())
    assert (found.recommended, found.why) == ("lora", recommend.NOTHING_BEATS)
    assert set(found.ties) == set(EQUAL) - {"lora"}
    assert found.learned is True
    assert {each.claim for each in found.untrained} == {"better"}
    highs = [each.to_reference["score"].high or 0 for each in found.entries
             if each.status == "ranked"]  # fmt: skip
    assert found.ruled_out == pytest.approx(max(highs))
    assert found.optimism is not None
    assert 0 < found.optimism < 0.02
    assert found["lora"].levels["score"].n_items == 800


def test_suite_names_the_reference_unless_the_reader_does(tmp_path: Path) -> None:
    """What its plan names comes first; parts that were planned before follow the newest plan."""
    store = write(tmp_path, EQUAL | BARE)
    assert verdicts_of(store, "")[0].reference == "lora"
    store.write_plan("known", [(Run(make_cell("head"), 0), "default")], reference="dora")
    (found,) = verdicts_of(store, "")
    assert (found.reference, found.recommended) == ("dora", "dora")
    assert verdicts_of(store, "head")[0].reference == "head"


def test_one_better_method_is_recommended(tmp_path: Path) -> None:
    """It beats the reference, and its interval of the difference to the best is above zero."""
    (found,) = verdicts_of(write(tmp_path, EQUAL | BARE | {"dora": 3.2}))
    assert (found.recommended, found.why) == ("dora", recommend.CHEAPEST_BETTER)
    assert found.ties == ()
    best = found["dora"]
    assert (best.to_reference["score"].claim, best.beaten_by) == ("better", ())
    assert best.to_best is not None
    assert best.to_best.claim == "better"
    assert found["head"].beaten_by == ("dora",)
    for entry in found.entries[1:5]:
        assert entry.to_best is not None
        assert entry.to_best.second == "dora"


def test_two_methods_that_tie_above_the_reference_leave_the_choice_to_their_cost(
    tmp_path: Path,
) -> None:
    """Both beat all others and neither the other; the cheaper one is recommended."""
    levels = EQUAL | BARE | {"dora": 3.4, "head": 3.4}
    (found,) = verdicts_of(write(tmp_path, levels, flops={"dora": 2e12}))
    assert found.contrast("dora", "head").claim == ""
    unbeaten = {each.name for each in found.entries if each.compared and not each.beaten_by}
    assert unbeaten == {"dora", "head"}
    for name in ("dora", "head"):
        assert found[name].to_reference["score"].claim == "better"
        best = found[name].to_best
        assert best is not None
        assert (best.low or 0) < 0 < (best.high or 0)
    assert all(set(found[name].beaten_by) == {"dora", "head"} for name in ("lora", "bitfit"))
    assert (found.recommended, found.why) == ("head", recommend.CHEAPEST_BETTER)
    assert found.ties == ("dora",)


def test_every_claim_is_an_interval_without_zero(tmp_path: Path) -> None:
    """Of every outcome and pair."""
    (found,) = verdicts_of(write(tmp_path, EQUAL | {"dora": 2.8, "head": 1.0}))
    every = [each for pairs in found.pairs.values() for each in pairs.values()]
    for each in every:
        assert each.low is not None
        assert each.high is not None
        assert (each.claim != "") == (not each.low <= 0 <= each.high)
    assert {each.claim for each in every} == {"better", "worse", ""}


def test_lower_is_better_turns_the_claims_round(tmp_path: Path) -> None:
    """The lowest error leads, and the difference that is below zero is the better one."""
    task = make_task("syn_similarity", kind="regression")
    store = fill(tmp_path, methods=("head", "lora", "lora_dropout"), seeds=5, tasks=(task,))
    (found,) = verdicts_of(store)
    assert found.entries[0].name == "lora_dropout"
    contrast = found["lora_dropout"].to_reference["score"]
    assert contrast.claim == "better"
    assert (contrast.high or 0) < 0
    assert found.recommended == "lora_dropout"
    best = found["lora_dropout"].to_best
    assert best is not None
    assert best.claim == "better"


def test_equal_methods_whose_error_is_less_the_better_end_with_the_reference(
    tmp_path: Path,
) -> None:
    """What is ruled out is how much lower an error could be."""
    task = make_task("syn_similarity", kind="regression")
    store = fill(tmp_path, methods=(), tasks=(task,))
    rng = np.random.default_rng(0)
    for method in ("lora", "dora", "head"):
        cell = make_cell(method, task=task)
        store.write_plan("quickstart", [(Run(cell, seed), "default") for seed in range(5)])
        for seed in range(5):
            record = make_record(cell, seed)
            metrics: dict[str, float | None] = {"mse": 0.08 + 0.005 * rng.normal(), "pearson": 0.5}
            test = record.splits["test"].model_copy(update={"metrics": metrics})
            put(store, record.model_copy(update={"splits": record.splits | {"test": test}}))
    (found,) = verdicts_of(store)
    assert all(each.claim == "" for each in found.pairs["score"].values())
    assert (found.recommended, found.why) == ("lora", recommend.NOTHING_BEATS)
    lows = [found[name].to_reference["score"].low or 0 for name in ("dora", "head")]
    assert found.ruled_out == pytest.approx(-min(lows))


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
    assert found["dora"].to_reference["score"].withheld == "dora is failed: 1 run has no score"
    assert found["dora"].to_reference["score"].claim == ""
    assert found.recommended == "lora"


def test_row_with_missing_seeds_is_incomplete_and_leads_nothing(tmp_path: Path) -> None:
    """Two lucky seeds of five make no leader; the command that completes them is given."""
    fates = {("dora", seed): MISSING for seed in (2, 3, 4)}
    levels = EQUAL | BARE | {"dora": 3.5}
    (found,) = verdicts_of(write(tmp_path, levels, fates=fates))
    assert (found["dora"].status, found["dora"].why) == ("incomplete", "2 of 5 seeds")
    assert found["dora"].command == "gapbench run known"
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


def test_nothing_is_recommended_while_the_reference_is_incomplete(tmp_path: Path) -> None:
    """Its absence is no reason to use another method."""
    store = write(tmp_path, EQUAL | {"dora": 3.4}, fates={("lora", 4): MISSING})
    (found,) = verdicts_of(store)
    assert (found.recommended, found.why) == ("", recommend.NO_REFERENCE)
    assert "lora, which others are compared with, is incomplete" in card(found).headline
    assert found["lora"].command


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


def test_part_that_lacks_tasks_has_no_mean_over_tasks(tmp_path: Path) -> None:
    """Each choice of tasks would be another claim at the full level."""
    names = ("syn_sentiment", "syn_acceptability", "syn_entailment")
    for draw, name in enumerate(names):
        store = write(tmp_path, EQUAL, task=make_task(name), draw=draw)
    part = Selection(task=names[:2]).of(load(store))
    assert [each.task for each in verdicts(part, summarise(part, "lora"))] == list(names[:2])


def test_card_names_what_overfits_less(tmp_path: Path) -> None:
    """Where scores are equal, that is what tells methods apart."""
    (found,) = verdicts_of(
        write(tmp_path, EQUAL | {"dora": 3.4})
    )  # equal train scores, so less gap
    said = card(found).points["Gap and calibration"]
    contrast = found["dora"].to_reference["gap"]
    assert contrast.claim == "better"
    assert said.startswith(f"Shown beside lora, a narrower gap: dora ({contrast.difference:.3f})")


def test_claims_on_nll_use_less_of_the_level(tmp_path: Path) -> None:
    """`LEVEL` says how much."""
    (found,) = verdicts_of(write(tmp_path, EQUAL))
    missed = {o: 1 - found["dora"].to_reference[o].confidence for o in ("score", "nll")}
    assert missed["nll"] == pytest.approx(0.6 * missed["score"])


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_claim_little_and_say_what_it_takes(tmp_path: Path, seeds: int) -> None:
    """One seed has no interval; two and three give wide ranges of what could be found."""
    (found,) = verdicts_of(write(tmp_path, EQUAL, seeds=seeds), matters=0.02)
    assert found.recommended == "lora"
    if seeds == 1:
        assert {each.status for each in found.entries} == {"single"}
        assert found.why == recommend.TOO_FEW
        assert found.design is None
        assert found["lora"].levels["score"].withheld == "one seed"
        return
    assert found.design is not None
    few, many = found.design.seeds
    assert found.design.matters == 0.02
    assert seeds < few <= many
    low, high = found.design.detectable
    assert 0 < low < high


@pytest.mark.parametrize(("seeds", "better"), [(2, ""), (5, "dora")])
def test_two_seeds_claim_nothing_that_five_do(tmp_path: Path, seeds: int, better: str) -> None:
    """A method that is better by 0.15 is not told from the reference by two seeds."""
    (found,) = verdicts_of(write(tmp_path, EQUAL | {"dora": 3.4}, seeds=seeds))
    assert found.entries[0].name == "dora"
    assert (found["dora"].to_reference["score"].claim == "better") == (better == "dora")
    assert found.recommended == (better or "lora")


def test_nothing_that_beats_the_untrained_is_said_first(tmp_path: Path) -> None:
    """Training gained nothing: there is nothing to recommend."""
    (found,) = verdicts_of(write(tmp_path, dict.fromkeys(EQUAL, 0.0) | {"untuned": 0.5}))
    assert found.learned is False
    assert (found.recommended, found.why) == ("", recommend.UNTRAINED)


@pytest.mark.parametrize("others", [{"dora": 2.0, "head": 1.0}, {}])
def test_identical_predictions_have_their_own_reason(
    tmp_path: Path, others: dict[str, float]
) -> None:
    """More seeds would not tell them apart, and the answer does not ask for any."""
    store = write(tmp_path, {"lora": 2.0} | others)
    twin = make_cell("bitfit")
    store.write_plan("known", [(Run(twin, seed), "default") for seed in range(5)])
    for seed in range(5):
        like = Run(make_cell("lora"), seed)
        record = store.find(like)
        assert record is not None
        copied = make_record(twin, seed).model_copy(update={"splits": record.splits})
        store.write(copied, {"test": store.predictions(like)})
    (found,) = verdicts_of(store)
    contrast = found["bitfit"].to_reference["score"]
    assert contrast.difference == 0
    assert contrast.withheld.startswith("identical on every seed")
    assert (contrast.low, contrast.claim) == (None, "")
    shown = card(found)
    assert "identical on every seed" in shown.certainty
    assert "More seeds" not in shown.points.get("What would change this", "")


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


def test_without_the_reference_all_pairs_share_the_level(tmp_path: Path) -> None:
    """There is no contrast to it, and the cheapest of the best is recommended."""
    levels = {"dora": 2.0, "head": 2.0, "bitfit": 2.0}
    (found,) = verdicts_of(write(tmp_path, levels))
    assert found.reference == ""
    assert found.why == recommend.CHEAPEST
    assert len({each.confidence for each in found.pairs["score"].values()}) == 1
    assert all(not each.to_reference for each in found.entries)


def test_several_tasks_have_a_verdict_together_and_each(tmp_path: Path) -> None:
    """Half of the level is for the mean, the rest for the tasks."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability", "syn_entailment")):
        levels = EQUAL | BARE | {"dora": 2.8}
        store = write(tmp_path, levels, task=make_task(name), draw=draw)
    (found,) = verdicts_of(store)
    assert (found.task, len(found.tasks)) == ("", 3)
    assert found.recommended == "dora"
    assert found.learned is True
    difference = np.mean([each["dora"].to_reference["score"].difference for each in found.tasks])
    assert found["dora"].to_reference["score"].difference == pytest.approx(difference)
    together, alone = (
        1 - each["dora"].to_reference["score"].confidence for each in (found, found.tasks[0])
    )
    assert together == pytest.approx(0.05 / 2 * 0.8 / 4)
    assert alone == pytest.approx(together / 3)


def test_part_of_a_folder_has_the_verdict_of_the_whole(tmp_path: Path) -> None:
    """What is said of two rows does not depend on which others are looked at."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability")):
        store = write(tmp_path, EQUAL | BARE | {"dora": 2.8}, task=make_task(name), draw=draw)
    results = load(store)
    (whole,) = verdicts_of(store)
    part = Selection(method=("lora", "dora")).of(results)
    (few,) = verdicts(part, summarise(part, "lora"))
    assert {each.name for each in few.entries} == {"lora", "dora"}
    for one, other in zip(few.everything, whole.everything, strict=True):
        assert one["dora"].levels == other["dora"].levels
        assert one["dora"].to_reference == other["dora"].to_reference
        assert one.design == other.design


def test_part_without_the_reference_is_still_compared_with_it(tmp_path: Path) -> None:
    """The answer names no row that it does not show."""
    store = write(tmp_path, EQUAL | BARE | {"dora": 2.8})
    part = Selection(method=("dora", "head")).of(load(store))
    (few,) = verdicts(part, summarise(part, "lora"))
    assert {each.name for each in few.entries} == {"lora", "dora", "head"}
    assert few["dora"].to_reference["score"].claim == "better"
    assert set(few.ties) <= {each.name for each in few.entries}
    assert card(few).heads == (("dora", "use this"), ("lora", "reference"))


def test_compare_says_what_the_verdict_says(tmp_path: Path) -> None:
    """The same contrast, whichever way round, and over all tasks too."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability")):
        store = write(tmp_path, EQUAL | {"dora": 3.0}, task=make_task(name), draw=draw)
    (verdict,) = verdicts_of(store)
    found = compare(load(store), "dora", "lora", EVERYTHING)
    assert [each.verdict.task for each in found.differences] == [
        "",
        "syn_sentiment",
        "syn_acceptability",
    ]
    for each, one in zip(found.differences, verdict.everything, strict=True):
        assert each.contrasts["score"] == one["dora"].to_reference["score"]
    turned = compare(load(store), "lora", "dora", EVERYTHING).differences[0].contrasts["score"]
    assert turned == found.differences[0].contrasts["score"].reversed()
    other = compare(load(store), "head", "bitfit", EVERYTHING).differences[1].contrasts["score"]
    assert other in (verdict.tasks[0].contrast("head", "bitfit"),)


@pytest.mark.parametrize(
    ("first", "second", "kind", "message"),
    [
        ("lora", "adalora", StoreError, r"has no method 'adalora'; it has bilora, bitfit"),
        ("lora", "lora/x", ConfigError, r"there is no 'lora / x' here; name one of 'lora'"),
        ("lora", "lora / default", ConfigError, r"'lora' is to be compared with itself"),
    ],
)
def test_compare_of_unknown_names_says_what_there_is(
    tmp_path: Path, first: str, second: str, kind: type[Exception], message: str
) -> None:
    """Every name that leads nowhere is answered with those that do."""
    with pytest.raises(kind, match=message):
        compare(load(write(tmp_path, EQUAL, seeds=2, items=20)), first, second, EVERYTHING)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": Budget(steps=400)}, r"budget\.steps is 200 and 400"),
        ({"precision": "bf16"}, r"precision is fp32 and bf16"),
        ({"backbone_dropout": 0.1}, r"backbone_dropout is 0.0 and 0.1"),
    ],
)
def test_settings_of_one_task_are_apart_and_told(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """A re-run under another budget is another table; compare names what differs."""
    store = fill(tmp_path, methods=("lora", "head"), seeds=3, tasks=(make_task(),))
    other = make_cell("dora").model_copy(update=change)
    store.write_plan("quickstart", [(Run(other, seed), "default") for seed in range(3)])
    for seed in range(3):
        put(store, make_record(other, seed))
    one, two = verdicts_of(store)
    assert one.setting != two.setting
    (name,) = change
    assert one.differs.startswith(name)
    assert one.differs.partition(" ")[0] == two.differs.partition(" ")[0]
    assert one.differs != two.differs
    with pytest.raises(StoreError, match=said):
        compare(load(store), "lora", "dora", EVERYTHING)
