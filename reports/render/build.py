"""From a results folder to report files; what the command line calls.

The page is made by `reports.render.html`; its drawing libraries take a second to load, so that they
are imported only when a page is built.
"""

import gc
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.summary import read_summaries
from gapbench.reports.prose.card import card
from gapbench.reports.render import card_text, latex_markdown
from gapbench.reports.render.files import put, put_table
from gapbench.reports.results.load import LoadedResults, load
from gapbench.reports.results.selection import EVERYTHING, Selection
from gapbench.reports.tables.csv_columns import curves, with_predictions, with_settings
from gapbench.reports.tables.data_dictionary import described
from gapbench.reports.tables.glue_average import averages
from gapbench.reports.tables.judgements import COLUMNS as JUDGEMENTS
from gapbench.reports.tables.judgements import judged_answers
from gapbench.reports.tables.leaderboard import leaderboard
from gapbench.reports.tables.published_comparison import (
    PublishedPair,
    format_pairs,
    pairs,
    with_published,
)
from gapbench.reports.tables.second_tests import COLUMNS as SECOND_TESTS
from gapbench.reports.tables.second_tests import second_tests
from gapbench.reports.tables.standing import REFERENCE
from gapbench.reports.tables.suite_summary import SuiteSummary, suite_summaries
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.terminal import format_judgements, format_second_tests, format_table
from gapbench.reports.tables.tuning import Tuned, tuned, with_tuning
from gapbench.reports.verdict.build import verdicts
from gapbench.reports.verdict.plain import plain

Form = Literal["text", "markdown", "latex", "json"]


@dataclass(frozen=True)
class Built:
    """What a report consists of.

    Attributes:
        report: the HTML page.
        pdf: the same as a PDF.
        leaderboard: CSV, one row per cell; with the columns of
            `reports.tables.published_comparison` where papers print a score of one, and that of
            `reports.tables.tuning` where anything was tuned.
        runs: CSV, one row per run.
        curves: CSV, scores and losses along training.
        second_tests: CSV, one row per cell and second test; None where nothing has any.
        judgements: CSV, one row per cell, test and question to judges; None where there are none.
        judges: CSV, one row per judge, test and question; None where there are none.
        columns: JSON, what the columns of these mean.
        figures: the folder with every figure as SVG, PNG and CSV.
        table: the leaderboard.
    """

    report: Path
    pdf: Path
    leaderboard: Path
    runs: Path
    curves: Path
    columns: Path
    figures: Path
    table: pd.DataFrame
    second_tests: Path | None = None
    judgements: Path | None = None
    judges: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that was written."""
        return (
            self.report,
            self.pdf,
            self.leaderboard,
            self.runs,
            self.curves,
            *filter(None, (self.second_tests, self.judgements, self.judges)),
            self.columns,
            self.figures,
        )


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for garbage seldom: hardly any of the many objects of a large report ever is."""
    before = gc.get_threshold()
    gc.set_threshold(500_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_collecting_seldom()
def build(
    results: Path,
    out: Path,
    selection: Selection = EVERYTHING,
    reference: str = REFERENCE,
    matters: float | None = None,
) -> Built:
    """Write a report about a results folder: as a page, a PDF, tables and figures.

    Args:
        results: the results folder.
        out: folder to write to, created where needed.
        selection: the part of the results folder to report on.
        reference: name of the row that others are compared with first.
        matters: least difference in score that matters; None for a default by metric.

    Raises:
        StoreError: if the results folder is empty or has no such part, or ``out`` cannot be
            written.
        RecordError: if a plan or a study in it cannot be read.
    """
    from gapbench.reports.render import figure_files, html, pdf
    from gapbench.reports.render.report import document, gather

    evidence = gather(results, selection, reference, matters)
    loaded = evidence.results
    table = _whole(
        loaded,
        evidence.summary,
        evidence.suite_summaries,
        evidence.studies,
        evidence.published,
    )
    built = Built(
        report=out / "report.html",
        pdf=out / "report.pdf",
        leaderboard=out / "leaderboard.csv",
        runs=out / "runs.csv",
        curves=out / "curves.csv",
        columns=out / "columns.json",
        figures=out / "figures",
        table=table,
        second_tests=None if evidence.second_tests.empty else out / "second_tests.csv",
        judgements=None if evidence.judgements.judges.empty else out / "judgements.csv",
        judges=None if evidence.judgements.judges.empty else out / "judges.csv",
    )
    runs = with_settings(with_predictions(loaded.runs, loaded), loaded)
    points = curves(loaded)
    files = {built.leaderboard: table, built.runs: runs, built.curves: points}
    if built.second_tests:
        files[built.second_tests] = evidence.second_tests[list(SECOND_TESTS)]
    if built.judgements and built.judges:
        files[built.judgements] = evidence.judgements.scores[list(JUDGEMENTS)]
        files[built.judges] = evidence.judgements.judges
    meanings = {path.name: described(frame.columns) for path, frame in files.items()}
    content = document(evidence)
    loaded.read.clear()  # what follows takes the most memory, and reads no predictions
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1) as beside:  # a PDF takes most of its time outside of Python
            typeset = beside.submit(pdf.write, content, built.pdf)
            for path, frame in files.items():
                units = meanings[path.name]
                put_table(path, frame, [n for n in units if units[n]["unit"] == "count"])
            put(built.columns, json.dumps(meanings, indent=1) + "\n")
            html.write(content, built.report)
            figure_files.write(content, built.figures)
            typeset.result()
    except OSError as error:
        raise StoreError(
            f"report folder {out} cannot be written: {error.strerror}; give another one with --out"
        ) from None
    return built


def _leaderboard(summary: pd.DataFrame, together: Sequence[SuiteSummary]) -> pd.DataFrame:
    """Return the leaderboard, with averages over tasks at its end where a suite has any."""
    table = leaderboard(summary)
    return pd.concat([table, averages(table, together)], ignore_index=True)


def _whole(
    loaded: LoadedResults,
    summary: pd.DataFrame,
    together: Sequence[SuiteSummary],
    studies: Sequence[Tuned],
    published: Sequence[PublishedPair],
) -> pd.DataFrame:
    """Return the leaderboard with settings, what tuning took and what papers print."""
    table = with_settings(_leaderboard(summary, together), loaded)
    return with_published(with_tuning(table, studies), list(published))


def whole_leaderboard(
    loaded: LoadedResults, summary: pd.DataFrame, selection: Selection
) -> pd.DataFrame:
    """Return the table of ``leaderboard.csv``.

    Args:
        loaded: the selected part of a results folder.
        summary: what `summarise` makes of it.
        selection: what was selected.

    Raises:
        RecordError: if a study in the folder cannot be read.
    """
    studies = tuned(loaded, summary, selection.studies(read_summaries(loaded.store.root)))
    together, published = suite_summaries(loaded, summary), pairs(loaded, summary)
    return _whole(loaded, summary, together, studies, published)


def terminal(
    results: Path,
    selection: Selection = EVERYTHING,
    form: Form = "text",
    reference: str = REFERENCE,
    matters: float | None = None,
) -> str:
    """Return what is printed of a results folder: its leaderboard, and the answer at the end.

    Args:
        results: the results folder.
        selection: the part of it to print.
        form: "text" for people, who also see published figures; "markdown" and "latex" for papers;
            "json" for programs, with the columns of ``leaderboard.csv`` and every verdict.
        reference: name of the row that others are compared with first.
        matters: least difference in score that matters; None for a default by metric.

    Raises:
        StoreError: if the results folder is empty, or has no such part.
        RecordError: if a plan in it cannot be read, or, for JSON, a study.
    """
    loaded = selection.of(load(Store(results)))
    summary = summarise(loaded, reference)
    together = suite_summaries(loaded, summary)
    if form == "json":
        rows = whole_leaderboard(loaded, summary, selection).to_json(orient="records")
        found = verdicts(loaded, summary, matters, together)
        content = {"rows": json.loads(rows), "verdicts": list(map(plain, found))}
        tested = second_tests(loaded, summary)[list(SECOND_TESTS)].to_json(orient="records")
        content["second_tests"] = json.loads(tested)
        judged = judged_answers(loaded, summary)
        for name, each in (("judgements", judged.scores[[*JUDGEMENTS]]), ("judges", judged.judges)):
            content[name] = json.loads(each.to_json(orient="records"))
        return json.dumps(content | {"unreadable": loaded.unreadable}) + "\n"
    table = _leaderboard(summary, together)
    notes = [f"Only {loaded.part}."] if loaded.part else []
    notes += [f"unreadable: {reason}" for reason in loaded.unreadable]
    if form == "text":
        machines = dict(zip(summary["config_hash"], summary["machine"], strict=True))
        parts = [format_table(table, machines) + format_pairs(pairs(loaded, summary))]
        tested = format_second_tests(second_tests(loaded, summary))
        said = format_judgements(judged_answers(loaded, summary).scores)
        parts += filter(None, (tested, said))
        parts += ["".join(f"{note}\n" for note in notes)] if notes else []
        parts += map(card_text.text, map(card, verdicts(loaded, summary, matters, together)))
        return "\n".join(parts)
    return {"markdown": latex_markdown.markdown, "latex": latex_markdown.latex}[form](table, notes)
