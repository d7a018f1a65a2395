"""Verdicts on several tasks and on parts of a folder, and two rows compared."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import Budget, Run
from gapbench.bench.core.errors import ConfigError, StoreError
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


def test_part_that_lacks_tasks_has_no_mean_over_tasks(tmp_path: Path) -> None:
    """Each choice of tasks would be another claim at the full level."""
    names = ("syn_sentiment", "syn_acceptability", "syn_entailment")
    for draw, name in enumerate(names):
        store = write(tmp_path, EQUAL, task=make_task(name), draw=draw)
    part = Selection(task=names[:2]).of(load(store))
    assert [each.task for each in verdicts(part, summarise(part, "lora"))] == list(names[:2])


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


def test_part_whose_rows_are_beaten_by_a_hidden_one_has_no_answer(tmp_path: Path) -> None:
    """It says which row beats them, and keeps none of them."""
    store = write(tmp_path, BARE | {"lora": 2.0, "dora": 3.2, "head": 1.0})
    part = Selection(method=("lora", "head")).of(load(store))
    (few,) = verdicts(part, summarise(part, "lora"))
    assert (few.recommended, few.why) == ("", recommend.HIDDEN)
    assert card(few).headline.endswith(
        "Every method shown here is beaten by others; not shown: dora."
    )


@pytest.mark.parametrize("names", [("syn_sentiment",), ("syn_sentiment", "syn_acceptability")])
def test_part_without_the_cheapest_says_what_was_left_out(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """The choice is between the methods that are shown, and the card does not say otherwise."""
    levels = {"head": 1.0, "bitfit": 3.0, "dora": 3.0}
    flops = {"bitfit": 5e11}
    for draw, name in enumerate(names):
        task = make_task(name)
        store = write(tmp_path, BARE | levels, task=task, draw=draw, flops=flops)
    results = load(store)
    (whole,) = verdicts_of(store, "")
    assert (whole.recommended, whole.hidden) == ("bitfit", ())
    part = Selection(method=("dora", "head")).of(results)
    (few,) = verdicts(part, summarise(part))
    assert (few.recommended, few.why, few.hidden) == ("dora", recommend.CHEAPEST, ("bitfit",))
    said = card(few)
    assert "Of the methods shown here that nothing beats" in said.headline
    assert said.points["Also unbeaten"] == "Left out here, and not in the choice: bitfit."


def test_part_of_one_method_does_not_say_that_nothing_was_compared(tmp_path: Path) -> None:
    """What is left out was."""
    store = write(tmp_path, BARE | {"head": 1.0, "dora": 3.0, "lora": 3.0})
    part = Selection(method=("lora",)).of(load(store))
    (few,) = verdicts(part, summarise(part, "lora"))
    assert (few.why, few.hidden) == (recommend.ALONE, ("dora",))
    assert card(few).headline == "Of the methods shown here, only lora can be judged."


def test_part_that_hides_the_best_over_tasks_has_no_answer(tmp_path: Path) -> None:
    """Over all tasks as on one: what beats a row beats it whether it is shown or not."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability")):
        levels = BARE | {"lora": 2.0, "dora": 3.2, "head": 1.0}
        store = write(tmp_path, levels, task=make_task(name), draw=draw)
    (whole,) = verdicts_of(store)
    for methods in (("lora", "head"), ("lora",)):
        part = Selection(method=methods).of(load(store))
        (few,) = verdicts(part, summarise(part, "lora"))
        for one, other in zip(few.everything, whole.everything, strict=True):
            assert (one.recommended, one.why) == ("", recommend.HIDDEN)
            assert one["lora"].beaten_by == other["lora"].beaten_by == ("dora",)


def test_part_of_several_backbones_keeps_the_level_of_the_whole(tmp_path: Path) -> None:
    """Two means over tasks share a level, whether both are looked at or one."""
    for draw, (name, backbone) in enumerate(product(("syn_sentiment", "syn_acceptability"), "ab")):
        task = make_task(name)
        store = write(tmp_path, EQUAL | {"dora": 2.8}, task=task, draw=draw, backbone=backbone)
    whole = {each.backbone: each for each in verdicts_of(store) if each.tasks}
    part = Selection(backbone=("a",)).of(load(store))
    (few,) = (each for each in verdicts(part, summarise(part, "lora")) if each.tasks)
    assert set(whole) == {"a", "b"}
    assert few["dora"].to_reference == whole["a"]["dora"].to_reference


def test_missing_run_leaves_the_level_of_the_mean(tmp_path: Path) -> None:
    """Its row is of no second setting."""
    names = ("syn_sentiment", "syn_acceptability")
    for folder, fates in (("all", {}), ("one missing", {("dora", 4): MISSING})):
        for draw, name in enumerate(names):
            root = tmp_path / folder
            store = write(root, EQUAL, task=make_task(name), draw=draw, fates=fates)
        (found,) = verdicts_of(store)
        assert found["head"].to_reference["score"].confidence == pytest.approx(
            1 - 0.02 / 4, abs=2e-3
        )


def test_tasks_that_meet_in_a_part_alone_have_no_mean(tmp_path: Path) -> None:
    """A choice of backbone for each task would be another claim."""
    places = (("syn_sentiment", "a"), ("syn_sentiment", "b"), ("syn_acceptability", "c"))
    for draw, (name, backbone) in enumerate(places):
        store = write(tmp_path, EQUAL, task=make_task(name), draw=draw, backbone=backbone)
    part = Selection(backbone=("a", "c")).of(load(store))
    found = verdicts(part, summarise(part, "lora"))
    assert [each.task for each in found] == ["syn_sentiment", "syn_acceptability"]


def test_tasks_without_a_common_mean_have_answers_of_their_own_alone(tmp_path: Path) -> None:
    """Nothing is recommended over all of them, and no row is called unbeaten."""
    (found,) = verdicts_of(fill(tmp_path, methods=("lora", "lora_dropout", "head")))
    assert (found.recommended, found.why, found.ties) == ("", recommend.NO_MEAN, ())
    assert all(each.recommended for each in found.tasks)
    said = card(found)
    assert "no common mean" in said.headline
    assert not said.certainty
    assert len(said.tasks) == 2


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
        ("lora", "lora/x", ConfigError, r"there is no 'lora / x' here; rows of 'lora' are 'lora'"),
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


def test_part_says_whom_the_reference_beats_and_no_more(tmp_path: Path) -> None:
    """Rows that are not shown may be as good."""
    store = write(tmp_path, BARE | {"lora": 2.5, "dora": 2.5, "head": 1.0, "bitfit": 1.0})
    results = load(store)
    for methods, whom in (
        (("lora", "head"), "head"),
        (("lora", "head", "bitfit"), "all 2 others"),
    ):
        part = Selection(method=methods).of(results)
        (few,) = verdicts(part, summarise(part, "lora"))
        assert f"lora is shown to be better than {whom} (95 %" in card(few).certainty


def test_part_of_several_tasks_without_the_reference_is_still_compared_with_it(
    tmp_path: Path,
) -> None:
    """The answer over all tasks is that of the whole, with the numbers of the hidden row."""
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability")):
        levels = {"lora": 1.0, "dora": 3.0, "majority": 0.0}
        store = write(tmp_path, levels, task=make_task(name), draw=draw)
    (whole, *_) = verdicts_of(store)
    part = Selection(method=("dora",)).of(load(store))
    (few, *_) = verdicts(part, summarise(part, "lora"))
    assert (few.recommended, few.why) == (whole.recommended, whole.why) == ("dora", few.why)
    assert few["dora"].to_reference == whole["dora"].to_reference
    assert few["lora"].levels == whole["lora"].levels


def test_task_that_is_left_out_counts_nowhere(tmp_path: Path) -> None:
    """One that was run under two settings is in no mean, and may lack the recommended row."""
    levels = {"lora": 2.0, "dora": 2.8, "majority": 0.0}
    for draw, name in enumerate(("syn_sentiment", "syn_acceptability", "syn_paraphrase")):
        store = write(tmp_path, levels, task=make_task(name), draw=draw)
    for method in ("lora", "bitfit"):
        cell = make_cell(method, task=make_task("syn_paraphrase")).changed(
            {"budget": Budget(steps=400)}
        )
        store.write_plan("known", [(Run(cell, seed), "default") for seed in range(5)])
        for seed in range(5):
            store.write(make_record(cell, seed))
    (found, *_) = verdicts_of(store)
    assert "syn_paraphrase" in found.left_out
    assert (found.recommended, found.n_tasks, len(found.tasks)) == ("dora", 2, 4)
    shown = card(found)
    assert shown.about.startswith("2 tasks on")
    assert shown.points["Settings"].startswith("dora: rank 8, learning rate 0.0005, alpha 16")
