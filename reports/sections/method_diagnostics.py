"""What methods report of themselves: chosen blocks, kept ranks, values, and what they drop."""

from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.document.columns import facets, heading, read, table, title, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import FigureArtifact, Part, Row, Section, Text
from gapbench.reports.figures.block import Block, blocks
from gapbench.reports.figures.dropping import dropped
from gapbench.reports.figures.method_diagnostics import chosen_blocks, kept_ranks, value_profiles
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.tables.diagnostics import findings
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, number
from gapbench.reports.tables.words import listed

_FIELDS = (
    worded("what", "", lambda finding: finding.what),
    worded("over seeds", "", lambda finding: finding.text),
)
_HOW = (
    "Over the finished seeds: a choice with the number of seeds that made it, a number as mean "
    "(smallest to largest)."
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no method reports anything."""
    found = blocks(evidence)
    telling = [block for block in found if _notes(block)]
    parts: list[Part] = []
    if picture := dropped(found):
        parts.append(picture)
    parts += undrawn(len(telling))
    for place, block in enumerate(telling):
        parts += _block(evidence, block, drawn=place < detailed(len(telling)))
    how = [Text(_HOW, quiet=True)] if telling else []
    parts = [*how, *parts] if parts else [Text("No method of these runs does.")]
    return Section("findings", "What methods report of themselves", tuple(parts))


def _notes(block: Block) -> bool:
    notes = block.results.notes
    return any(run in notes for row in block.rows for run in row.ok_runs.values())


def _block(evidence: Evidence, block: Block, *, drawn: bool) -> list[Part]:
    """Return what is said of one task and backbone."""
    lines = [line for row in rows(block.table) for line in _lines(evidence, row)]
    name = f"What methods report of themselves: {title(block.table)}"
    parts: list[Part] = [heading(block.table)]
    kinds = (
        (chosen_blocks, _selections),
        (kept_ranks, _ranks),
        (value_profiles, _values),
    )
    for draw, say in kinds if drawn else ():
        picture = draw(block)
        if picture is not None:
            parts += [Text(say(picture)), picture]
    return [*parts, table(name, "method", _FIELDS, lines)] if lines else parts


def _lines(evidence: Evidence, row: Any) -> list[Row]:
    """Return what one row of a `summarise` table reports."""
    colour = evidence.colours[row.method]
    return [
        Row(finding.name, read(finding, _FIELDS), colour, facets(row))
        for finding in findings(evidence.results, row)
    ]


def _by_row(picture: FigureArtifact) -> list[tuple[str, pd.DataFrame]]:
    groups = picture.data.groupby(["method", "variant", "config_hash"], sort=False)
    return [(label(str(key[0]), str(key[1])), part) for key, part in groups]


def _selections(picture: FigureArtifact) -> str:
    """Say how many blocks each method trains, and which ones every seed agrees on."""
    texts = []
    for name, data in _by_row(picture):
        seeds = data["seed"].nunique()
        counts = data.groupby("block", sort=False)["selected"].sum()
        always = [str(block) for block in counts[counts == seeds].index]
        mean = number(float(data["selected"].sum()) / seeds, 1)
        text = f"{name} trains {mean} of {len(counts)} blocks, mean over {_seeds(seeds)}"
        if seeds > 1:
            text += f"; all seeds train {listed(always)}" if always else "; none in all seeds"
        texts.append(f"{text}.")
    return " ".join(texts)


def _ranks(picture: FigureArtifact) -> str:
    """Say where each method keeps the highest and the lowest rank."""
    texts = []
    for name, data in _by_row(picture):
        ordered = data.sort_values("mean", kind="stable")
        ends = ordered[["mean", "layer"]].iloc[[0, -1]]
        least, most = ends.itertuples(index=False, name=None)
        if least[0] == most[0]:
            texts.append(f"{name} keeps the same mean rank in every layer.")
            continue
        texts.append(
            f"{name} keeps most in {most[1]} (mean rank {number(most[0], 1)}), least in {least[1]} "
            f"({number(least[0], 1)})."
        )
    return " ".join(texts)


def _values(picture: FigureArtifact) -> str:
    """Say how far each method's values have moved apart."""
    texts = []
    for name, data in _by_row(picture):
        ends = data.groupby("layer")["value"].agg(["max", "min"])
        ratios = ends["max"] / ends["min"]
        if not np.isfinite(ratios).all() or (ends["min"] <= 0).any():
            texts.append(f"Some values of {name} are zero or below.")
            continue
        texts.append(
            f"In the median layer of {name} the largest value is {number(ratios.median(), 2)} "
            f"times the smallest, in the steepest {number(ratios.max(), 2)} times."
        )
    return " ".join(texts)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
