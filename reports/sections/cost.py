"""What quality costs: which methods no other one beats in both."""

from typing import Any

import pandas as pd

from gapbench.reports.document.columns import heading
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Part, Section, Text
from gapbench.reports.figures.block import Block, blocks, untrained
from gapbench.reports.figures.pareto import front, pareto
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.results.load import counted
from gapbench.reports.tables.terminal import label, number, short
from gapbench.reports.tables.words import listed

ORDER = 40

_HOW = (
    "Seconds and memory depend on the machine and on what else ran there, and stand in a panel for "
    "each machine; trainable parameters and training FLOPs do not. A method on the front is beaten "
    "by none in score and cost together, by their means; where intervals overlap, the front could "
    "be another one."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where no scored run has a cost."""
    found = [block for block in blocks(evidence) if _costly(block)]
    parts: list[Part] = [Text(_HOW, quiet=True), *undrawn(len(found))]
    for block in found[: detailed(len(found))]:
        said = (_cheapest(block), _front(block), _drawn(block), _untrained(block))
        text = " ".join(filter(None, said))
        figure = pareto(block)
        parts += [heading(block.table), Text(text), *([figure] if figure else [])]
    return Section("cost", "Quality against cost", tuple(parts)) if found else None


def _costly(block: Block) -> list[Any]:
    return [row for row in block.rows if pd.notna(row.score) and _trained(row)]


def _trained(row: Any) -> bool:
    return bool(pd.notna(row.train_flops) and row.train_flops > 0)


def _name(row: Any) -> str:
    return label(row.method, row.variant)


def _cheapest(block: Block) -> str:
    """Say which of the methods in the group of the best costs least."""
    tied = [row for row in _costly(block) if pd.notna(row.rank_group) and row.rank_group == 1]
    if len(tied) < 2:
        return ""
    tied.sort(key=lambda row: row.train_flops)
    least, most = tied[0], tied[-1]
    if least.train_flops == most.train_flops:
        return ""
    return (
        f"Of the {len(tied)} methods in the best group, {_name(least)} takes the fewest "
        f"training FLOPs ({short(least.train_flops)}), {_name(most)} the most "
        f"({short(most.train_flops)})."
    )


def _front(block: Block) -> str:
    costly = _costly(block)
    if len(costly) < 2:
        return ""
    costs = [row.train_flops for row in costly]
    best = front(costs, [row.score for row in costly], upward=block.upward)
    names = listed([_name(costly[place]) for place in best])
    return f"On the front of {block.metric} against training FLOPs, cheapest first: {names}."


def _drawn(block: Block) -> str:
    """Say how many training examples methods drew, where that is known and differs."""
    drawn: dict[str, list[str]] = {}
    for row in block.rows:
        record = block.results.cells.get(row.config_hash)
        if record is not None and record.cost is not None and record.cost.drawn:
            drawn.setdefault(counted(record.cost.drawn), []).append(_name(row))
    if len(drawn) < 2:
        return ""
    said = "; ".join(f"{parts} ({listed(names)})" for parts, names in drawn.items())
    return (
        f"Training examples drawn, by the part of the training set that a step draws from: {said}. "
        "The last batch of an epoch may be partial, so parts of other sizes draw a few more or "
        "less."
    )


def _untrained(block: Block) -> str:
    rows = [row for row in block.rows if pd.notna(row.score) and untrained(row)]
    if not rows:
        return ""
    scores = listed([f"{_name(row)} ({number(row.score)})" for row in rows])
    return f"Not drawn, as they train nothing: {scores}."
