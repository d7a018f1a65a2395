"""Sentences of the verdict: sizes, ties, tuning, and what it would take to tell more."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gapbench.reports.prose.effects import effects, gains

from gapbench.bench.config.run import Run
from gapbench.bench.store.record import Cost
from gapbench.bench.store.store import Store
from gapbench.reports.prose.verdict import verdict
from gapbench.reports.results.load import load
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.pairwise import family
from gapbench.reports.tables.leaderboard import leaderboard
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import format_table
from gapbench.reports.tables.words import listed, more_seeds, named
from tests.support.results_folder import make_cell, make_record, put

NAMES = {"a": "a", "b": "b", "c": "c"}


def seeds(*scores: float) -> Sample:
    """Return scores by seed."""
    return Sample(dict(enumerate(scores)))


def store_of(root: Path, scores: dict[str, list[float]], **trained: int) -> pd.DataFrame:
    """Return the summary of a folder whose methods have these test scores, seed by seed."""
    store = Store(root)
    store.open_for_writing()
    for method, values in scores.items():
        cell = make_cell(method.partition(" ")[0], config={"rank": len(method)})
        variant = method.partition(" ")[2] or "default"
        runs = [Run(cell, seed) for seed in range(len(values))]
        store.write_plan("s", [(run, variant) for run in runs])
        for run, value in zip(runs, values, strict=True):
            record = make_record(cell, run.seed)
            test = record.splits["test"]
            splits = record.splits | {
                "test": test.model_copy(update={"metrics": {"accuracy": value, "f1": value}})
            }
            change = {"splits": splits, "cost": with_params(record.cost, trained.get(method, 10))}
            put(store, record.model_copy(update=change))
    return summarise(load(store))


def with_params(cost: Cost | None, count: int) -> Cost | None:
    """Return costs with a number of trained parameters."""
    return cost.model_copy(update={"trainable_params": count}) if cost else None


def test_effects_state_sizes_with_intervals_for_what_is_told_apart() -> None:
    """The best beats one method by a size; the other is a tie, and what it lacks is said."""
    rng = np.random.default_rng(0)
    base = rng.normal(0.8, 0.01, 6)
    samples = {
        "a": seeds(*base),
        "b": seeds(*(base - 0.004 + rng.normal(0, 0.006, 6))),
        "c": seeds(*(base - 0.1 + rng.normal(0, 0.002, 6))),
    }
    compared = family(samples)
    beats, tied, needs = effects(compared, NAMES, upward=True)
    c = compared.compare("a", "c").difference
    assert c.mean is not None
    assert c.low is not None
    assert c.high is not None
    assert beats == f"It beats c by {c.mean:.3f} ({c.low:.3f} to {c.high:.3f})."
    assert tied.startswith("No significant difference from it: b behind by ")
    more = compared.compare("a", "b").more_seeds
    assert needs.startswith(f"Not enough seeds to tell a from b: {more:.0f} more seeds would be")
    assert f"would find a difference of {compared.compare('a', 'b').detectable:.3f}." in needs


def test_effects_where_lower_is_better_are_sizes_too() -> None:
    """The lower error leads by a positive size, with the interval turned round."""
    rng = np.random.default_rng(1)
    errors = rng.normal(0.2, 0.001, 5)
    compared = family({"a": seeds(*errors), "b": seeds(*(errors + rng.normal(0.1, 0.001, 5)))})
    (beats,) = effects(compared, {"a": "a", "b": "b"}, upward=False)
    ends = compared.compare("b", "a").difference
    assert beats == f"It beats b by {ends.mean:.3f} ({ends.low:.3f} to {ends.high:.3f})."


def test_effects_of_methods_that_never_differ_say_that_there_is_no_test() -> None:
    """Equal scores have no interval, no test and no number of seeds; that is no tie."""
    compared = family({"a": seeds(0.5, 0.6), "b": seeds(0.5, 0.6)})
    (untested,) = effects(compared, {"a": "a", "b": "b"}, upward=True)
    assert untested.startswith("Could not be tested: b behind by 0.000; no test can judge")
    (gained,) = gains(compared, {"a": "x / tuned", "b": "x"}, upward=True)
    assert gained == "Tuning: x / tuned and x could not be tested, seen is 0.000."


def test_effects_never_beat_against_the_sign_of_the_difference() -> None:
    """A mean that leads by seeds of its own, and loses on the common ones, beats nothing."""
    first = seeds(0.800, 0.801, 0.8005, 0.799, 0.95, 0.951)
    compared = family({"a": first, "b": seeds(0.830, 0.8312, 0.8303, 0.8291)})
    (ahead,) = effects(compared, {"a": "a", "b": "b"}, upward=True)
    assert ahead.startswith("Ahead of it on common seeds: b by 0.030 (0.030 to 0.030); means are")


def test_effects_claim_no_difference_that_the_metric_does_not_allow() -> None:
    """Two seeds of an accuracy would find none below 1: no number stands for that."""
    runs = {"a": {0: 0.9, 1: 0.5}, "b": {0: 0.4, 1: 0.6}}
    open_ended = family({name: Sample(scores) for name, scores in runs.items()})
    assert (open_ended.compare("a", "b").detectable or 0) > 1
    compared = family({name: Sample(each, possible=(0.0, 1.0)) for name, each in runs.items()})
    found = compared.compare("a", "b")
    assert found.detectable == np.inf
    assert (found.difference.low, found.difference.high) == (-1, 1)
    *_, needs = effects(compared, {"a": "a", "b": "b"}, upward=True)
    assert needs.endswith("most such studies would find no difference that the metric allows.")


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (1, "1 more seed"),
        (12, "12 more seeds"),
        (99, "99 more seeds"),
        (104, "about 100 more seeds"),
        (1146, "about 1,100 more seeds"),
        (98765, "about 99,000 more seeds"),
    ],
)
def test_numbers_of_seeds_have_two_figures(needed: float, said: str) -> None:
    """The estimate has no more."""
    assert more_seeds(needed) == said


def test_effects_of_a_small_difference_call_for_no_number_of_seeds() -> None:
    """More than a hundred seeds are as good as none."""
    noise = np.random.default_rng(4).normal(0, 0.01, (2, 6))
    samples = {"a": seeds(*(0.8005 + noise[0])), "b": seeds(*(0.8 + noise[1]))}
    compared = family(samples)
    best, other = ("a", "b") if compared.difference("a", "b") > 0 else ("b", "a")
    assert 100 < (compared.compare("a", "b").more_seeds or 0) < np.inf
    *_, needs = effects(compared, {best: best, other: other}, upward=True)
    assert needs.startswith(f"No practicable number of seeds would tell {best} from {other} if ")
    assert " as seen (it would take about " in needs


def test_effects_say_where_more_seeds_would_not_help() -> None:
    """Few items hide a small difference whatever the number of seeds."""
    rng = np.random.default_rng(2)
    first = np.tile(rng.integers(0, 2, 50).astype(float), (4, 1))
    second = first.copy()
    second[:, :3] = 1 - second[:, :3]
    second[0, 4] = 1 - second[0, 4]
    samples = {
        name: Sample(dict(enumerate(values.mean(axis=1))), dict(enumerate(values)))
        for name, values in (("a", first), ("b", second))
    }
    *_, needs = effects(family(samples), {"a": "a", "b": "b"}, upward=True)
    assert needs.startswith("No number of seeds would tell a from b on so few test items")


@pytest.mark.parametrize(("shift", "word"), [(0.05, "beats"), (-0.05, "loses to")])
def test_gains_compare_a_tuned_row_with_its_own_settings(shift: float, word: str) -> None:
    """Tuning may help or harm, and says so only where the tests do."""
    rng = np.random.default_rng(3)
    base = rng.normal(0.8, 0.01, 6)
    names = {1: "lora", 2: "lora / tuned", 3: "head / wide", 4: "head / wide tuned", 5: "bitfit"}
    samples = {
        1: seeds(*base),
        2: seeds(*(base + shift + rng.normal(0, 0.001, 6))),
        3: seeds(*base),
        4: seeds(*(base + rng.normal(0, 0.01, 6))),
        5: seeds(*base[::-1]),
    }
    (said,) = gains(family(samples), names, upward=True)
    first, second = said.split("; ")
    assert first.startswith(f"Tuning: lora / tuned {word} lora")
    assert second.startswith("no gain of head / wide tuned over head / wide is shown, seen is ")
    assert (
        gains(family({1: samples[1], 5: samples[5]}), {1: "lora", 5: "bitfit"}, upward=True) == []
    )


def test_tuned_row_that_kept_its_default_is_no_second_rival(tmp_path: Path) -> None:
    """Three labels of two configurations are one pair, tested without a correction."""
    scores = {"lora": [0.70, 0.72, 0.71, 0.73], "head": [0.69, 0.70, 0.705, 0.70]}
    alone = store_of(tmp_path, scores)
    runs = [Run(make_cell("lora", config={"rank": 4}), seed) for seed in range(4)]
    Store(tmp_path).write_plan("s", [(run, "tuned") for run in runs])
    summary = summarise(load(Store(tmp_path)))
    pairs = summary["family"].iloc[0]
    assert len(pairs.places) == 3
    assert pairs.strictest == 0.05
    np.testing.assert_array_equal(pairs.p_values, alone["family"].iloc[0].p_values)
    groups = summary.set_index(["method", "variant"])["rank_group"]
    assert groups["lora", "tuned"] == groups["lora", "default"] == 1
    sentences = verdict(summary)
    assert "The same settings and runs, compared once: lora = lora / tuned." in sentences
    assert "Tuning: lora / tuned kept the settings of lora." in sentences
    assert not any("lora / tuned b" in sentence for sentence in sentences)


def test_verdict_names_the_best_of_those_compared_and_who_is_ahead_of_it(tmp_path: Path) -> None:
    """A baseline that trains nothing may score higher; the verdict does not hide it."""
    scores = {"lora": [0.7, 0.71, 0.72], "head": [0.5, 0.52, 0.51], "majority": [0.8, 0.8, 0.8]}
    first, second, *_ = verdict(store_of(tmp_path, scores, majority=0))
    assert first.startswith("lora has the highest mean accuracy of those compared: 0.710 (3 seeds")
    assert second == "Ahead of it, but not compared: majority (0.800)."


def test_verdict_with_one_seed_of_a_method_leaves_it_out_of_the_comparison(tmp_path: Path) -> None:
    """It is named, and the others are compared."""
    scores = {"lora": [0.7, 0.71, 0.72], "head": [0.5, 0.52, 0.51], "dora": [0.6]}
    text = " ".join(verdict(store_of(tmp_path, scores)))
    assert "Not compared, having one seed: dora." in text


def test_verdict_of_single_seeds_says_what_to_do(tmp_path: Path) -> None:
    """Without any interval there is a mean and an advice, and nothing on ties."""
    text = " ".join(verdict(store_of(tmp_path, {"lora": [0.7], "head": [0.6]})))
    assert "lora has the highest mean accuracy: 0.700 (1 seed)." in text
    assert "Too few seeds for a verdict" in text
    assert "significantly" not in text
    assert "No significant difference" not in text


def test_verdict_and_text_table_warn_of_too_few_seeds_alike(tmp_path: Path) -> None:
    """Three seeds that tell nothing apart are too few in the report as in the terminal."""
    summary = store_of(tmp_path, {"lora": [0.70, 0.72, 0.71], "head": [0.69, 0.73, 0.705]})
    warning = "Too few seeds for a verdict: with 3, no method differs significantly from the best."
    assert any(said.startswith(warning) for said in verdict(summary))
    assert warning in format_table(leaderboard(summary))


def test_many_names_become_a_number() -> None:
    """A sentence names a few, and counts many."""
    names = [str(place) for place in range(9)]
    assert named(names) == "9 others"
    assert named(names[:3]) == listed(names[:3]) == "0, 1 and 2"
