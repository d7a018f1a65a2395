"""A results folder in Python: frames and small objects that say what the reports say."""

import csv
import io
import json
import math
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gapbench
from gapbench.bench.core.errors import ConfigError, RecordError, StoreError
from tests.support.small_suite import SmallSuite, call

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def old(old_results: Path) -> gapbench.Results:
    """Results of version 0.1."""
    return gapbench.load(old_results)


def test_folder_without_results_is_refused(tmp_path: Path) -> None:
    """At once, with the way out."""
    with pytest.raises(StoreError, match="holds no plan and no record"):
        gapbench.load(tmp_path)


@pytest.mark.parametrize("given", [-1, 0, math.nan, math.inf, "0.01"])
def test_least_difference_that_matters_is_a_number_above_zero(
    old: gapbench.Results, given: Any
) -> None:
    """As in the terminal; a plan for a difference of nothing would be nonsense."""
    for call_ in (old.verdict, old.claims, old.report, partial(old.compare, "lora", "head")):
        with pytest.raises(ConfigError, match="matters must be a number above 0, got"):
            call_(matters=given)


def test_runs_are_one_row_a_run_and_a_copy(old: gapbench.Results) -> None:
    """Who changes a frame changes no other answer."""
    runs = old.runs
    assert len(runs) == 28
    assert runs.groupby("status").size().to_dict() == {"ok": 22, "skipped": 6}
    runs["status"] = "lost"
    assert "lost" not in set(old.runs["status"])
    assert old.outcome.runs == 0


def test_leaderboard_is_that_of_the_command(old: gapbench.Results, capsys: Capture) -> None:
    """The same rows in the same order, also of a part."""
    for names in ({}, {"methods": "lora,head", "tasks": ["syn_sentiment"]}):
        flags = [f"--{n}={v if isinstance(v, str) else ','.join(v)}" for n, v in names.items()]
        answer = call(capsys, "leaderboard", old.path, "--json", *flags)
        ours = json.loads(old.leaderboard(**names).to_json(orient="records"))
        assert ours == answer.json["rows"]
    with pytest.raises(StoreError, match="has no method 'dora'; it has"):
        old.leaderboard(methods="dora")
    with pytest.raises(ConfigError, match="backbones: got"):
        old.verdict(backbones=[])


def test_comparison_says_what_the_command_says(old: gapbench.Results, capsys: Capture) -> None:
    """As text, as a table and in a notebook."""
    found = old.compare("lora / tuned", "bitfit", tasks="syn_sentiment")
    given = ("compare", "lora / tuned", "bitfit", old.path, "--task", "syn_sentiment")
    assert f"{found!r}\n" == call(capsys, *given).out
    content = call(capsys, *given, "--json").json
    assert found.content == content
    assert found.conclusion == content["conclusion"]
    assert found.table["difference"].tolist() == [content["tasks"][0]["difference"]]
    html = found._repr_html_()
    assert "lora / tuned" in html
    assert found.conclusion in html


def test_verdict_is_that_of_the_report(old: gapbench.Results, tmp_path: Path) -> None:
    """The same headline stands in the page, the text and the notebook; facts go by task."""
    verdict = old.verdict()
    (answer,) = verdict.cards
    assert answer.about.startswith("2 tasks,")
    (whole,) = verdict
    assert [each.task for each in whole.tasks] == ["syn_sentiment", "syn_choice"]
    paths = old.report(tmp_path / "out")
    assert all(path.exists() for path in paths)
    page = re.sub(r"<a [^>]*>|</a>", "", paths[0].read_text())
    first = answer.headline
    shown = " ".join(repr(verdict).split())
    assert first in page.replace("\N{NO-BREAK SPACE}", " ")
    assert first in shown
    assert first.split(".")[0] in verdict._repr_html_()
    assert verdict["syn_choice"].task == "syn_choice"
    with pytest.raises(KeyError, match="names 0 of"):
        _ = verdict["syn_"]
    table = pd.read_csv(paths[2])
    assert table["config_hash"].tolist() == old.leaderboard()["config_hash"].tolist()


def test_predictions_of_a_run(old: gapbench.Results) -> None:
    """By hash, by the start of it or by its row; with what was right and what was given."""
    row = old.runs.query("task == 'syn_sentiment' and method == 'head'").iloc[0]
    frame = old.predictions(row)
    assert len(frame) == row["test_examples"]
    assert {"example_id", "label", "logit_0", "logit_1"} <= set(frame.columns)
    right = frame[["logit_0", "logit_1"]].to_numpy().argmax(axis=1) == frame["label"]
    assert right.mean() == pytest.approx(row["test_score"])
    pd.testing.assert_frame_equal(old.predictions(row["run_hash"][:8]), frame)
    skipped = old.runs.query("status == 'skipped'").iloc[0]
    reason = "has no stored predictions of split 'test'; its status is skipped"
    with pytest.raises(RecordError, match=reason):
        old.predictions(skipped)
    with pytest.raises(RecordError, match=r"0 run hashes under .* begin with 'xyz'"):
        old.predictions("xyz")
    with pytest.raises(RecordError, match="run hashes under"):
        old.predictions("")


def test_curves_are_long(old: gapbench.Results) -> None:
    """One row for each run, step and split, ready to be drawn."""
    curves = old.curves()
    assert set(curves["split"]) == {"train", "validation", "test"}
    keys = ["run_hash", "step", "split"]
    assert not curves.duplicated(keys).any()
    trained = old.runs.query("status == 'ok' and trainable_params > 0")
    assert set(trained["run_hash"]) <= set(curves["run_hash"])
    content = next(old.path.glob("runs/*/*/lora/*/seed-0.json")).read_text()
    record = json.loads(content)
    mine = curves[(curves["run_hash"] == record["run_hash"]) & (curves["split"] == "validation")]
    assert mine["score"].tolist() == [point["validation_score"] for point in record["curve"]]
    assert mine["loss"].tolist() == [point["validation_loss"] for point in record["curve"]]


def test_studies_and_representations(old: gapbench.Results) -> None:
    """A search is a row; a folder is told in a line, in a notebook with a table of runs."""
    assert old.studies["method"].tolist() == ["lora", "lora"]
    assert repr(old) == f"Results in {str(old.path)!r}: 28 runs (22 ok, 6 skipped)"
    assert "<td>" in old._repr_html_()
    assert old.failures.empty


def test_facts_and_plots_are_told_in_a_line(old: gapbench.Results) -> None:
    """What a notebook shows of them is no dump and no address."""
    for verdict in old.verdict():
        for one in verdict.everything:
            assert one.why in repr(one)
            assert one.task in repr(one)
            assert len(repr(one)) < 300
    assert ".forest(), .scores()" in repr(old.plot)
    gate = gapbench.gate(old.path, old.path)
    assert gate._repr_html_() == "<p>Passed: nothing moved at all.</p>"


def test_markup_in_names_stays_text_and_results_can_be_pickled(small: SmallSuite) -> None:
    """A notebook shows the name of a variant, and does not run it; copies show the same."""
    name = "<b>bold</b>&"
    small.write_suite(methods=[{"method": "head", "variant": name}, "majority"], seeds=1)
    made = gapbench.run(small.path, data=small.data, results=small.results, progress=False)
    views = (made, made.verdict(), made.compare("head", "majority"))
    for view in views:
        assert "<b>" not in view._repr_html_()
        assert repr(pickle.loads(pickle.dumps(view))) == repr(view)  # noqa: S301 - our own
    assert name in repr(views[1])


def test_unreadable_record_is_a_failure(old_results: Path) -> None:
    """Nothing vanishes."""
    path = next(old_results.glob("runs/*/*/*/*/seed-0.json"))
    path.write_text("{")
    results = gapbench.load(old_results)
    (failure,) = results.failures.to_dict("records")
    assert failure["status"] == "unreadable"
    assert str(path) in failure["cause"]
    assert str(path) in repr(results)


@pytest.mark.usefixtures("page_alone")
def test_runs_are_those_of_the_report(old: gapbench.Results, tmp_path: Path) -> None:
    """The frame has the columns of the file."""
    out = old.report(tmp_path / "out", methods="head")[3]
    header = next(csv.reader(io.StringIO(out.read_text())))
    assert header == list(old.runs.columns)
