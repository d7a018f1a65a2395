"""Published figures beside measured ones: what is matched, in which units, and how it is marked."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gapbench.bench.config.run import Cell, Fingerprint, Run
from gapbench.bench.store.store import Store
from gapbench.reports.render.build import build, terminal
from gapbench.reports.results.load import load
from gapbench.reports.results.version_0_1 import drops
from gapbench.reports.tables import published
from gapbench.reports.tables.leaderboard import leaderboard
from gapbench.reports.tables.published import CERTAINTIES, fitting, scores
from gapbench.reports.tables.published_comparison import (
    COLUMNS,
    PublishedPair,
    format_pairs,
    pairs,
    with_published,
)
from gapbench.reports.tables.summary import summarise
from tests.support.results_folder import make_cell, make_record, make_task, put

LORA = {"rank": 8, "alpha": 16.0}


def cell_of(
    method: str,
    task: str,
    backbone: str,
    config: dict[str, Any] | None = None,
    metrics: tuple[str, ...] = ("accuracy", "f1"),
) -> Cell:
    """Return a cell under names that the papers use."""
    cell = make_cell(method, task=make_task(task, metrics=metrics), config=config or LORA)
    return cell.model_copy(update={"backbone": Fingerprint(name=backbone, digest="b" * 64)})


def folder_of(root: Path, *cells: Cell, seeds: int = 3, variant: str = "default") -> Store:
    """Store finished runs of some cells."""
    store = Store(root)
    store.open_for_writing()
    runs = [Run(cell, seed) for cell in cells for seed in range(seeds)]
    store.write_plan("papers", [(run, variant) for run in runs])
    for run in runs:
        put(store, make_record(run.cell, run.seed))
    return store


def found_in(store: Store) -> list[PublishedPair]:
    """Return the pairs of a results folder."""
    loaded = load(store)
    return pairs(loaded, summarise(loaded))


def test_figures_are_those_of_the_stored_tables_in_units_of_gapbench() -> None:
    """Percents become fractions, digits and all; fractions and unbounded scores stay."""
    by_key = {(f.source, f.method, f.backbone, f.task, f.metric): f for f in scores()}
    lora = by_key["hiddenkey Table 2", "lora", "gpt2-medium", "e2e_nlg", "bleu"]
    assert (lora.value, lora.spread, lora.aggregate) == (0.685, 0.009, "mean")
    assert by_key["hiddenkey Table 2", "lora", "gpt2-medium", "e2e_nlg", "nist"].value == 8.615
    ter = by_key["hiddenkey Table 3", "lora", "gpt2-medium", "web_nlg_all", "ter"]
    assert ter.value == 0.395
    assert {score.certainty for score in scores()} == set(CERTAINTIES)
    assert len({score.source.partition(" ")[0] for score in scores()}) == 4


def test_pair_holds_the_median_where_the_paper_prints_one(tmp_path: Path) -> None:
    """HiddenKey reports medians of five, so that the measured side is a median as well."""
    cell = cell_of("lora", "rte", "RoBERTa-Large")
    first, second = found_in(folder_of(tmp_path, cell))
    scores = [make_record(cell, seed).score("test") or 0 for seed in range(3)]
    assert first.figure.source == "hiddenkey Table 1"
    assert (first.figure.value, first.figure.certainty) == (0.8448, "read")
    assert first.measured == pytest.approx(np.median(scores), abs=1e-15)
    assert first.measured != pytest.approx(np.mean(scores), abs=1e-6)
    assert (first.seeds, first.main, first.metric) == (3, True, "accuracy")
    # The same figure read off a plot comes after the one read in a table.
    assert (second.figure.source, second.figure.certainty) == ("hiddenkey Figure 4", "plot")
    assert second.measured == pytest.approx(np.mean(scores), abs=1e-15)


def test_pair_is_found_for_a_metric_that_is_not_the_main_one(tmp_path: Path) -> None:
    """Papers print the accuracy of MRPC; where F1 is the main metric, it is a pair, no column."""
    cell = cell_of("lora", "mrpc", "roberta-large", metrics=("f1", "accuracy"))
    store = folder_of(tmp_path, cell)
    found = found_in(store)
    assert {(pair.metric, pair.main) for pair in found} == {("accuracy", False)}
    assert found[0].figure.value == 0.8995
    table = leaderboard(summarise(load(store)))
    assert with_published(table, found) is table


@pytest.mark.parametrize(
    ("method", "config", "value"),
    [
        ("dropkey", {"logit_pattern": "column", "logit_rate": 0.1}, 0.8736),
        ("dropkey", {"logit_pattern": "element", "logit_rate": 0.1}, 0.87),
        ("dropkey", {"logit_pattern": "span", "logit_rate": 0.1}, 0.8628),
        ("dropattention", {"weight_pattern": "element", "weight_rate": 0.1}, 0.8556),
        ("hiddencut", {"ffn_pattern": "column", "ffn_rate": 0.1}, 0.8664),
        ("hiddenkey", {"consistency": "kl"}, 0.881),
        ("hiddenkey_minus", {"consistency": "none", "embedding_rate": 0.0}, 0.877),
        ("hiddenkey_minus", {"consistency": "none", "embedding_rate": 0.1}, 0.885),
        ("hiddenkey_minus", {"consistency": "none", "head_rate": 0.1}, 0.877),
    ],
)
def test_fitting_figure_is_the_one_with_the_settings_of_the_cell(
    method: str, config: dict[str, Any], value: float
) -> None:
    """Patterns, added positions and compensations tell the rows of HiddenKey's Table 1 apart."""
    fit = fitting(method, config, "default", "rte", "roberta-large", drops(config))
    table = [figure for figure in fit if figure.source == "hiddenkey Table 1"]
    assert [figure.value for figure in table] == [value]
    departs = bool(config.get("embedding_rate") or config.get("head_rate"))
    assert ("position" in table[0].variant) == departs


def test_fitting_figure_of_a_stated_rank_rate_or_budget_needs_the_same() -> None:
    """A figure at rank 4 is not put beside rank 8, nor one of a drop rate beside another rate."""
    at_4, at_8 = (
        {f.source for f in fitting("lora", {"rank": r}, "", "rte", "roberta-base")} for r in (4, 8)
    )
    assert at_4 - at_8 == {"bilora BiDoRA Table 1"}
    assert at_8 - at_4 == set()
    plotted = [
        {f.source for f in fitting("dropkey", config, "", "rte", "roberta-large", drops(config))}
        for config in ({"logit_pattern": "column", "logit_rate": rate} for rate in (0.2, 0.1))
    ]
    assert plotted[0] - plotted[1] == {"hiddenkey Figure 4"}
    by_label = fitting("lora", LORA, "budget=0.16% [paper]", "squad_v2", "deberta-v3-base")
    assert {(figure.metric, figure.value) for figure in by_label} == {
        ("exact_match", 0.836),
        ("span_f1", 0.867),
    }
    assert fitting("lora", LORA, "default", "squad_v2", "deberta-v3-base") == []


@pytest.mark.parametrize(
    ("task", "backbone", "source"),
    [
        ("mnli", "deberta-v3-base", "lora_dropout Table 1"),
        ("web_nlg", "gpt2-medium", "hiddenkey Table 3"),
        ("rte", "Llama-2-7b-hf", "hiddenkey Table 5"),
        ("rte", "deberta-v2-xxlarge", "bilora Table 4"),
        ("piqa", "Meta-Llama-3-8B", "flexora main comparison"),
    ],
)
def test_fitting_figure_is_found_under_the_names_of_repositories(
    task: str, backbone: str, source: str
) -> None:
    """Where a table and a repository name a task or model differently, they still meet."""
    found = fitting("lora", LORA, "default", task, backbone)
    assert {figure.source for figure in found} == {source}


def test_fitting_figure_of_another_method_task_or_backbone_is_none() -> None:
    """Nothing is put beside what no paper has measured."""
    assert fitting("lora", LORA, "", "rte", "roberta-large")
    assert fitting("lora_ema", LORA, "", "rte", "roberta-large") == []
    assert fitting("lora", LORA, "", "wnli", "roberta-large") == []
    assert fitting("lora", LORA, "", "rte", "tiny-encoder") == []


@pytest.mark.usefixtures("no_figures")
def test_report_with_published_figures_shows_them_with_their_certainty(tmp_path: Path) -> None:
    """The table has three more columns, and page and terminal mark what nobody has verified."""
    cells = [
        cell_of("lora", "rte", "roberta-base"),
        cell_of("bilora", "rte", "roberta-base"),
        cell_of("head", "rte", "roberta-base"),
    ]
    store = folder_of(tmp_path / "results", *cells)
    built = build(store.root, tmp_path / "out")
    table = pd.read_csv(built.leaderboard).set_index("method")
    assert tuple(table.columns[-3:]) == COLUMNS
    assert table.loc["lora", list(COLUMNS)].tolist() == [0.866, "bilora Table 1", "baseline source"]
    assert table.loc["bilora", "published"] == 0.872
    assert table.loc["bilora", "published_certainty"] == "recalled, unverified"
    assert table.loc["head", list(COLUMNS)].isna().all()
    page = built.report.read_text(encoding="utf-8")
    assert '<section id="published"' in page
    assert "0.8720?</td>" in page
    assert "recalled, unverified</td>" in page
    text = terminal(store.root)
    (line,) = (line for line in text.splitlines() if "0.8720?" in line)
    assert line.split()[0] == "bilora"
    assert line.endswith("bilora Table 1, recalled")
    assert "?: from memory, verified by nobody." in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.usefixtures("no_figures")
def test_report_without_published_figures_does_not_speak_of_them(tmp_path: Path) -> None:
    """Where no paper has a figure, table, page and text are as if there were no papers."""
    store = folder_of(tmp_path / "results", cell_of("lora", "rte", "tiny-encoder"))
    built = build(store.root, tmp_path / "out")
    assert not set(COLUMNS) & set(pd.read_csv(built.leaderboard).columns)
    assert "#published" not in built.report.read_text(encoding="utf-8")
    assert "ublished" not in terminal(store.root)
    assert format_pairs([]) == ""


def test_tables_of_an_installed_package_are_read_beside_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are read where the package lies, be it installed or linked to a repository."""
    place = Path("results") / "reference" / "published"
    assert str(published._folder()).endswith(str(place))
    (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(published, "files", lambda _: tmp_path)
    assert published._folder() == tmp_path / place
