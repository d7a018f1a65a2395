"""What runs took, machine by machine: times of different machines do not compare."""

from collections.abc import Sequence

import pandas as pd

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Part, Section, Subheading, Text
from gapbench.reports.figures.block import Block, blocks
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.figures.throughput import machines, relative, throughput
from gapbench.reports.tables.terminal import label, short

ORDER = 70

_HOW = (
    "Each machine has figures of its own, as times of different machines do not compare; those "
    "with a GPU come first. Times compare between runs on one idle machine."
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where nothing was measured."""
    found = blocks(evidence)
    parts: list[Part] = []
    for number, machine in enumerate(machines(found)):
        here = [block for block in found if (block.table["machine"] == machine).any()]
        drawn = [throughput(block, machine, number) for block in here[: detailed(len(here))]]
        figures = [figure for figure in (relative(here, machine, number), *drawn) if figure]
        if figures:
            parts += [Subheading(machine), Text(_fastest(here, machine))]
            parts += [*undrawn(len(here)), *figures]
    if not parts:
        parts = [Text("No run has measured costs.")]
    return Section("throughput", "Throughput", (Text(_HOW, quiet=True), *parts))


def _fastest(found: Sequence[Block], machine: str) -> str:
    """Say on which task tokens pass the fastest, and at which method's hands."""
    table = pd.concat([block.table[block.table["machine"] == machine] for block in found])
    known = table[table["tokens_per_second"].notna()].sort_values("tokens_per_second")
    if known.empty:
        return "Tokens per second were not measured."
    slow, fast = (
        f"{label(row['method'], row['variant'])} on {row['task']} with {row['backbone']} "
        f"({short(row['tokens_per_second'])})"
        for _, row in known.iloc[[0, -1]].iterrows()
    )
    if len(known) == 1:
        return f"Training tokens per second: {fast}."
    return f"Most training tokens per second: {fast}; fewest: {slow}."
