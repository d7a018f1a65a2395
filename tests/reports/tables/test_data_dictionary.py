"""The data dictionary: one definition for the page in docs and for `columns.json`."""

import json
from pathlib import Path

import pandas as pd
import pytest

from gapbench.reports.render.build import build
from gapbench.reports.tables import data_dictionary
from tests.support.results_folder import FEW, fill, make_task
from tests.support.small_suite import REPOSITORY


def test_page_in_docs_is_the_definition() -> None:
    """Written anew by `Path("docs/data.md").write_text(data_dictionary.page())`."""
    assert (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8") == data_dictionary.page()


@pytest.mark.usefixtures("no_figures")
def test_every_column_is_described_and_counts_are_whole(tmp_path: Path) -> None:
    """`columns.json` has each column of each file, settings and predictions are columns too."""
    store = fill(tmp_path / "results", methods=FEW, tasks=(make_task(),))
    built = build(store.root, tmp_path / "out")
    meanings = json.loads(built.columns.read_text(encoding="utf-8"))
    for path in (built.leaderboard, built.runs, built.curves):
        read = pd.read_csv(path, dtype="str", keep_default_na=False)
        assert list(meanings[path.name]) == list(read.columns)
        for name, about in meanings[path.name].items():
            if about["unit"] == "count":
                assert not read[name].str.contains("[.e]").any(), name
            digits = read[name].str.extract(r"^-?(?:0\.0*)?([\d.]+)(?:e-\d+)?$")[0]
            if about["unit"] == "of the metric":
                assert digits.str.replace(".", "").str.len().max() <= 12, name
    runs = pd.read_csv(built.runs)
    assert runs["config.rank"].eq(8).all()
    assert all((store.root / path).exists() for path in runs["predictions"])
    assert set(pd.read_csv(built.curves)["split"]) == {"train", "validation", "test"}
    assert pd.read_csv(built.leaderboard)["higher_is_better"].all()


def test_column_without_a_definition_is_refused() -> None:
    """A new column cannot be written without saying what it means."""
    with pytest.raises(KeyError, match="no definition"):
        data_dictionary.described(["surprise"])
    assert data_dictionary.described(["test/f1"])["test/f1"]["unit"] == "of that metric"


@pytest.mark.parametrize("name", ["hans-v1/accuracy", "hans.v1/bare_f1", "test/accuracy/a/b"])
def test_columns_of_every_legal_name_are_described(name: str) -> None:
    """Tests may have hyphens and dots in their names, and parts any text."""
    assert data_dictionary.described([name])[name]["meaning"]


def test_column_of_several_patterns_has_the_meaning_of_the_closest() -> None:
    """`bayes_score` is no score of a split called bayes."""
    found = data_dictionary.described(["bayes_score", "config.fit_examples", "test_score"])
    meaning = data_dictionary.described(["config.rank"])["config.rank"]["meaning"]
    assert found["bayes_score"] != found["test_score"]
    assert found["config.fit_examples"]["meaning"] == meaning
