"""A comparison in words: what is said of pairs without a difference."""

from pathlib import Path

import gapbench
from tests.support.known_truth import write

MEASURED = Path(__file__).parents[3] / "results" / "reference" / "measured"
ALIKE = dict.fromkeys(("lora", "dora", "head"), 2.0)


def said(root: Path, first: str, second: str) -> str:
    """Return the words on a pair of a study of three methods."""
    return " ".join(repr(gapbench.load(root).compare(first, second)).split())


def test_power_is_told_of_pairs_with_the_reference_alone(tmp_path: Path) -> None:
    """Between two others it is another, which is not known."""
    write(tmp_path, ALIKE)
    assert "true difference to the reference" in said(tmp_path, "dora", "lora")
    assert "true difference" not in said(tmp_path, "dora", "head")


def test_identical_rows_are_called_so() -> None:
    """They can be compared, and no number of seeds would change what that gives."""
    words = said(MEASURED / "airline_tweets", "lora", "lora_early_stop")
    assert "On 1 they are identical." in words
    assert "cannot be compared" not in words
    assert "true difference" not in words
