"""Second tests of folders whose truth is known, written through the store."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gapbench.bench.config.run import Fingerprint, Run, SecondTest
from gapbench.bench.store.record import SplitScores, Status
from gapbench.bench.store.record_io import BARE, ITEM
from gapbench.bench.store.store import Store
from gapbench.reports.claims.judge import judge
from gapbench.reports.prose.comparison_text import content, format_comparison
from gapbench.reports.results.load import load
from gapbench.reports.results.selection import EVERYTHING
from gapbench.reports.tables.second_tests import second_tests
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import format_second_tests
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.compare import compare
from tests.support import known_truth
from tests.support.published_claims import dora_beats_lora
from tests.support.results_folder import items_of, make_cell, make_record, make_task

ITEMS = 400
METHODS = ("lora", "dora", "bitfit", "head")


def _test(name: str, metric: str = "accuracy") -> SecondTest:
    kind = "regression" if metric == "mse" else "classification"
    task = make_task(name, kind=kind, metrics=(metric,))
    return SecondTest(task=task, data=Fingerprint(name=name, digest="e" * 64))


def write(
    root: Path,
    tests: Mapping[str, Mapping[str, float]],
    *,
    metric: str = "accuracy",
    seeds: int = 5,
    lacking: tuple[tuple[str, int], ...] = (),
    collapsed: tuple[str, int] | None = None,
    fates: Mapping[tuple[str, int], Status] | None = None,
    draw: int = 1,
) -> Store:
    """Write equal methods whose second tests differ.

    Args:
        root: of the results folder.
        tests: for each second test, the mean of those methods that do not have the usual one, 0.7.
        metric: of the second tests.
        seeds: of each method.
        lacking: runs whose first second test has no score.
        collapsed: a run that learned nothing.
        fates: of runs that do not end well.
        draw: seed of all chance.
    """
    store, rng = Store(root), np.random.default_rng(draw)
    store.open_for_writing()
    also = tuple(_test(name, metric) for name in tests)
    own = {name: np.random.default_rng([draw, *name.encode()]) for name in tests}
    hard = {name: own[name].normal(0, 0.2, ITEMS) for name in tests}
    bare = {name: (0.4 + hard[name]) for name in tests}
    for method in METHODS:
        cell = make_cell(method).model_copy(update={"also_test": also})
        store.write_plan("known", [(Run(cell, seed), "default") for seed in range(seeds)])
        for seed in range(seeds):
            if fate := (fates or {}).get((method, seed)):
                store.write(make_record(cell, seed, status=fate, detail="cause"))
                continue
            score = 0.3 if (method, seed) == collapsed else 0.75 + 0.005 * rng.normal()
            record = make_record(cell, seed)
            metrics = {"metrics": {"accuracy": score, "f1": score}}
            splits = record.splits | {"test": record.splits["test"].model_copy(update=metrics)}
            untested, tables = {}, {}
            for place, (name, levels) in enumerate(tests.items()):
                if place == 0 and (method, seed) in lacking:
                    untested[name] = "an output of the chosen checkpoint is not finite"
                    continue
                mean = levels.get(method, 0.7) + 0.005 * own[name].normal()
                noise = own[name].normal(0, 0.1, ITEMS)
                values = (mean + hard[name] + noise).astype(np.float32)
                before = bare[name].astype(np.float32)
                splits[name] = SplitScores(
                    metrics={metric: float(values.mean(dtype=np.float64))},
                    bare={metric: float(before.mean(dtype=np.float64))},
                    loss=1.0,
                    examples=ITEMS,
                )
                tables[name] = pa.table(
                    {
                        "example_id": np.arange(ITEMS),
                        f"{ITEM}{metric}": values,
                        f"{BARE}{metric}": before,
                    }
                )
            record = record.model_copy(update={"splits": splits, "untested": untested})
            store.write(record, {**items_of(record), **tables})
    return store


def _table(store: Store, reference: str = "lora") -> pd.DataFrame:
    results = load(store)
    return second_tests(results, summarise(results, reference)).set_index(["test", "method"])


def test_claims_are_those_of_the_truth(tmp_path: Path) -> None:
    """Equal on one test, apart on the other, and both changed as the truth says."""
    found = _table(write(tmp_path, {"ask": {}, "tales": {"dora": 0.8, "head": 0.6}}))
    claims = found["vs_reference_claim"]
    assert set(claims["ask"]) == {""}
    assert claims["tales"].to_dict() == {
        "lora": "",
        "dora": "better",
        "bitfit": "",
        "head": "worse",
    }
    truth = {"ask": 0.3, "tales": 0.4}
    row = found.loc["ask", "dora"]
    assert row["change_ci_low"] < truth["ask"] < row["change_ci_high"]
    row = found.loc["tales", "dora"]
    assert row["change_ci_low"] < truth["tales"] < row["change_ci_high"]
    assert row["vs_reference_low"] < 0.1 < row["vs_reference_high"]


def test_the_level_is_divided_among_tests_and_less_for_losses(tmp_path: Path) -> None:
    """An interval of one of two is wider than that of the only one, and of a loss wider still."""
    half = {}
    for name, tests, metric in (
        ("one", ["tales"], "accuracy"),
        ("two", ["tales", "ask"], "accuracy"),
        ("loss", ["tales"], "mse"),
    ):
        store = write(tmp_path / name, {each: {} for each in tests}, metric=metric)
        row = _table(store).loc["tales", "dora"]
        half[name] = row["vs_reference_high"] - row["vs_reference"]
    assert half["one"] < half["loss"] < half["two"]


def test_less_is_better_turns_the_claims_round(tmp_path: Path) -> None:
    """Of an error."""
    found = _table(write(tmp_path, {"tales": {"dora": 0.8, "head": 0.6}}, metric="mse"))
    claims = found["vs_reference_claim"]["tales"].to_dict()
    assert claims == {"lora": "", "dora": "worse", "bitfit": "", "head": "better"}


def test_row_that_lacks_a_score_is_not_compared_there(tmp_path: Path) -> None:
    """Its reason is said in all forms, and the other test is as it was."""
    store = write(
        tmp_path, {"tales": {"dora": 0.8}, "ask": {"dora": 0.8}}, lacking=(("dora", 1), ("dora", 4))
    )
    found = _table(store)
    row = found.loc["tales", "dora"]
    assert (row["n_seeds"], row["vs_reference_claim"]) == (3, "")
    assert pd.isna(row["vs_reference"])
    assert row["missing"].startswith("2 of 5 runs without a score: an output of the chosen")
    assert found.loc["ask", "dora"]["vs_reference_claim"] == "better"
    assert (found["missing"] != "").sum() == 1
    results = load(store)
    said = format_second_tests(second_tests(results, summarise(results, "lora")))
    assert "dora: 2 of 5 runs without a score: an output" in said


def test_lost_and_collapsed_runs_count_for_nobody(tmp_path: Path) -> None:
    """A row that lost a run is not compared, and the mean of a collapsed one has no interval."""
    lost = _table(
        write(tmp_path / "lost", {"ask": {"dora": 0.9}}, fates={("dora", 2): Status.DIVERGED})
    )
    assert lost.loc["ask", "dora"]["vs_reference_claim"] == ""
    apart = _table(write(tmp_path / "apart", {"ask": {"dora": 0.9}}, collapsed=("dora", 2)))
    row = apart.loc["ask", "dora"]
    assert row["vs_reference_claim"] == ""
    assert pd.isna(row["score_ci_low"])
    assert pd.isna(row["change_ci_low"])
    assert pd.notna(row["score"])


def test_one_seed_and_lost_items_have_no_interval(tmp_path: Path) -> None:
    """Neither says how sure a mean is."""
    single = _table(write(tmp_path / "one", {"ask": {"dora": 0.9}}, seeds=1))
    assert single["score_ci_low"].isna().all()
    assert set(single["vs_reference_claim"]) == {""}
    store = write(tmp_path / "few", {"ask": {"dora": 0.9}})
    cell = make_cell("dora").model_copy(update={"also_test": (_test("ask"),)})
    store.record_path(Run(cell, 0)).with_suffix(".ask.parquet").unlink()
    row = _table(store).loc["ask", "dora"]
    assert (row["vs_reference_claim"], row["n_seeds"]) == ("", 5)
    assert pd.isna(row["score_ci_low"])


def test_what_differs_on_a_second_test_alone_changes_no_claim_of_the_task(tmp_path: Path) -> None:
    """Verdict and compare are of the task's own test; compare says the other beside it."""
    store = write(tmp_path, {"tales": {"dora": 0.9}})
    results = load(store)
    (verdict,) = verdicts(results, summarise(results, "lora"))
    found = compare(results, "dora", "lora", EVERYTHING)
    assert [each.contrasts["score"] for each in found.differences] == [
        verdict["dora"].to_reference["score"]
    ]
    assert found.differences[0].contrasts["score"].claim == ""
    assert found.differences[0].second_tests[0].contrast.claim == "better"


def test_compare_says_of_second_tests_what_their_table_says(tmp_path: Path) -> None:
    """The same interval and claim, whichever way round, as text and as JSON too."""
    store = write(tmp_path, {"ask": {}, "tales": {"dora": 0.8}}, metric="mse")
    table, found = _table(store), compare(load(store), "dora", "lora", EVERYTHING)
    (own,) = found.differences
    assert [each.test for each in own.second_tests] == ["ask", "tales"]
    for each in own.second_tests:
        row = table.loc[each.test, "dora"]
        assert each.contrast.claim == row["vs_reference_claim"]
        assert (each.contrast.low, each.contrast.high) == (
            row["vs_reference_low"],
            row["vs_reference_high"],
        )
        assert (each.contrast.n_seeds, each.contrast.n_items) == (5, ITEMS)
    (turned,) = compare(load(store), "lora", "dora", EVERYTHING).differences
    assert turned.second_tests[1].contrast == own.second_tests[1].contrast.reversed()
    said = format_comparison(found).split("also tested on ")
    assert [each.partition("\n")[0] for each in said[1:]] == [
        "ask: mean squared error, lower is better",
        "tales: mean squared error, lower is better",
    ]
    assert ["A is worse" in each for each in said] == [False, False, True]
    (told,) = content(found)["tasks"]
    assert [each["claim"] for each in told["second_tests"]] == ["", "worse"]


def test_compare_says_why_rows_have_no_interval_on_a_second_test(tmp_path: Path) -> None:
    """A row that lacks a score there keeps its mean, as in the table."""
    store = write(tmp_path, {"tales": {"dora": 0.8}}, lacking=(("dora", 1),))
    (own,) = compare(load(store), "dora", "lora", EVERYTHING).differences
    contrast = own.second_tests[0].contrast
    assert (contrast.claim, contrast.low) == ("", None)
    assert contrast.withheld == "some of the runs have no value"
    means = _table(store).loc["tales"]["score"]
    assert contrast.difference == pytest.approx(means["dora"] - means["lora"])


def test_runs_with_and_without_second_tests_are_two_settings(tmp_path: Path) -> None:
    """Each has one verdict, which compare and claims share, and a name that can be read."""
    write(tmp_path, {"tales": {}})
    store = known_truth.write(tmp_path, {"lora": 2.0, "dora": 3.5, "head": 2.0}, items=400)
    results = load(store)
    summary = summarise(results, "lora")
    apart, alike = compare(results, "dora", "lora", EVERYTHING).differences
    assert (apart.contrasts["score"].claim, alike.contrasts["score"].claim) == ("better", "")
    assert apart.verdict.differs == "also_test.tales null"
    assert alike.verdict.differs.startswith("also_test.tales ")
    for each in (apart, alike):
        board = summary[(summary["setting"] == each.verdict.setting) & (summary["name"] == "dora")]
        assert board["vs_reference_claim"].tolist() == [each.contrasts["score"].claim]
        assert board["vs_reference_low"].tolist() == [each.contrasts["score"].low]
    (judged,) = judge(results, summary, [dora_beats_lora()])
    assert (judged.ruling, judged.pair and judged.pair.difference) == (
        "shown",
        apart.contrasts["score"].difference,
    )
