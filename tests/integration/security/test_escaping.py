"""Names are data wherever they are shown: to spreadsheets, terminals, LaTeX and Markdown.

The page's and the PDF's own tests are in `tests/reports`.
"""

import csv
import platform
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError, printable
from gapbench.bench.store.event_log import EventLog
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import store_at
from gapbench.reports.render.build import build, terminal
from gapbench.reports.render.files import put_table
from tests.support.results_folder import fill, make_cell, make_record, put
from tests.support.small_suite import CELL, blank, call

Capture = pytest.CaptureFixture[str]

FORMULAS = ('=HYPERLINK("http://a")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1")
ESCAPES = "\x1b[2J\x1b]0;title\x07\u202e"


def cells(path: Path) -> list[str]:
    """Return every cell of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [cell for row in csv.reader(file) for cell in row]


def test_no_cell_of_a_report_is_a_formula(tmp_path: Path) -> None:
    """What a spreadsheet would run stands behind an apostrophe, in every table and figure."""
    store = fill(tmp_path / "results", methods=("lora", *FORMULAS))
    for number, formula in enumerate(FORMULAS):
        put(store, make_record(make_cell(f"bad{number}"), status=Status.FAILED, detail=formula))
    built = build(store.root, tmp_path / "out")
    for file in (built.leaderboard, built.runs, *built.figures.glob("*.csv")):
        assert [cell for cell in cells(file) if cell.startswith(FORMULAS)] == []
    for file in (built.leaderboard, built.runs):
        marked = {f"'{formula}".replace("\r", "\n") for formula in FORMULAS}
        assert marked <= set(cells(file))


def test_numbers_keep_their_signs(tmp_path: Path) -> None:
    """A negative number is a number, and text that begins otherwise stays as it is."""
    table = pd.DataFrame({"number": [-1.5, 2.0], "text": ["-0.25", "a=b"], "=1": ["+1e-3", ""]})
    put_table(tmp_path / "a.csv", table)
    assert cells(tmp_path / "a.csv") == [
        *("number", "text", "'=1"),
        *("-1.5", "-0.25", "+1e-3"),
        *("2", "a=b", ""),
    ]


def test_no_escape_sequence_reaches_a_terminal(tmp_path: Path, capsys: Capture) -> None:
    """Tables and causes write out what would move the cursor, clear the screen or turn text."""
    store = fill(tmp_path / "results", methods=("lora", f"x{ESCAPES}"))
    put(store, make_record(make_cell("bad"), status=Status.FAILED, detail=f"y{ESCAPES}"))
    hostile = f"x{ESCAPES}"
    for command in (
        ["leaderboard", store.root],
        ["leaderboard", store.root, "--json"],
        ["leaderboard", store.root, "--markdown"],
        ["leaderboard", store.root, "--latex"],
        ["compare", "lora", hostile, store.root],
        ["status", store.root],
    ):
        answer = call(capsys, *command)
        assert answer.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & {*answer.out, *answer.err}
    assert "x\\x1b[2J" in terminal(store.root)
    assert str(ConfigError(f"a{ESCAPES}\n b")) == "a\\x1b[2J\\x1b]0;title\\x07\\u202e b"
    assert printable("gr\u00fcn, \u7dd1 \u2713") == "gr\u00fcn, \u7dd1 \u2713"


def _interrupt(_: float) -> None:
    """Leave the watch as Ctrl-C does, also where the tests themselves are deaf to that signal."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_no_escape_sequence_of_a_log_or_plan_reaches_a_terminal(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """What others may have written beside the records is text, too."""
    store, hostile = store_at(tmp_path), f"x{ESCAPES}"
    monkeypatch.setattr(
        "gapbench.bench.cli.commands.status.time", SimpleNamespace(sleep=_interrupt)
    )
    runs = [(Run(CELL, seed), hostile) for seed in (0, 1)]
    store.write_plan("small", runs, f"gapbench run {hostile}")
    store.write(blank(runs[0][0], status=Status.FAILED, detail="y"))
    log = EventLog(store.logs / "000001-run.jsonl", platform.node())
    log.tell("start", command=f"gapbench run {hostile}")
    place = {"task": CELL.task.name, "backbone": CELL.backbone.name, "method": CELL.method}
    log.tell("stack_started", worker=hostile, **place, runs=1)
    log.tell("end", exit_code=1, stopped=hostile)
    answer = call(capsys, "status", store.root, *more)
    assert "x\\x1b[2J" in answer.out
    assert "stopped: " in answer.err
    assert "try again: gapbench run 'x\\x1b[2J" in answer.err
    assert not {"\x1b", "\x07", "\u202e"} & {*answer.out, *answer.err}


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_no_markup_of_a_name_works_in_a_paper(tmp_path: Path, form: str) -> None:
    """Neither commands, links and tags nor the end of a cell or of a comment are taken over."""
    hostile = "\\input{/etc/passwd} [a](javascript:x) <script>%\n\\write18{ls} | & $x$ `y`"
    store = fill(tmp_path / "results", methods=("lora", hostile))
    text = terminal(store.root, form=form)  # type: ignore[arg-type]
    for live in ("\\input", "\\write18", "[a](", "<script>"):
        assert live not in text.replace("\\\\", "")
    assert "script" in text
