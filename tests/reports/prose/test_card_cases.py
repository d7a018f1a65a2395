"""The answer in words where runs are few, lost or of one method alone."""

from dataclasses import replace
from pathlib import Path

from gapbench.reports.document.model import Card
from gapbench.reports.prose.card import card
from gapbench.reports.prose.phrases import change
from gapbench.reports.render import card_text
from tests.support.known_truth import verdicts_of, write
from tests.support.results_folder import make_task

EQUAL = {"lora": 2.0, "dora": 2.0}
LEARNS = "Does training help?"


def test_task_on_which_training_is_not_shown_to_help_gets_the_number(tmp_path: Path) -> None:
    """Its line in the answer over all tasks has the difference with its interval."""
    tasks = make_task("syn_acceptability"), make_task("syn_sentiment")
    for task, bare in zip(tasks, (-0.5, 2.0), strict=True):
        store = write(tmp_path, EQUAL | {"untuned": bare}, task=task)
    (found,) = verdicts_of(store)
    (gain,) = found.tasks[1].untrained
    assert gain.low is not None
    assert card(found).tasks[1][1:] == (
        "none yet",
        "no trained method is shown to be better than untuned: "
        f"{gain.first} minus untuned is {change(gain)}",
    )


def test_whether_training_helps_is_answered_where_nothing_tells(tmp_path: Path) -> None:
    """A folder without an untrained row says that it was not tested."""
    (found,) = verdicts_of(write(tmp_path, EQUAL))
    assert card(found).points[LEARNS] == ("Not tested: no untrained row (method untuned) was run.")
    assert "on all tasks" in card(replace(found, task="")).points[LEARNS]
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
