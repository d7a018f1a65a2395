"""The stored study: its tables and what the pages say of it follow from its records."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

import gapbench
from gapbench.reports.tables.outcomes import OUTCOMES
from gapbench.reports.tables.words import interval, signed

REPOSITORY = Path(__file__).parents[2]
MEASURED = REPOSITORY / "results" / "reference" / "measured"
SEEDS = {"small_data": 8, "airline_tweets": 5, "sick": 5}
PILOT = MEASURED / "stsb_12_epochs"


@pytest.fixture(scope="module", params=SEEDS)
def results(request: pytest.FixtureRequest) -> gapbench.Results:
    """The stored records of a study."""
    return gapbench.load(MEASURED / request.param)


def test_tables_follow_from_the_records(results: gapbench.Results) -> None:
    """`gapbench report` writes the same numbers again, whatever the machine."""
    stored = pd.read_csv(results.path / "leaderboard.csv")
    made = results.leaderboard()[list(stored.columns)]
    assert made["config_hash"].tolist() == stored["config_hash"].tolist()
    for name in stored.columns:
        if pd.api.types.is_numeric_dtype(stored[name]) and stored[name].notna().any():
            found, expected = (each[name].astype("float64") for each in (made, stored))
            assert found.to_list() == pytest.approx(expected.to_list(), nan_ok=True), name


def test_runs_are_complete_and_of_one_clean_commit(results: gapbench.Results) -> None:
    """Every planned run ended well, and code that somebody can look up made it."""
    runs = results.runs
    assert set(runs["status"]) == {"ok"}
    seeds = runs.groupby(["task", "method", "variant"])["seed"].nunique()
    assert seeds.eq(SEEDS[results.path.name]).all()
    records = results.path.rglob("seed-*.json")
    made = [json.loads(path.read_text())["provenance"] for path in records]
    assert len(made) == len(runs)
    assert {each["git_dirty"] for each in made} == {False}


def test_stored_rulings_follow_from_the_records(results: gapbench.Results) -> None:
    """What is said of published claims."""
    stored = {
        each["id"]: each["ruling"]
        for each in json.loads((results.path / "claims.json").read_text())
    }
    made = {each.claim.id: each.ruling for each in results.claims().found}
    assert made == stored


def test_page_of_questions_quotes_the_study() -> None:
    """Two rows that are shown to differ from LoRA in nothing, with their accuracy."""
    page = " ".join((REPOSITORY / "docs" / "questions.md").read_text(encoding="utf-8").split())
    (verdict,) = gapbench.load(MEASURED / "small_data").verdict().found
    for name in ("lora / input dropout 0.1", "hiddenkey"):
        contrasts = [verdict.contrast(name, "lora", outcome) for outcome in OUTCOMES]
        assert not any(each.claim for each in contrasts)
        score = verdict.contrast(name, "lora", "score")
        assert f"{signed(score.difference)} ({interval(score.low, score.high)})" in page


def test_page_of_findings_shows_the_stored_study() -> None:
    """Its tables are what `python docs/findings.py` writes."""
    spec = importlib.util.spec_from_file_location("findings", REPOSITORY / "docs" / "findings.py")
    assert spec is not None
    assert spec.loader is not None
    findings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(findings)
    assert [folder.name for folder in findings.STUDIES] == [*SEEDS]
    text = findings.PAGE.read_text(encoding="utf-8")
    assert findings.filled(text) == text


def test_page_of_findings_says_how_often_the_last_checkpoint_was_chosen() -> None:
    """On the tweets, of the methods that score below LoRA there and of LoRA."""

    def counted(*methods: str) -> str:
        paths = (MEASURED / "airline_tweets").rglob("seed-*.json")
        records = [json.loads(path.read_text()) for path in paths]
        own = [each for each in records if each["cell"]["method"] in methods]
        last = sum(each["checkpoint"]["step"] == each["cost"]["steps"] for each in own)
        return f"{last} of {len(own)}"

    said = " ".join((REPOSITORY / "docs" / "findings.md").read_text(encoding="utf-8").split())
    both = counted("lora_dropout", "flexora")
    assert f"last one in {both} runs of these two, and in {counted('lora')} of LoRA" in said


def test_what_the_page_says_of_the_pilot_follows_from_its_records() -> None:
    """Most runs still learned at the last step, and LoRA's scores are as far apart as it says."""
    runs = gapbench.load(PILOT).runs.query("status == 'ok'")
    records = [json.loads(path.read_text()) for path in PILOT.rglob("seed-*.json")]
    last = sum(each["checkpoint"]["step"] == each["cost"]["steps"] for each in records)
    scores = runs.query("method == 'lora_early_stop'")["test_score"]
    said = " ".join((REPOSITORY / "docs" / "findings.md").read_text().split())
    assert f"{len(runs)} runs of {runs['config_hash'].nunique()} rows ended" in said
    assert f"In {last} of {len(runs)} runs the chosen checkpoint is the last one" in said
    assert len(scores) == 6
    assert f"of {scores.min():.2f} to {scores.max():.2f}" in said
