"""The answer in words where runs are few, lost or of one method alone."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gapbench.reports.document.model import Card
from gapbench.reports.prose.card import card, in_short
from gapbench.reports.prose.card_points import COMPLETE
from gapbench.reports.prose.headline import use
from gapbench.reports.prose.not_compared import by_reason, grouped
from gapbench.reports.prose.phrases import change
from gapbench.reports.render import card_text
from gapbench.reports.verdict.model import Verdict
from gapbench.reports.verdict.plain import plain
from gapbench.reports.verdict.recommend import ALONE
from tests.support.known_truth import MISSING, Fates, verdicts_of, write
from tests.support.results_folder import make_task

TASKS = ("syn_acceptability", "syn_sentiment")
CHANGE = "What would change this"
EQUAL = {"lora": 2.0, "dora": 2.0}
LEARNS = "Does training help?"
WORSE = "Shown to be worse"


def suite(root: Path, levels: dict[str, float], fates: Iterable[Fates], seeds: int = 5) -> Verdict:
    """Return the verdict over two tasks, each with what becomes of its runs."""
    for task, lost in zip(TASKS, fates, strict=True):
        store = write(root, levels, task=make_task(task), fates=lost, seeds=seeds)
    (found,) = verdicts_of(store)
    return found


def test_settings_over_several_tasks_are_those_alike_on_all(tmp_path: Path) -> None:
    """Programs read the settings that the card shows."""
    found = suite(tmp_path, EQUAL, ({}, {}))
    for entry in plain(found)["entries"]:
        own = [
            next(e.settings for e in task.entries if e.name == entry["name"])
            for task in found.tasks
        ]
        assert entry["settings"]
        assert entry["settings"] == own[0] == own[1]


def test_task_on_which_training_is_not_shown_to_help_gets_the_number(tmp_path: Path) -> None:
    """Its line in the answer over all tasks has the difference with its interval."""
    for task, bare in zip(TASKS, (-0.5, 2.0), strict=True):
        store = write(tmp_path, EQUAL | {"untuned": bare}, task=make_task(task))
    (found,) = verdicts_of(store)
    (gain,) = found.tasks[1].untrained
    assert gain.low is not None
    alone = found.tasks[1]["untuned"].levels["score"]
    assert alone.mean is not None
    assert card(found).tasks[1][1:] == (
        "none yet",
        "no trained method is shown to be better than untuned: "
        f"{gain.first} minus untuned is {change(gain)}; "
        f"untuned alone is {alone.mean:.3f} ({alone.low:.3f} to {alone.high:.3f})",
    )


def test_whether_training_helps_is_answered_where_nothing_tells(tmp_path: Path) -> None:
    """A folder without an untrained row says that it was not tested."""
    (found,) = verdicts_of(write(tmp_path, EQUAL))
    none = "Not tested: no row that trains nothing (majority or untuned) was run."
    assert card(found).points[LEARNS] == none
    assert "on every task" in card(replace(found, task="")).points[LEARNS]
    lone = replace(found, entries=tuple(replace(e, status="single") for e in found.entries))
    assert card(lone).points[LEARNS] == "Not tested: no trained method can be judged."


def test_names_of_methods_are_whole_beside_their_tasks() -> None:
    """Their column is as wide as the longest; one that is longer still takes several lines."""
    long = "lora / rank 16, all linear layers of the encoder"
    tasks = (("sst2", "hiddenkey / tuned", "better"), ("a" * 30, long, "worse than lora"))
    text = card_text.text(Card("", "", "", (("", ""), ("", "")), (), {}, tasks))
    assert "  hiddenkey / tuned" in text
    shown = [line[24:48].strip() for line in text.splitlines() if line.startswith("  ")]
    assert " ".join(filter(None, shown)) == f"hiddenkey / tuned {long}"
    assert max(map(len, text.splitlines())) <= 80


def test_lost_seed_of_the_reference_leaves_what_single_tasks_say(tmp_path: Path) -> None:
    """There is no answer over all tasks, and the headline tells those of the others."""
    found = suite(tmp_path, EQUAL | {"dora": 3.4}, ({}, {("lora", 4): MISSING}))
    said = card(found)
    assert said.headline == (
        "No overall answer: lora, which others are compared with, has 4 of 5 seeds on "
        "syn_sentiment. The answer on 1 of 2 tasks: dora."
    )
    assert said.points[CHANGE].endswith("on syn_sentiment it has 4 of 5 seeds.")
    assert said.tasks[1][2].endswith("lora, which others are compared with, has 4 of 5 seeds")


def test_only_method_that_can_be_judged_has_no_difference_to_others(tmp_path: Path) -> None:
    """Nor is it called unbeaten; what is missing is told."""
    (found,) = verdicts_of(write(tmp_path, EQUAL, fates={("lora", n): MISSING for n in range(5)}))
    said = card(found)
    assert "between these" not in " ".join(said.points.values())
    assert said.points["Also unbeaten"].startswith("Only dora can be judged")
    assert use(replace(found, recommended="dora", why=ALONE)) == ""
    assert "lora" in said.points[CHANGE]
    assert "no difference shown" not in card_text.text(said)


def test_one_seed_is_told_once_and_recommends_nothing(tmp_path: Path) -> None:
    """All rows share the reason and the tasks."""
    said = card(suite(tmp_path, EQUAL, ({}, {}), seeds=1))
    assert card_text.text(said).count("one seed") == 1
    assert {use for _, use, _ in said.tasks} == {"none yet"}
    assert said.points["Read with care"] == (
        "Not compared: dora and lora (one seed on syn_acceptability and syn_sentiment, which gives "
        "no interval)."
    )


def test_rows_that_are_not_compared_are_told_by_reason(tmp_path: Path) -> None:
    """Four names a reason, then a count; of many reasons, only the kind."""
    assert grouped(dict.fromkeys("abcdef", "lost") | {"g": "few"}) == (
        "a, b, c, d and 2 others (lost); g (few)"
    )
    assert grouped({name: name for name in "abcdef"}).endswith(
        "2 more for other reasons (see gapbench status)"
    )
    (found,) = verdicts_of(write(tmp_path, EQUAL))
    row = found.entries[0]
    rows = [replace(row, name=n, status="incomplete", why=f"on {n}") for n in "abcdef"]
    assert by_reason(rows, several=True) == "a, b, c, d and 2 others (too few seeds on some task)"
    assert by_reason(rows, several=False) == "a, b, c, d and 2 others (too few seeds)"


def test_difference_says_which_row_is_subtracted(tmp_path: Path) -> None:
    """And what is better the lower it is."""
    (found,) = verdicts_of(write(tmp_path, {"lora": 1.0, "dora": 3.0}))
    assert card(found).points["Difference"] == (
        "dora minus lora. Lower is better for generalization gap and calibration error (ECE)."
    )
    best = next(each.name for each in found.entries if each.compared)
    assert (
        f"Expect {best}, which has the best mean,"
        in card(replace(found, optimism=0.01)).points["Read with care"]
    )
    part = card(replace(found, optimism=0.01, hidden=("full",))).points["Read with care"]
    assert f"Expect {best}, which has the best mean of those shown," in part


def test_loss_of_a_method_is_told_wherever_it_is_praised(tmp_path: Path) -> None:
    """A row that learns nothing has a narrow gap; the card says what that costs."""
    (found,) = verdicts_of(write(tmp_path, {"lora": 2.0, "dora": 2.0, "head": 0.0}))
    lost = f"{-(found['head'].to_reference['score'].difference or 0):.3f}"
    said = card(found)
    assert said.points[WORSE] == f"head by {lost} in accuracy, beside lora."
    gap = replace(found["head"].to_reference["gap"], claim="better")
    entries = tuple(
        replace(e, to_reference={**e.to_reference, "gap": gap}) if e.name == "head" else e
        for e in found.entries
    )
    praised = card(replace(found, entries=entries)).points["Gap and calibration"]
    assert f", but {lost} worse in accuracy)" in praised


def test_card_without_a_reference_tells_what_is_beaten(tmp_path: Path) -> None:
    """The best method stands beside the next one, with its lead and its costs."""
    store = write(tmp_path, {"dora": 3.4, "head": 1.0, "bitfit": 1.0}, flops={"dora": 2e12})
    (found,) = verdicts_of(store, "")
    said = card(found)
    assert said.headline == "Use dora. It alone is beaten by no other method."
    assert said.certainty.startswith("dora is shown to be better than all 2 others (95 %")
    assert said.measures[0].reading == "better"
    assert ("training cost", "dearer") in {(each.name, each.reading) for each in said.measures}


def test_reference_that_cannot_be_compared_hides_no_result(tmp_path: Path) -> None:
    """What the others show of each other is told all the same."""
    levels = {"lora": 2.0, "dora": 3.4, "head": 1.0, "bitfit": 1.0}
    (found,) = verdicts_of(write(tmp_path, levels, fates={("lora", 4): MISSING}))
    said = card(found)
    assert said.certainty.startswith("dora is shown to be better than all 2 others")
    assert said.heads[0] == ("dora", "best of 3")
    assert said.heads[1] == (found.entries[1].name, "next best")
    assert said.measures[0].reading == "better"


def test_bound_that_rules_out_nothing_is_called_so(tmp_path: Path) -> None:
    """A method cannot gain more than is left to gain."""
    (found,) = verdicts_of(write(tmp_path, EQUAL, seeds=2, spread=1.0))
    assert found.vacuous
    said = card(found).certainty
    assert said.startswith("The data rule out almost nothing")
    assert found.ruled_out is not None
    assert found.ruled_out <= 1 - (found["lora"].levels["score"].mean or 0)
    assert "out almost nothing" in in_short(found)


def test_answer_over_tasks_has_the_commands_of_its_tasks(tmp_path: Path) -> None:
    """What is missing on any of them can be run from the card."""
    found = suite(tmp_path, EQUAL, ({}, {("dora", 4): MISSING}))
    assert card(found).points[COMPLETE].startswith("gapbench run known")


def test_rows_without_a_stored_command_are_missing_all_the_same(tmp_path: Path) -> None:
    """A second method is there, and lacks seeds."""
    (found,) = verdicts_of(write(tmp_path, EQUAL, fates={("dora", n): MISSING for n in (3, 4)}))
    bare = tuple(replace(each, commands=()) for each in found.entries)
    said = card(replace(found, entries=bare, why=ALONE, design=None)).points[CHANGE]
    assert said.startswith("The missing runs of dora")


def test_long_title_is_broken_between_words() -> None:
    """In a terminal it takes further lines."""
    about = "a_task on tiny-bert, " * 6 + "suite study"
    text = card_text.text(Card(about, "", "", (("", ""), ("", "")), (), {}))
    assert about.split() == text.partition("\n\n")[0].split()[3:]


def test_cheaper_row_that_is_as_unbeaten_is_said_not_to_be_preferred(tmp_path: Path) -> None:
    """A reader of its cost would ask why; where none is cheaper, nobody does."""
    why = "A cheaper one is not preferred: a change that shows no gain is not worth its trouble."
    for name, flops in (("less", 5e11), ("more", 2e12)):
        (found,) = verdicts_of(write(tmp_path / name, EQUAL, flops={"dora": flops}))
        assert (why in card(found).points["Also unbeaten"]) == (name == "less")
