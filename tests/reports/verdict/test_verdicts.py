"""Verdicts on results folders whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from gapbench.bench.config.run import Run
from gapbench.reports.prose.card import card
from gapbench.reports.verdict import recommend
from tests.support.known_truth import verdicts_of, write
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
    """`SKEWED` says how much."""
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


def test_without_the_reference_all_pairs_share_the_level(tmp_path: Path) -> None:
    """There is no contrast to it, and the cheapest of the best is recommended."""
    levels = {"dora": 2.0, "head": 2.0, "bitfit": 2.0}
    (found,) = verdicts_of(write(tmp_path, levels), "")
    assert found.reference == ""
    assert found.why == recommend.CHEAPEST
    assert len({each.confidence for each in found.pairs["score"].values()}) == 1
    assert all(not each.to_reference for each in found.entries)
