"""What methods report of themselves, as they declare it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.document.columns import facets, heading, read, table, title, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Folded, Part, Row, Section, Text
from gapbench.reports.figures.board import Board, boards
from gapbench.reports.figures.method_diagnostics import drawings
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.tables.diagnostics import findings
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, number
from gapbench.reports.tables.words import few

ORDER = 70

_FIELDS = (
    worded("what", "", lambda finding: finding.what),
    worded("over seeds", "", lambda finding: finding.text),
)
_HOW = (
    "Over the finished seeds: a choice with the number of seeds that made it, a number as mean "
    "(smallest to largest)."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where no method reports anything."""
    found = boards(evidence)
    telling = [board for board in found if _diagnosed(board)]
    parts: list[Part] = []
    parts += undrawn(len(telling))
    for place, board in enumerate(telling):
        parts += _board(evidence, board, drawn=place < detailed(len(telling)))
    if not parts:
        return None
    folded = Folded("Chosen layers, kept ranks and other diagnostics", tuple(parts))
    return Section(
        "findings", "What methods report of themselves", (Text(_HOW, quiet=True), folded)
    )


def _diagnosed(board: Board) -> bool:
    known = board.results.diagnostics
    return any(run in known for row in board.rows for run in row.ok_runs.values())


def _board(evidence: Evidence, board: Board, *, drawn: bool) -> list[Part]:
    """Return what is said of one task and backbone."""
    lines = [line for row in rows(board.table) for line in _lines(evidence, row)]
    name = f"What methods report of themselves: {title(board.table)}"
    parts: list[Part] = [heading(board.table)]
    for diagnostic, figure in drawings(board) if drawn else ():
        by_row = figure.data.groupby(["method", "variant", "config_hash"], sort=False)
        named = [(label(str(key[0]), str(key[1])), data) for key, data in by_row]
        said = [_SENTENCES[diagnostic.kind](name, diagnostic.noun, data) for name, data in named]
        parts.append(replace(figure, finding=" ".join(said)))
    return [*parts, table(name, "method", _FIELDS, lines)] if lines else parts


def _lines(evidence: Evidence, row: Any) -> list[Row]:
    """Return what one row of a `summarise` table reports."""
    colour = evidence.colours[row.method]
    return [
        Row(finding.name, read(finding, _FIELDS), colour, facets(row))
        for finding in findings(evidence.results, row)
    ]


def _selection(name: str, noun: str, data: pd.DataFrame) -> str:
    """Say how many entries a method selects, and which ones every seed agrees on."""
    seeds = data["seed"].nunique()
    counts = data.groupby(noun, sort=False)["selected"].sum()
    always = [str(entry) for entry in counts[counts == seeds].index]
    mean = number(float(data["selected"].sum()) / seeds, 1)
    text = f"{name} trains {mean} of {len(counts)} {noun}s, mean over {_seeds(seeds)}"
    if seeds > 1:
        same = f"{noun}{'' if len(always) == 1 else 's'} {few(always)}"
        text += f"; {same} in all seeds" if always else "; none in all seeds"
    return f"{text}."


def _kept(name: str, noun: str, data: pd.DataFrame) -> str:
    """Say in which layers a method keeps the most and the least."""
    ordered = data.sort_values("mean", kind="stable")[["mean", "layer"]]
    least, most = ordered.iloc[[0, -1]].itertuples(index=False, name=None)
    if least[0] == most[0]:
        return f"{name} keeps the same mean {noun} in every layer."
    return (
        f"{name} keeps most in {most[1]} (mean {noun} {number(most[0], 1)}), least in {least[1]} "
        f"({number(least[0], 1)})."
    )


def _profiles(name: str, noun: str, data: pd.DataFrame) -> str:
    """Say how far a method's values have moved apart."""
    ends = data.groupby("layer")["value"].agg(["max", "min"])
    ratios = ends["max"] / ends["min"]
    if not np.isfinite(ratios).all() or (ends["min"] <= 0).any():
        return f"Some {noun}s of {name} are zero or below."
    return (
        f"In the median layer of {name} the largest {noun} is {number(ratios.median(), 2)} times "
        f"the smallest, in the steepest {number(ratios.max(), 2)} times."
    )


_SENTENCES = {"selection": _selection, "kept": _kept, "profiles": _profiles}


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
