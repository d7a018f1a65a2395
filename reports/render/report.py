"""The report: its evidence, gathered from a results folder, and its sections."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import pandas as pd

from gapbench.bench.store.store import Store
from gapbench.bench.tuning.summary import read_summaries
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Document, FigureArtifact, Folded, Part, Section
from gapbench.reports.figures import theme
from gapbench.reports.prose.glossary import glossary
from gapbench.reports.results.load import LoadedResults, load
from gapbench.reports.results.selection import EVERYTHING, Selection
from gapbench.reports.sections import sections
from gapbench.reports.tables.published_comparison import pairs
from gapbench.reports.tables.standing import REFERENCE
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.tuning import Tuned, tuned
from gapbench.reports.tables.words import listed

_NAMED = 8
"""Up to so many tasks are named below the title."""
_SUITES = 2
"""Up to so many suites are named in the title."""


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
    return Evidence(
        results=results,
        summary=summary,
        published=pairs(results, summary),
        studies=studies,
        colours=colours(summary, studies),
        matters=matters,
    )


def colours(summary: pd.DataFrame, studies: Sequence[Tuned]) -> dict[str, str]:
    """Return the colour of each method by its name; those that train nothing are grey."""
    methods = {*summary["method"], *(each.summary.study.method for each in studies)}
    sizes = summary.groupby("method")["trainable_params"].max()
    untrained = set(sizes.index[(sizes == 0).fillna(value=False)])
    return {
        name: theme.UNTRAINED if name in untrained else theme.colour(name)
        for name in sorted(methods)
    }


def document(evidence: Evidence) -> Document:
    """Return the report."""
    taken: set[str] = set()
    return Document(
        title=_title(evidence),
        subtitle=_subtitle(evidence.results),
        sections=tuple(
            _drawn(replace(each, parts=_apart(each.parts, taken))) for each in sections(evidence)
        ),
        glossary=glossary({*evidence.summary.get("metric", ())}),
    )


def _apart(parts: Iterable[Part], taken: set[str]) -> tuple[Part, ...]:
    """Return parts whose figures have names that no other has; methods give theirs as they like.

    Args:
        parts: of a section, or folded in one.
        taken: names of figures before these, to which theirs are added.
    """
    found: list[Part] = []
    for part in parts:
        if isinstance(part, Folded):
            part = replace(part, parts=_apart(part.parts, taken))
        elif isinstance(part, FigureArtifact):
            names = chain([part.name], (f"{part.name}-{number}" for number in count(2)))
            part = replace(part, name=next(name for name in names if name not in taken))
            taken.add(part.name)
        found.append(part)
    return tuple(found)


def _drawn(section: Section) -> Section:
    """Draw the figures of a section; until then each holds some ten megabytes."""
    for part in section.flat:
        if isinstance(part, FigureArtifact):
            theme.svg(part.figure, part.alternative)
    return section


def _title(evidence: Evidence) -> str:
    """Name the suite, the tasks and the backbone."""
    runs = evidence.results.runs
    suites, tasks, backbones = (
        sorted(set(runs[name]) - {""}) for name in ("suite", "task", "backbone")
    )
    what = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"
    on = backbones[0] if len(backbones) == 1 else f"{len(backbones)} backbones"
    if not tasks:
        return "gapbench report"
    first = suites if len(suites) <= _SUITES else [suites[0], f"{len(suites) - 1} other suites"]
    named = "" if suites == tasks else f"{listed(first) or 'Runs'}: "
    return f"{named}{what} on {on}"


def _subtitle(results: LoadedResults) -> str:
    """Say which data there are, how many runs, when they were made, and by which versions."""
    runs = results.runs.drop_duplicates("run_hash")  # rows of several suites may share one
    ended: pd.Series[int] = runs["status"].value_counts()
    counts = [f"{count} {str(status).replace('_', ' ')}" for status, count in ended.items()]
    days = sorted({day[:10] for day in runs["started_at"] if day})
    tasks = list(dict.fromkeys(runs["task"]))
    said = [
        f"Data: {', '.join(tasks[:_NAMED])}{' and others' if len(tasks) > _NAMED else ''}."
        if len(tasks) > 1
        else "",  # the title has it
        f"Runs: {', '.join(counts) or 'none'}.",
        f"Made {days[0]}{f' to {days[-1]}' if len(days) > 1 else ''}." if days else "",
        *(_version(runs, name) for name in ("gapbench", "torch")),
        f"Only {results.part}; comparisons are those of the whole folder." if results.part else "",
        f"Unreadable records: {len(results.unreadable)}." if results.unreadable else "",
    ]
    return " ".join(filter(None, said))


def _version(runs: pd.DataFrame, name: str) -> str:
    found = sorted(set(runs[name]) - {""})
    return f"{name} {', '.join(found)}." if found else ""
