"""What is said of claims, on folders whose truth is known and on studies without any."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gapbench.bench.config.run import Budget, Cell, Run, Training
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.reports.claims.judge import JudgedClaim, judge
from gapbench.reports.claims.model import PublishedClaim, load
from gapbench.reports.prose.claims_text import evidence
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.results.load import load as load_results
from gapbench.reports.tables.published import CERTAINTIES
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from tests.benchmarks import null_claims
from tests.support.known_truth import write
from tests.support.results_folder import make_cell, make_record, make_task, put

BARE = {"majority": 0.0}
TASKS = ("syn_sentiment", "syn_acceptability", "syn_entailment")


def claim(**change: Any) -> PublishedClaim:
    """Return the claim that dora scores higher than lora, or another one."""
    content = {
        "id": "made_up",
        "text": "Dora is better.",
        "source": "nobody",
        "place": "nowhere",
        "certainty": "read",
        "first": "dora",
        "second": "lora",
        "expected": "better",
    }
    return PublishedClaim.model_validate(content | change)


def judged(
    folder: Path, *claims: PublishedClaim, matters: float | None = None
) -> list[JudgedClaim]:
    """Return what a folder says of claims."""
    results = load_results(Store(folder))
    return list(judge(results, summarise(results), claims, matters))


def study(root: Path, levels: dict[str, float], **change: Any) -> Path:
    """Write three tasks whose methods have these log odds of a right answer."""
    for draw, name in enumerate(TASKS):
        write(root, levels | BARE, task=make_task(name), draw=draw, **change)
    return root


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedResults, pd.DataFrame]:
    """A folder of three tasks whose truth is known."""
    levels = {"lora": 2.0, "dora": 2.8, "bitfit": 2.0, "head": 1.2, "bilora": 2.4}
    results = load_results(Store(study(tmp_path_factory.mktemp("known"), levels)))
    return results, summarise(results)


@pytest.mark.parametrize(
    ("change", "ruling"),
    [
        ({}, "shown"),
        ({"expected": "worse"}, "contradicted"),
        ({"first": "head"}, "contradicted"),
        ({"first": "bitfit"}, "underpowered"),
        ({"first": "bitfit", "expected": "alike", "margin": 0.1}, "shown"),
        ({"expected": "alike", "margin": 0.02}, "contradicted"),
        ({"first": "bilora", "expected": "alike", "margin": 0.06}, "underpowered"),
    ],
)
def test_known_truth_gives_each_ruling(
    known: tuple[LoadedResults, pd.DataFrame], change: dict[str, Any], ruling: str
) -> None:
    """By the interval of the mean over tasks."""
    (found,) = judge(*known, [claim(**change)])
    assert (found.ruling, len(found.tasks), found.suite) == (ruling, 3, "known")
    assert found.pair is not None
    assert found.pair.n_seeds == 5
    assert found.pair.items
    planned = ruling == "underpowered" and "margin" not in change
    assert (found.seeds_needed is not None) == planned


def test_small_interval_around_zero_rules_out_what_matters(tmp_path: Path) -> None:
    """With d, the largest difference that it holds."""
    folder = study(tmp_path, {"lora": 2.0, "dora": 2.0}, seeds=8, items=3000, spread=0.03)
    (found,) = judged(folder, claim(), matters=0.02)
    assert found.ruling == "no difference larger than d"
    assert found.pair is not None
    assert found.larger_than == max(-(found.pair.low or 0), found.pair.high or 0) <= 0.02


def test_differences_are_those_of_the_verdict(known: tuple[LoadedResults, pd.DataFrame]) -> None:
    """The mean over tasks is the same number; only the level differs, as claims are a family."""
    results, summary = known
    (verdict,) = verdicts(results, summary)
    (one,) = judge(results, summary, [claim()])
    contrast = verdict["dora"].to_reference["score"]
    assert one.pair is not None
    assert one.pair.difference == pytest.approx(contrast.difference)
    assert one.pair.alpha == pytest.approx(0.05)
    five = judge(results, summary, [claim(id=f"c{n}") for n in range(5)])
    assert five[0].pair is not None
    assert five[0].pair.alpha == pytest.approx(0.01)
    assert (five[0].pair.low or 0) < (one.pair.low or 0)


def test_only_claims_that_can_be_tested_share_the_level(
    known: tuple[LoadedResults, pd.DataFrame],
) -> None:
    """Those without rows cost the others nothing, and say what is missing."""
    others = [
        claim(id="absent", first="flexora"),
        claim(id="untuned", first={"method": "dora", "tuned": True}),
        claim(id="setting", first={"method": "dora", "config": {"rank": 4}}),
        claim(id="elsewhere", tasks=["rte"]),
    ]
    found = judge(*known, [claim(), *others])
    assert [each.tested for each in found] == [True, False, False, False, False]
    assert found[0].pair is not None
    assert found[0].pair.alpha == pytest.approx(0.05)
    missing = [each.missing[0] for each in found[1:]]
    assert missing == [
        "no run of flexora",
        "no run of tuned dora",
        "no run of dora (rank 4)",
        "no run of dora on rte",
    ]


def test_rows_of_other_settings_are_named_and_not_judged(tmp_path: Path) -> None:
    """A claim about a method is judged by its usual settings; who made it may ask for others."""
    store = write(tmp_path, {"lora": 2.0, "dora": 2.8} | BARE)
    faster = make_cell("dora").changed({"training": Training(learning_rate=1e-2)})
    runs = [Run(faster, seed) for seed in range(5)]
    store.write_plan("known", [(run, "ten times the rate") for run in runs], "gapbench run known")
    for run in runs:
        put(store, make_record(faster, run.seed))
    (found,) = judged(tmp_path, claim())
    assert found.ruling == "shown"
    assert found.others == ("dora / ten times the rate",)
    assert "Not judged, with other settings: dora / ten times the rate." in evidence(found)


def test_rows_that_are_not_ranked_do_not_count(tmp_path: Path) -> None:
    """Their task is left out and named."""
    fates = {("dora", 0): "missing"}
    write(tmp_path, {"lora": 2.0, "dora": 2.6} | BARE, fates=fates)
    write(tmp_path, {"lora": 2.0, "dora": 2.6} | BARE, task=make_task(TASKS[1]), draw=1)
    (found,) = judged(tmp_path, claim())
    assert found.tasks == ("syn_acceptability on tiny-bert",)
    assert found.missing == ("syn_sentiment on tiny-bert: dora has 4 of 5 seeds",)


def test_two_backbones_are_not_two_tasks(tmp_path: Path) -> None:
    """They share the test items of a task, so the one with the most to say is judged."""
    for place, (backbone, seeds) in enumerate((("small", 4), ("large", 6))):
        levels = {"lora": 2.0, "dora": 2.6} | BARE
        write(tmp_path, levels, seeds=seeds, draw=place, backbone=backbone)
    (found,) = judged(tmp_path, claim())
    assert found.tasks == ("syn_sentiment on large",)
    assert found.pair is not None
    assert found.pair.n_seeds == 6


def test_lost_runs_count_as_untrained_in_score_and_bar_other_metrics(tmp_path: Path) -> None:
    """As in the verdict: a method that loses a run is no better for it."""
    fates = {("dora", seed): Status.DIVERGED for seed in range(5)}
    near = {"lora": 0.2, "dora": 0.5} | BARE  # or the row would have collapsed
    write(tmp_path, near, fates={("dora", 0): Status.DIVERGED}, spread=0.3)
    score, ece = judged(tmp_path, claim(), claim(id="ece", metric="ece"))
    runs = load_results(Store(tmp_path)).runs.set_index(["method", "seed"])["test_score"]
    filled = [runs["majority", 0], *(runs["dora", seed] for seed in range(1, 5))]
    assert score.pair is not None
    assert score.pair.difference == pytest.approx(np.mean(filled) - runs["lora"].mean())
    assert ece.missing
    write(tmp_path / "all", {"lora": 2.0, "dora": 2.6} | BARE, fates=fates)
    (found,) = judged(tmp_path / "all", claim())
    assert not found.tested


@pytest.mark.parametrize("metric", ["gap", "ece", "nll", "train_score"])
def test_every_metric_has_its_direction(tmp_path: Path, metric: str) -> None:
    """Less gap, ECE and NLL is better; more train score is."""
    for task in map(make_task, TASKS):
        write(tmp_path, {"lora": 2.0, "dora": 2.0} | BARE, task=task)
    store = Store(tmp_path)
    rng = np.random.default_rng(0)
    for task in map(make_task, TASKS):
        for seed in range(5):
            run = Run(make_cell("dora", task=task), seed)
            record, like = store.find(run), store.find(Run(make_cell("lora", task=task), seed))
            assert record is not None
            assert like is not None
            assert like.calibration is not None
            less = 0.05 + 0.005 * rng.normal()
            lower = {name: getattr(like.calibration, name) - less for name in ("ece", "nll")}
            train = like.splits["train"]
            higher = {"accuracy": (like.score("train") or 0) + 0.3 - less, "f1": 0.5}
            update = {
                "calibration": like.calibration.model_copy(update=lower),
                "splits": record.splits | {"train": train.model_copy(update={"metrics": higher})},
            }
            store.record_path(run).unlink()
            put(store, record.model_copy(update=update), 800)
    expected = "worse" if metric == "gap" else "better"  # the train score rose
    (found,) = judged(tmp_path, claim(metric=metric, expected=expected))
    assert found.ruling == "shown"


def test_budgets_of_their_own_are_compared_across_settings(tmp_path: Path) -> None:
    """On the same task, seeds and items; without budgets, rows of two settings never meet."""
    store = write(tmp_path, {"lora": 2.6} | BARE)
    fields = {name: getattr(make_cell("lora"), name) for name in Cell.model_fields}
    long = Cell(**fields | {"budget": Budget(steps=400)})
    store.write_plan("long", [(Run(long, seed), "default") for seed in range(5)])
    for seed in range(5):
        like = store.find(Run(make_cell("lora"), seed))
        assert like is not None
        worse = {"accuracy": (like.score("test") or 0) - 0.1 - 0.01 * seed, "f1": 0.5}
        test = like.splits["test"].model_copy(update={"metrics": worse})
        record = make_record(long, seed)
        put(store, record.model_copy(update={"splits": record.splits | {"test": test}}), 800)
    short = {"method": "lora", "budget": {"steps": 200}}
    other = {"method": "lora", "budget": {"steps": 400}}
    (found,) = judged(tmp_path, claim(first=short, second=other))
    assert found.ruling == "shown"
    (apart,) = judged(tmp_path, claim(first=short, second="majority"))
    assert not apart.tested


@pytest.mark.parametrize(("seeds", "tasks"), [(3, 1), (3, 3), (8, 3)])
def test_null_studies_seldom_show_or_contradict_anything(seeds: int, tasks: int) -> None:
    """In at most 5 % of studies, up to chance; `tests/benchmarks/null_claims.py` draws more."""
    studies = 150
    found = null_claims.rate(studies, 5, seeds, tasks)
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


def test_shipped_claims_name_methods_and_settings_that_exist() -> None:
    """At least twenty, each with its source, of methods and settings that a suite can have."""
    from gapbench.bench.adaptation import registry

    known = registry.discover()
    claims = load()
    assert len(claims) >= 20
    papers = {"2403.00812", "2404.09610", "2403.13037", "2408.10774", "2405.09673"}
    assert papers <= {each.source.rpartition("arXiv:")[2] for each in claims}
    for each in claims:
        assert each.certainty in CERTAINTIES
        for side in (each.first, each.second):
            known[side.method].Config.model_validate(side.config)
        if each.published is not None and each.expected != "alike":
            assert (each.published > 0) == ((each.expected == "better") == _upward(each))


def _upward(claim: PublishedClaim) -> bool:
    return claim.metric in {"score", "train_score"}
