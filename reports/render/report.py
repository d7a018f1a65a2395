"""The report: its evidence, gathered from a results folder, and its sections."""

from pathlib import Path

import pandas as pd

from gapbench.bench.store.store import Store
from gapbench.bench.tuning.summary import read_summaries
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Document, FigureArtifact, Section
from gapbench.reports.figures import theme
from gapbench.reports.results.load import Results, load
from gapbench.reports.results.selection import EVERYTHING, Selection
from gapbench.reports.sections import sections
from gapbench.reports.tables.published_comparison import pairs
from gapbench.reports.tables.standing import REFERENCE
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.tuning import tuned


def gather(
    folder: Path,
    selection: Selection = EVERYTHING,
    reference: str = REFERENCE,
    matters: float | None = None,
) -> Evidence:
    """Read a results folder and work out what its report is made from.

    Args:
        folder: the results folder.
        selection: the part of it to report on.
        reference: name of the row that others are compared with first.
        matters: least difference in score that matters; None for a default by metric.

    Raises:
        StoreError: if the folder is empty, or has no such part.
        RecordError: if a plan or a study in it cannot be read.
    """
    results = selection.of(load(Store(folder)))
    summary = summarise(results, reference)
    studies = tuned(results, summary, selection.studies(read_summaries(folder)))
    methods = {*summary["method"], *(each.summary.study.method for each in studies)}
    return Evidence(
        results=results,
        summary=summary,
        published=pairs(results, summary),
        studies=studies,
        colours=theme.colours(sorted(methods)),
        matters=matters,
    )


def document(evidence: Evidence) -> Document:
    """Return the report."""
    return Document(
        title="gapbench report",
        subtitle=_counts(evidence.results),
        sections=tuple(map(_drawn, sections(evidence))),
    )


def _drawn(section: Section) -> Section:
    """Draw the figures of a section; until then each holds some ten megabytes."""
    for part in section.parts:
        if isinstance(part, FigureArtifact):
            theme.svg(part.figure, part.title)
    return section


def _counts(results: Results) -> str:
    """Say how many runs there are, by how they ended."""
    ended: pd.Series[int] = results.runs["status"].value_counts()
    counts = [f"{count} {str(status).replace('_', ' ')}" for status, count in ended.items()]
    text = f"Runs: {', '.join(counts) or 'none'}."
    if results.part:
        text = f"Only {results.part}; comparisons are those of the whole folder. {text}"
    unreadable = len(results.unreadable)
    return f"{text} Unreadable records: {unreadable}." if unreadable else text
