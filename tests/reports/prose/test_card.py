"""The answer in words: that it says what the verdict says, plainly, on page and in a terminal."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import Card
from gapbench.reports.prose.card import card
from gapbench.reports.prose.card_points import COMPLETE
from gapbench.reports.prose.glossary import GLOSSARY, PATTERN, anchor, glossary, term_of
from gapbench.reports.render import card_text
from gapbench.reports.results.load import load
from gapbench.reports.tables.summary import summarise
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.model import Verdict
from gapbench.reports.verdict.plain import plain
from tests.support.known_truth import verdicts_of, write
from tests.support.results_folder import make_cell, make_record, put

SEEDS = 6
TIMES = "Time and memory"


def found(
    root: Path,
    levels: dict[str, float],
    spread: float = 0.01,
    costs: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> Verdict:
    """Return the verdict on methods whose test scores lie about a level, and who cost this."""
    store = Store(root)
    store.open_for_writing()
    cells = {name: make_cell(name) for name in levels}
    store.write_plan(
        "s", [(Run(c, seed), "default") for c in cells.values() for seed in range(SEEDS)]
    )
    for place, (name, level) in enumerate(levels.items()):
        noise = np.random.default_rng(place).normal(0, spread, SEEDS)
        for seed in range(SEEDS):
            record = make_record(cells[name], seed)
            scores = record.splits["test"]
            metrics = dict(scores.metrics) | {"accuracy": float(level + noise[seed])}
            splits = {**record.splits, "test": scores.model_copy(update={"metrics": metrics})}
            assert record.cost is not None
            cost = record.cost.model_copy(update=costs.get(name, {}))
            put(store, record.model_copy(update={"splits": splits, "cost": cost}))
    loaded = load(store)
    [verdict] = verdicts(loaded, summarise(loaded))
    return verdict


@pytest.mark.parametrize(
    ("levels", "headline"),
    [
        ({"lora": 0.7, "dora": 0.705, "full": 0.7}, "Keep lora. No other method is shown"),
        ({"lora": 0.6, "dora": 0.75, "full": 0.6}, "Use dora. It is shown to be better than lora."),
        ({"lora": 0.7}, "Only lora can be judged"),
    ],
)
def test_headline_follows_the_verdict(
    tmp_path: Path, levels: dict[str, float], headline: str
) -> None:
    """It names the method that the verdict recommends, and its reason."""
    verdict = found(tmp_path, levels)
    made = card(verdict)
    assert made.headline.startswith(headline)
    assert (verdict.recommended in made.headline) == bool(verdict.recommended)


def test_no_difference_is_said_with_what_is_ruled_out(tmp_path: Path) -> None:
    """A tie names the largest advantage that fits the data, and does not pass for equality."""
    verdict = found(tmp_path, {"lora": 0.7, "dora": 0.702})
    said = card(verdict).certainty
    assert said.startswith("This does not prove them equal.")
    assert verdict.ruled_out is not None
    bound = math.ceil(1000 * verdict.ruled_out) / 1000  # a smaller one would claim too much
    assert f"better by more than {bound:.3f} in accuracy" in said


def test_measures_are_those_of_the_verdict(tmp_path: Path) -> None:
    """Score, difference and reading are the verdict's; cost is a multiple of the reference's."""
    verdict = found(tmp_path, {"lora": 0.6, "dora": 0.75})
    made = card(verdict)
    entry = verdict["dora"]
    first = made.measures[0]
    assert made.heads == (("dora", "use this"), ("lora", "reference"))
    assert first.first.startswith(f"{entry.levels['score'].mean:.3f} (")
    assert first.difference.startswith(f"+{entry.to_reference['score'].difference:.3f} (+")
    assert first.reading == "better"
    assert {each.second for each in made.measures if "cost" in each.name} == {
        "1.0\N{MULTIPLICATION SIGN}"
    }


def test_words_on_costs_are_of_what_is_counted(tmp_path: Path) -> None:
    """Passes have a line and a word where they differ; seconds of few stacks have a number only."""
    levels = {"lora": 0.6, "dora": 0.75}
    slow = {"evaluation_seconds": 8.9, "inference_passes": 4}
    costs = {"lora": {"inference_passes": 1}, "dora": slow}
    made = card(found(tmp_path / "slow", levels, costs=costs))
    lines = {each.name: (each.first, made.reading(each)) for each in made.measures}
    times = "\N{MULTIPLICATION SIGN}"
    assert lines["scoring passes"] == (f"4.0{times}", "dora is dearer")
    assert lines["scoring time"] == (f"18{times}", "")
    assert "dora is dearer" in card_text.text(made)
    alike = card(found(tmp_path / "alike", levels)).measures
    assert "scoring passes" not in {each.name for each in alike}


def test_measured_costs_that_do_not_compare_are_told(tmp_path: Path) -> None:
    """In a line of their own; without it a reader would miss them."""
    verdict = found(tmp_path, {"lora": 0.6, "dora": 0.75})
    assert TIMES not in card(verdict).points
    apart = tuple(replace(each, scoring=None, memory=None) for each in verdict.entries)
    said = card(replace(verdict, entries=apart)).points[TIMES]
    assert said == "Not comparable: different machines or threads."


def test_text_fits_80_columns_whatever_it_holds(tmp_path: Path) -> None:
    """Long names and sentences are cut or broken, and nothing a terminal would obey is printed."""
    long = "a_name_" * 20
    made = Card(
        long, long + " x" * 80, "sure \x1b[31m", ((long, "use this"), (long, "reference")),
        card(found(tmp_path, {"lora": 0.6, "dora": 0.75})).measures, {"Why": "because " * 40},
        ((long, long, "shown " * 40),),
    )  # fmt: skip
    text = card_text.text(made)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_told_commands_can_be_pasted(tmp_path: Path) -> None:
    """A shell reads the lines of each as one command; none is broken inside a word."""
    methods = ",".join(f"method_{number}" for number in range(9))
    commands = [f"gapbench run a.yaml --methods {methods} --results 'my folder'", "gapbench run b"]
    made = replace(
        card(found(tmp_path, {"lora": 0.7})), points={COMPLETE: "\n".join(commands)}, tasks=()
    )
    pasted = card_text.text(made).partition(f"{COMPLETE}:\n")[2].splitlines()[:-1]
    assert len(pasted) > 2
    told = "\n".join(pasted).replace("\\\n", "").splitlines()
    assert [shlex.split(line) for line in told] == [shlex.split(each) for each in commands]


def test_rows_that_are_not_complete_are_told_with_their_command(tmp_path: Path) -> None:
    """Once, however many rows miss runs; a card without such rows has no such point."""
    whole = found(tmp_path, {"lora": 0.7, "dora": 0.7})
    assert COMPLETE not in card(whole).points
    missing = {"status": "incomplete", "why": "3 of 6 seeds", "commands": ("gapbench run s",)}
    entries = tuple(replace(each, **missing) for each in whole.entries)
    assert card(replace(whole, entries=entries)).points[COMPLETE] == "gapbench run s"


def test_plain_verdict_has_nothing_that_json_lacks(tmp_path: Path) -> None:
    """Infinite and unknown numbers are None; pairs of rows are a list of contrasts."""
    content = plain(found(tmp_path, {"lora": 0.7, "dora": 0.7}))
    assert content["recommended"] == "lora"
    assert [pair["first"] for pair in content["pairs"]["score"]]
    assert content["pairs"]["score"][0].keys() >= {"low", "high", "claim"}


def test_every_term_is_found_and_explained_in_a_sentence(tmp_path: Path) -> None:
    """Each term of the glossary has an anchor of its own; the card's words lead there."""
    assert len({anchor(term) for term in GLOSSARY}) == len(GLOSSARY)
    assert all(said.endswith(".") for said in GLOSSARY.values())
    assert {term_of(match) for term in GLOSSARY for match in PATTERN.finditer(term)} == {*GLOSSARY}
    for text in ("gapbench run s --backbone b --seeds 5", "gapbench run reference/small_data",
                 "lora / rank 16, all linear layers", "alpha hat at block 3"):  # fmt: skip
        assert not PATTERN.search(text)
    assert {"Pearson correlation", "F1"} <= glossary(["pearson", "f1"]).keys()
    assert "Pearson correlation" not in glossary(["accuracy"])
    assert not any("_" in term for term in GLOSSARY)
    made = card(found(tmp_path, {"lora": 0.6, "dora": 0.75}))
    said = " ".join([made.headline, made.certainty, *made.points.values()])
    terms = {term_of(match) for match in PATTERN.finditer(said)}
    assert terms >= {"shown to be better", "95 % interval", "all comparisons together", "seed"}


def test_training_helps_is_said_of_the_row_that_is_advised(tmp_path: Path) -> None:
    """Not of another one whose mean is better by chance."""
    write(tmp_path, {"lora": 1.0, "dora": 1.03, "untuned": -1.0})
    [verdict] = verdicts_of(Store(tmp_path))
    assert verdict.recommended == "lora"
    assert verdict.untrained[0].first == "dora"
    assert card(verdict).points["Does training help?"].startswith("Yes: lora is shown")
