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
from gapbench.reports.results.load import CURVE
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, number
from gapbench.reports.tables.words import interval

ORDER = 50

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
    if figure := overview(GAPS, found):
        parts += [Text(_extremes(found)), figure]
    for block in found[: detailed(len(found))]:
        figures = [figure for figure in (gaps(block), curves(block)) if figure is not None]
        said = " ".join(filter(None, (_sentences(block), selection_bias(block))))
        parts += [heading(block.table), Text(said), *figures]
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


def _extremes(found: list[Block]) -> str:
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
        return f"The only gap is from {_gap(known[0])}."
    text = f"Gaps range from {_gap(known[0])} to {_gap(known[-1])}."
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


def selection_bias(block: Block) -> str:
    """Say by how much the test split's choice of checkpoints moves the scores of a block.

    Empty where no run that trained was scored more than once along its training.
    """
    found = {row.config_hash: _amounts(block, row) for row in block.rows if row.ok_runs}
    known = [row for row in block.rows if found.get(row.config_hash)]
    if not known:
        return ""
    means = {label(r.method, r.variant): float(np.mean(found[r.config_hash])) for r in known}
    metric = block.results.cells[known[0].config_hash].cell.task.selection
    most = max(means, key=means.__getitem__)
    average = number(float(np.mean(list(means.values()))))
    whom = f"{number(means[most])} for {most}"
    spread = f"{average} on average and by {whom}" if len(means) > 1 else whom
    if _by_test(block):
        return (
            "The test split chose these checkpoints: on the sample of it that curves are of, their "
            f"{metric} is better than at the last ones by {spread}."
        )
    return (
        "Chosen on the test split instead, as under the protocol paper, checkpoints would flatter: "
        f"on the sample of it that curves are of, {metric} would be better by {spread}."
    )


def _amounts(block: Block, row: Any) -> list[float]:
    """Return for each run how much better its best test score is than that of its checkpoint.

    Where the test split chose the checkpoint, it is compared with the last one. Never negative.
    """
    task = block.results.cells[row.config_hash].cell.task
    sign = 1 if task.selection_metric.higher_is_better else -1
    found = []
    for run in row.ok_runs.values():
        curve = block.results.curves.get(run)
        if curve is None or len(curve) < 2:
            continue
        scores = sign * curve[:, CURVE.index("test_score")]
        steps = curve[:, CURVE.index("step")]
        chosen = steps[-1] if _by_test(block) else block.runs.loc[run, "checkpoint_step"]
        own = scores[steps == chosen]
        if len(own) == 1 and np.isfinite(own[0]):
            found.append(float(np.nanmax(scores) - own[0]))
    return found


def _by_test(block: Block) -> bool:
    return bool((block.table["protocol"] == "paper").all())
