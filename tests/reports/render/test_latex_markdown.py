"""The leaderboard in LaTeX and Markdown: every name shows as it is, and the best ones are bold."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.bench.config.run import Fingerprint, Run
from gapbench.bench.store.store import Store
from gapbench.reports.render import latex_markdown
from gapbench.reports.results.load import load
from gapbench.reports.tables.leaderboard import leaderboard
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import label, short
from tests.support.results_folder import FEW, fill, make_cell, make_record, make_task, put

EVIL = r"a_b & 50% #1 $x$ {y} ~z ^2 \w | <b> *c* [d] `e` -1"
"""Everything that either format gives a meaning to."""


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Return the leaderboard of two tasks, one of them with a name that means trouble."""
    store = fill(tmp_path, methods=FEW, seeds=4, tasks=(make_task(),))
    cell = make_cell("lora").model_copy(update={"backbone": Fingerprint(name=EVIL, digest="d")})
    for seed in range(3):
        put(store, make_record(cell, seed))
    store.write_plan("suite_%", [(Run(cell, seed), EVIL) for seed in range(3)])
    return leaderboard(summarise(load(Store(tmp_path))))


def typeset(source: str) -> str:
    """Return what LaTeX would show of a piece of text, and refuse what it would not take."""
    commands = {
        "textbackslash": "\\",
        "textasciitilde": "~",
        "textasciicircum": "^",
        "textless": "<",
        "textgreater": ">",
        "textbar": "|",
    }
    token = re.compile(
        r"\\(?P<command>[a-z]+)\{\}|\\(?P<escaped>[&%$#_{}])|(?P<minus>\$-\$)"
        r"|\{(?P<bracket>[\[\]])\}|(?P<plain>[^\\&%$#_{}~^<>|\[\]])"
    )
    shown, at = "", 0
    while at < len(source):
        found = token.match(source, at)
        assert found, f"not legal in text: {source[at:]!r}"
        shown += commands[found["command"]] if found["command"] else ""
        shown += found["escaped"] or found["bracket"] or found["plain"] or ""
        shown += "-" if found["minus"] else ""
        at = found.end()
    return shown


def latex_rows(source: str) -> list[list[str]]:
    """Return the cells of every row of a tabular, as shown; bold ones between asterisks."""
    body = source[source.index(r"\toprule") : source.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line not in {r"\toprule", r"\midrule"}]
    made = []
    for line in lines:
        assert line.endswith(r" \\")
        line = re.sub(r"^\\multicolumn\{12\}\{l\}\{\\emph\{(.*)\}\} \\\\$", r"\1 \\\\", line)
        cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
        bold = [re.fullmatch(r"\\textbf\{(.*)\}", cell) for cell in cells]
        made.append(
            [
                f"*{typeset(strong[1])}*" if strong else typeset(cell.strip())
                for cell, strong in zip(cells, bold, strict=True)
            ]
        )
    return made


def markdown_rows(source: str) -> Iterator[list[str]]:
    """Yield the cells of every row of every table, as they are shown; bold ones likewise."""
    for line in source.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            yield [shown(re.sub(r"^\*\*(.*)\*\*$", r"\*\1\*", cell.strip())) for cell in cells]


def shown(source: str) -> str:
    """Return what Markdown shows of text in which all that has a meaning is escaped."""
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]<>|~#$&]", source)
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source)


def expected(table: pd.DataFrame) -> list[str]:
    """Return the names in the leaderboard's order, the best ones between asterisks."""
    return [
        f"*{name}*" if row.rank_group == 1 else name
        for row in table.itertuples()
        for name in [label(str(row.method), str(row.variant))]
    ]


def difference(row: Any) -> str:
    """Return the cell of the difference to the reference; its interval where there is one."""
    if pd.isna(row.vs_reference):
        return ""
    low, high = row.vs_reference_low, row.vs_reference_high
    interval = "" if pd.isna(low) else f" ({low:.3f} to {high:.3f})"
    return f"{row.vs_reference:.3f}{interval}"


def test_latex_shows_every_row_with_its_name_as_it_is(table: pd.DataFrame) -> None:
    """A part per task, a row per method with all cells, and the best ones bold."""
    heading, *found = latex_rows(latex_markdown.latex(table, []))
    assert heading == list(latex_markdown.HEADINGS)
    titles = [row[0] for row in found if len(row) == 1]
    assert titles == [
        "quickstart, syn_sentiment, tiny-bert, accuracy",
        f"suite_%, syn_sentiment, {EVIL}, accuracy",
    ]
    methods = [row for row in found if len(row) > 1]
    assert {len(row) for row in methods} == {len(latex_markdown.HEADINGS)}
    assert [row[0] for row in methods] == expected(table)
    assert "*" in methods[0][0]


def test_latex_is_one_balanced_tabular_below_comments(table: pd.DataFrame) -> None:
    """Braces and environments close, and the comment names metric, seeds and statistics."""
    notes = ["unreadable: runs/a.json\nis cut off"]
    lines = latex_markdown.latex(table, notes).splitlines()
    comment = [line for line in lines if line.startswith("%")]
    assert lines[: len(comment)] == comment
    code = "\n".join(lines[len(comment) :])
    unescaped = re.sub(r"\\[{}\\]", "", code)
    assert unescaped.count("{") == unescaped.count("}")
    assert code.startswith(r"\begin{tabular}{lrrrrrrrrrrr}")
    assert code.endswith("\\bottomrule\n\\end{tabular}")
    for word in ("booktabs", "95 %", "accuracy: 4 seeds", "runs/a.json is cut off"):
        assert any(word in line for line in comment), word


def test_markdown_shows_every_row_with_its_name_as_it_is(table: pd.DataFrame) -> None:
    """A table per task whose lines all have as many cells, and the best ones bold."""
    source = latex_markdown.markdown(table, ["unreadable: runs/a_b.json"])
    found = list(markdown_rows(source))
    assert {len(row) for row in found} == {len(latex_markdown.HEADINGS)}
    assert [row for row in found if row[0] == "Method"] == [list(latex_markdown.HEADINGS)] * 2
    methods = [row for row in found if row[0] not in {"Method", "---"}]
    assert [row[0] for row in methods] == expected(table)
    assert r"runs/a\_b.json" in source.splitlines()[-1]
    assert "accuracy" in shown(source.splitlines()[0].strip("*"))


def test_both_forms_hold_the_numbers_of_the_leaderboard(table: pd.DataFrame) -> None:
    """Score, interval, gap, calibration and cost are those of the table, empty where it is."""
    latex = [row for row in latex_rows(latex_markdown.latex(table, []))[1:] if len(row) > 1]
    markdown = [
        row for row in markdown_rows(latex_markdown.markdown(table, [])) if row[1].isdigit()
    ]
    assert latex == markdown
    for texts, row in zip(latex, table.itertuples(), strict=True):
        assert texts[1] == str(row.n_seeds)
        assert texts[2] == ("" if pd.isna(row.rank_group) else f"{row.rank_group}")
        assert texts[3].strip("*") == f"{row.score:.3f}"
        assert texts[5] == difference(row)
        assert texts[6] == f"{row.generalization_gap:.3f}"
        assert texts[9:11] == [short(row.train_flops), short(row.trainable_params)]
        ends = "" if pd.isna(row.score_ci_low) else f"{row.score_ci_low:.3f} to "
        assert texts[4].startswith(ends)
        assert bool(texts[4]) == bool(ends)


def test_claim_has_the_digits_that_show_it(table: pd.DataFrame) -> None:
    """An interval that excludes zero is seen to do so, in both forms; others have three digits."""
    ends = {"vs_reference": 0.0104, "vs_reference_low": 0.0003, "vs_reference_high": 0.0205}
    table = table.assign(**ends)
    latex = [row for row in latex_rows(latex_markdown.latex(table, []))[1:] if len(row) > 1]
    markdown = [
        row for row in markdown_rows(latex_markdown.markdown(table, [])) if row[1].isdigit()
    ]
    assert {row[5] for row in (*latex, *markdown)} == {"0.0104 (0.0003 to 0.0205)"}
    plain = latex_markdown.latex(table.assign(vs_reference_low=-0.0003), [])
    assert {row[5] for row in latex_rows(plain)[1:] if len(row) > 1} == {"0.010 (0.000 to 0.021)"}
