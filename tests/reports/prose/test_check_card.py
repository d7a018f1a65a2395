"""The check on test rows: what it says of the advised row, and that it chooses nothing."""

from pathlib import Path

import pytest

from gapbench.bench.store.record import Status
from gapbench.reports.document.model import Card
from gapbench.reports.prose.check_card import check
from gapbench.reports.render import card_text
from gapbench.reports.verdict.model import Verdict
from tests.support.known_truth import verdicts_of, write

LEVELS = {"lora": 1.0, "dora": 3.0, "hiddenkey": 0.9}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """On three methods, one of them clearly better."""
    (found,) = verdicts_of(write(tmp_path_factory.mktemp("known"), LEVELS))
    return found


@pytest.mark.parametrize(
    ("advised", "says"),
    [
        ("dora", "The test rows agree: dora is shown to be better than lora."),
        ("lora", "The test rows disagree: dora is shown to be better than lora."),
        ("hiddenkey", "The test rows disagree: dora is shown to be better than hiddenkey."),
    ],
)
def test_headline_says_whether_test_rows_agree(verdict: Verdict, advised: str, says: str) -> None:
    """The advised row stands first in the table, and no other one is recommended."""
    made = check(verdict, advised)
    assert made.headline == says
    assert made.heads[0] == (advised, "advised")
    text = card_text.text(made, "CHECK")
    assert text.startswith(f"== CHECK: {verdict.task} on {verdict.backbone}, sealed test rows =")
    assert "use this" not in text
    assert "Keep " not in text


def test_bound_is_the_largest_advantage_of_another_row(tmp_path: Path) -> None:
    """Of equal rows none is shown to be better; one might be by the longest interval."""
    (verdict,) = verdicts_of(write(tmp_path, {"lora": 1.0, "dora": 1.0, "hiddenkey": 1.0}))
    made = check(verdict, "hiddenkey")
    assert made.headline.endswith("none is shown to be better than hiddenkey.")
    ends = [verdict.contrast(name, "hiddenkey").high for name in ("lora", "dora")]
    most = max(end for end in ends if end is not None)
    bound = float(made.certainty.partition("more than ")[2].split()[0])
    assert most <= bound < most + 0.001
    assert made.heads[1] == ("lora", "reference")
    assert "(95 % interval)" in card_text.text(made)
    assert made.points["Also scored"].startswith("dora 0.")


def test_leaked_test_rows_are_told(verdict: Verdict) -> None:
    """Scores on texts that were trained on are too good."""
    assert "Caution" not in check(verdict, "lora").points
    assert check(verdict, "lora", 17).points["Caution"].startswith("17 test rows have texts that")


def test_row_without_a_score_is_not_said_to_be_confirmed(tmp_path: Path) -> None:
    """Where the advised runs failed on the test rows, these say nothing of it."""
    lost = {("dora", seed): Status.DIVERGED for seed in range(5)}
    (verdict,) = verdicts_of(write(tmp_path, LEVELS, fates=lost))
    made: Card = check(verdict, "dora")
    assert made.headline == "The test rows say nothing: dora cannot be compared there."
    assert made.certainty == ""
    assert "dora" in made.points["Not compared"]


def test_one_row_alone_has_nothing_beside_it(tmp_path: Path) -> None:
    """Its own scores are shown, without a bound on others."""
    (verdict,) = verdicts_of(write(tmp_path, {"lora": 1.0}))
    made = check(verdict, "lora")
    assert made.headline == "The test rows have nothing to compare: lora alone was scored."
    assert made.certainty == ""
    assert made.measures[0].first
    assert not made.measures[0].second
    assert not made.with_intervals
    assert "95 % interval" not in card_text.text(made)
