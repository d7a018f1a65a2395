"""A comparison in words: what is said of pairs without a difference."""

from pathlib import Path

import gapbench
from tests.support.known_truth import MISSING, write
from tests.support.results_folder import make_task

MEASURED = Path(__file__).parents[3] / "results" / "reference" / "measured"
ALIKE = dict.fromkeys(("lora", "dora", "head"), 2.0)


def said(root: Path, first: str, second: str) -> str:
    """Return the words on a pair of a study of three methods."""
    return " ".join(repr(gapbench.load(root).compare(first, second)).split())


def test_power_is_told_of_pairs_with_the_reference_alone(tmp_path: Path) -> None:
    """Between two others it is another, which is not known."""
    write(tmp_path, ALIKE)
    assert "finds a difference to the reference" in said(tmp_path, "dora", "lora")
    assert "difference to the reference" not in said(tmp_path, "dora", "head")


def test_identical_rows_are_called_so() -> None:
    """They can be compared, and no number of seeds would change what that gives."""
    words = said(MEASURED / "airline_tweets", "lora", "lora_early_stop")
    assert "On 1 they are identical." in words
    assert "are identical on every seed." in words
    assert "cannot be compared" not in words
    assert "difference to the reference" not in words


def test_answer_of_the_verdict_is_told_of_the_two(tmp_path: Path) -> None:
    """What to use, how the two differ and what the dearer one costs; programs get it too."""
    levels = {"lora": 1.0, "dora": 3.0, "head": 1.0}
    write(tmp_path, levels, flops={"dora": 2e12, "head": 1e12})
    words = said(tmp_path, "lora", "dora")
    assert (
        "The answer for syn_sentiment on tiny-bert: Use dora. It is shown to be better than lora. "
        "dora is shown to be better than lora. Training dora costs 2.0\N{MULTIPLICATION SIGN} as "
        "much as training lora."
    ) in words
    other = gapbench.load(tmp_path).compare("lora", "head")
    (answer,) = other.content["answers"]
    assert (answer["recommended"], answer["training"]) == ("dora", 1.0)
    assert (
        "No difference in accuracy between lora and head is shown. Training costs about the same."
        in answer["said"]
    )
    assert "the data show no difference in score" in other.conclusion


def test_what_a_study_can_find_is_said_once(tmp_path: Path) -> None:
    """Below the mean over tasks, whose answer it is about, and not again below each task."""
    for task in ("syn_acceptability", "syn_sentiment"):
        write(tmp_path, ALIKE, task=make_task(task))
    assert said(tmp_path, "lora", "dora").count("A study of this size") == 1


def test_row_of_one_seed_is_told_in_plain_words(tmp_path: Path) -> None:
    """Not by the name that its status has inside."""
    write(tmp_path, ALIKE, fates={("dora", seed): MISSING for seed in range(1, 5)})
    assert "dora has 1 of 5 seeds." in said(tmp_path, "dora", "lora")
    write(tmp_path / "one", ALIKE, seeds=1)
    words = said(tmp_path / "one", "dora", "lora")
    assert "No interval: dora has one seed, which gives no interval." in words
    (answer,) = gapbench.load(tmp_path / "one").compare("dora", "lora").content["answers"]
    assert answer["recommended"] is None  # as the card says, too few seeds
