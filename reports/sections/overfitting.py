"""How far scores on seen examples lie above those on unseen ones, and how that came about."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.document.columns import heading
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Part, Section, Text
from gapbench.reports.figures.block import Block, blocks
from gapbench.reports.figures.gaps import gaps
from gapbench.reports.figures.heatmaps import GAPS, overview
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.figures.training import curves
from gapbench.reports.sections import selection_bias
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, number
from gapbench.reports.tables.words import interval

_GAP = (
    "The generalization gap is the train score minus the test score (turned round where lower is "
    "better), both in evaluation mode: above zero, the method does better on what it has seen. "
    "Curves use a fixed sample of each split."
)
_UNCLEAR = "gap and test score are not clearly related"
_ENOUGH = 5
"""Below so many methods, a rank correlation says nothing."""


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where no gap is known."""
    found = [block for block in blocks(evidence) if len(_known(block))]
    parts: list[Part] = []
    if picture := overview(GAPS, found):
        parts += [Text(_across(found)), picture]
    for block in found[: detailed(len(found))]:
        pictures = [picture for picture in (gaps(block), curves(block)) if picture is not None]
        said = " ".join(filter(None, (_sentences(block), selection_bias.sentence(block))))
        parts += [heading(block.table), Text(said), *pictures]
    nothing = [] if parts else [Text("No run has scores on both train and test.")]
    return Section(
        "overfitting",
        "Overfitting",
        (Text(_GAP, quiet=True), *undrawn(len(found)), *parts, *nothing),
    )


def _known(block: Block) -> pd.DataFrame:
    """Return the rows with a gap, narrowest first."""
    known = block.table[block.table["generalization_gap"].notna()]
    return known.sort_values("generalization_gap", kind="stable")


def _trained(block: Block) -> pd.DataFrame:
    known = _known(block)
    return known[known["trainable_params"].fillna(1) != 0]


def _across(found: list[Block]) -> str:
    """Say whose gaps are the widest and the narrowest on how many tasks."""
    ends = [list(rows(_trained(block))) for block in found]
    ends = [each for each in ends if len(each) > 1]
    if not ends:
        return "No task has gaps of two trained methods."
    texts = []
    for end, word in ((-1, "widest"), (0, "narrowest")):
        names = Counter(label(each[end].method, each[end].variant) for each in ends)
        name, count = names.most_common(1)[0]
        most = f"{name} has the {word} mean gap on {count} of {len(ends)} tasks"
        texts.append(most if 2 * count > len(ends) else f"none has the {word} mean gap on most")
    return f"Of the methods that train, {' and '.join(texts)}."


def _sentences(block: Block) -> str:
    """Say what the figures of a block show."""
    known = list(rows(_known(block)))
    if len(known) == 1:
        return f"The only gap is that of {_gap(known[0])}."
    text = f"Gaps reach from that of {_gap(known[0])} to that of {_gap(known[-1])}."
    trained = _trained(block).dropna(subset=["score"])
    if len(trained) < _ENOUGH or trained["score"].nunique() < 2:
        return text
    ranks = trained[["generalization_gap", "score"]].rank()
    agreement = ranks["generalization_gap"].corr(ranks["score"]) * (1 if block.upward else -1)
    if pd.isna(agreement):
        return text
    agreement = round(agreement, 9) + 0.0  # what rounding leaves of none is none
    # Without association, the rank correlation has a standard deviation of 1 / sqrt(n - 1).
    clear = abs(agreement) > 1.96 / np.sqrt(len(trained) - 1)
    word = ("better" if agreement < 0 else "worse") if clear else ""
    said = f"narrower gaps go with {word} test scores" if word else _UNCLEAR
    return (
        f"{text} Over the {len(trained)} methods that train, {said} (Spearman's rank correlation "
        f"{number(agreement, 2)})."
    )


def _gap(row: Any) -> str:
    ends = interval(row.gap_ci_low, row.gap_ci_high)
    spread = f", 95 % interval {ends}" if ends else ""
    return f"{label(row.method, row.variant)} ({number(row.generalization_gap)}{spread})"
