"""A suite whose runs start from an adapter: from export through every command to the report."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.config.run import Fingerprint, Run
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.space import space_of
from gapbench.reports.results.load import load
from gapbench.reports.tables.leaderboard import COLUMNS, UNCERTAINTY, leaderboard
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import format_table
from tests.support.results_folder import fill, make_cell, make_record, put
from tests.support.small_suite import Answer, SmallSuite, call, make
from tests.support.started_stacks import started

Capture = pytest.CaptureFixture[str]
METHODS = [
    *("majority", "untuned", "head"),
    {"method": "lora", "config": {"rank": 2}},
    {"method": "lora", "variant": "other rank", "config": {"rank": 3}},
]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture) -> SmallSuite:
    """A suite whose task starts from an adapter of another suite, in a folder beside its file."""
    first = make(tmp_path / "first", make_backbone("bert"), methods=METHODS[3:4], seeds=1)
    assert call(capsys, "run", *first.running).code == 0
    (record,) = first.results.glob("runs/*/*/lora/*/seed-0.json")
    small = make(tmp_path / "small", make_backbone("bert"), methods=METHODS)
    out = small.folder / "adapters" / "mnli"
    sources = ("--data", first.data, "--backbone", first.backbone, "--results", first.results)
    assert call(capsys, "export", record, *sources, "--out", out).code == 0
    small.write_suite(tasks=[{"task": "animals", "start": "adapters/mnli"}])
    return small


def _expand(small: SmallSuite) -> list[PlannedRun]:
    suite, path = suites.load(str(small.path))
    return suites.expand(suite, Sources(small.data), path)


def test_start_is_part_of_a_runs_identity_and_its_place_is_not(small: SmallSuite) -> None:
    """All methods of the task start from it; a relative path is relative to the suite's file."""
    planned = _expand(small)
    assert {p.run.cell.start.name for p in planned if p.run.cell.start} == {"mnli"}
    assert all(p.run.cell.start is not None for p in planned)
    moved = small.folder.parent / "elsewhere" / "mnli"
    shutil.copytree(small.folder / "adapters" / "mnli", moved)
    small.write_suite(tasks=[{"task": "animals", "start": str(moved)}])
    assert [p.run.hash for p in _expand(small)] == [p.run.hash for p in planned]
    small.write_suite(tasks=["animals"])
    assert {p.run.hash for p in _expand(small)}.isdisjoint(p.run.hash for p in planned)


def test_check_and_plan_show_the_start(small: SmallSuite, capsys: Capture) -> None:
    """A column names the adapter, and what cannot start from it says why."""
    checked = call(capsys, "check", *small.planning, "--json").json
    assert {row["start"] for row in checked} == {"mnli"}
    verdicts = {(row["method"], row["variant"]): row["verdict"] for row in checked}
    begins = "cannot start from adapter 'mnli': "
    assert verdicts == {
        ("majority", "default"): "ok",
        ("untuned", "default"): "ok",
        ("head", "default"): f"{begins}it trains no A and B that an adapter could initialise",
        ("lora", "default"): "ok",
        ("lora", "other rank"): f"{begins}rank is 3, but the adapter's is 2",
    }
    plan = call(capsys, "plan", *small.running)
    assert {line.split()[2] for line in plan.out.splitlines()} == {"start", "mnli"}
    small.write_suite(tasks=["animals"])
    assert "start" not in call(capsys, "plan", *small.running).out


@pytest.mark.usefixtures("page_alone")
def test_runs_with_a_start_are_told_apart_in_every_table(
    small: SmallSuite, capsys: Capture
) -> None:
    """The same suite with and without a start gives two blocks, each with its own rows."""
    assert call(capsys, "run", *small.running).code == 0
    small.write_suite(name="plain", tasks=["animals"])
    text = call(capsys, "run", *small.running).out
    assert "small | animals | random-bert | from mnli | accuracy" in text
    assert "plain | animals | random-bert | accuracy" in text
    assert call(capsys, "report", small.results).code == 0
    report = small.results / "report"
    runs = pd.read_csv(report / "runs.csv", keep_default_na=False)
    assert {(s, n) for s, n in zip(runs["suite"], runs["start"], strict=True)} == {
        ("small", "mnli"),
        ("plain", ""),
    }
    assert runs.groupby("suite")["setting"].nunique().tolist() == [1, 1]
    assert runs["setting"].nunique() == 2
    table = pd.read_csv(report / "leaderboard.csv", keep_default_na=False)
    assert list(table.columns[:4]) == ["suite", "task", "backbone", "start"]
    assert table["config_hash"].is_unique
    assert (
        sorted(zip(table["suite"], table["start"], strict=True))
        == [("plain", "")] * 5 + [("small", "mnli")] * 5
    )
    skipped = runs[(runs["suite"] == "small") & (runs["status"] == "skipped")]
    assert sorted(set(skipped["method"])) == ["head", "lora"]
    page = (report / "report.html").read_text()
    assert "animals on random-bert, from mnli (suite small)" in page
    assert "animals on random-bert (suite plain)" in page


def test_untuned_scores_where_lora_starts(small: SmallSuite, capsys: Capture) -> None:
    """LoRA's loss at step 0 is that of the untuned run, which has the adapter but not its head."""
    small.write_suite(seeds=1)
    assert call(capsys, "run", *small.running).code == 0
    found = [Store(small.results).find(planned.run) for planned in _expand(small)]
    ok = {r.cell.method: r for r in found if r is not None and r.status == "ok"}
    first = ok["lora"].curve[0]
    assert first.step == 0
    untuned = ok["untuned"].splits["validation"].loss
    assert first.validation_loss == pytest.approx(untuned, abs=1e-6)


def test_reproduce_and_export_need_the_adapter_or_say_so(
    small: SmallSuite, capsys: Capture
) -> None:
    """Without --start the message says what to give; with it both work as always."""
    assert call(capsys, "run", *small.running).code == 0
    record = next(
        path
        for path in sorted(small.results.glob("runs/*/*/lora/*/seed-0.json"))
        if read_record(path).status == "ok"
    )
    given = ("--data", small.data, "--backbone", small.backbone, "--results", small.results)
    start = small.folder / "adapters" / "mnli"
    out = small.folder / "again"
    for command in (("reproduce", record), ("export", record, "--out", out)):
        answer = call(capsys, *command, *given)
        assert answer.code == 2
        assert "adapter 'mnli' with digest " in answer.err
        assert "was not found; pass its folder as --start DIR" in answer.err
        again: Answer = call(capsys, *command, *given, "--start", start, "--json")
        assert again.code == 0
    assert "adapter_config.json" in {path.name for path in out.iterdir()}


def test_suite_with_a_folder_that_is_no_adapter_is_refused(
    small: SmallSuite, capsys: Capture
) -> None:
    """Every command says what is wrong before anything runs."""
    small.write_suite(tasks=[{"task": "animals", "start": "adapters/nowhere"}])
    for arguments in (("check", *small.planning), ("run", *small.running)):
        answer = call(capsys, *arguments)
        assert answer.code == 2
        assert "adapters/nowhere: there is no such folder; give a folder as" in answer.err
    assert not small.results.exists()


def test_rank_of_an_adapter_is_not_searched(
    small: SmallSuite, make_backbone: Callable[[str], Path]
) -> None:
    """A tuner varies as many settings as always, but not the rank."""
    run = next(p.run for p in _expand(small) if p.run.cell.method == "lora")
    backbone = started(make_backbone("bert"), [run], small.folder / "adapters" / "mnli")
    space = space_of(run.cell, "default", backbone)
    assert len(space) == 3
    assert "rank" not in space_of(run.cell, "full", backbone)


def test_missing_cells_with_a_start_stand_beside_their_rivals(tmp_path: Path) -> None:
    """A planned cell that never ran is shown with its start, in the block of those that did."""
    store = fill(tmp_path, methods=("lora",), seeds=2, tasks=(make_cell().task,))
    start = Fingerprint(name="mnli", digest="5" * 16)
    cells = [_with(make_cell(name), start) for name in ("lora", "dora")]
    store.write_plan("second", [(Run(c, seed), "default") for c in cells for seed in (0, 1)])
    for seed in (0, 1):
        put(store, make_record(cells[0], seed))
    summary = summarise(load(store))
    started_rows = summary[summary["start"] == "mnli"]
    assert started_rows["method"].tolist() == ["lora", "dora"]
    assert len(set(started_rows["setting"])) == 1
    assert len(set(summary["setting"])) == 2
    table = leaderboard(summary)
    assert tuple(table.columns.drop("start")) == (*COLUMNS, *UNCERTAINTY)
    assert "second | syn_sentiment | tiny-bert | from mnli" in format_table(table)


def _with(cell: Any, start: Fingerprint) -> Any:
    return type(cell).model_validate(cell.model_dump() | {"start": start})
