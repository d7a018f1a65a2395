"""From a results folder to report files; what the command line calls.

The page is made by `reports.html`; its drawing libraries take a second to load, so that they are
imported only when a page is built.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import StoreError
from bench.store import Store
from reports.average import averages
from reports.beside import format_pairs, pairs, with_published
from reports.leaderboard import leaderboard, summarise
from reports.load import Results, load
from reports.selection import EVERYTHING, Selection
from reports.text import format_table
from reports.tuning import with_tuning


@dataclass(frozen=True)
class Built:
    """What a report consists of.

    Attributes:
        report: the HTML page.
        leaderboard: CSV, one row per cell; with the columns of `reports.beside` where papers
            print a score of one, and that of `reports.tuning` where anything was tuned.
        runs: CSV, one row per run.
        table: the leaderboard.
    """

    report: Path
    leaderboard: Path
    runs: Path
    table: pd.DataFrame


def build(results: Path, out: Path, selection: Selection = EVERYTHING) -> Built:
    """Write ``report.html``, ``leaderboard.csv`` and ``runs.csv`` about a results folder.

    Args:
        results: the results folder.
        out: folder to write to, created where needed.
        selection: the part of the results folder to report on.

    Raises:
        StoreError: if the results folder is empty or has no such part, or ``out`` cannot be
            written.
        RecordError: if a plan or a study in it cannot be read.
    """
    from reports import html
    from reports.report import document, gather

    evidence = gather(results, selection)
    loaded = evidence.results
    table = with_tuning(_leaderboard(loaded, evidence.summary), evidence.studies)
    table = with_published(table, list(evidence.published))
    built = Built(out / "report.html", out / "leaderboard.csv", out / "runs.csv", table)
    try:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(built.leaderboard, index=False, lineterminator="\n")
        loaded.runs.to_csv(built.runs, index=False, lineterminator="\n")
        html.write(document(evidence), built.report)
    except OSError as error:
        raise StoreError(
            f"report folder {out} cannot be written: {error.strerror}; give another one with --out"
        ) from None
    return built


def _leaderboard(loaded: Results, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the leaderboard, with averages over tasks at its end where a suite has any."""
    table = leaderboard(summary)
    return pd.concat([table, averages(table, loaded.runs)], ignore_index=True)


def terminal(results: Path) -> str:
    """Return the leaderboard of a results folder as text, published figures, unreadable records.

    Raises:
        StoreError: if the results folder is empty.
        RecordError: if a plan in it cannot be read.
    """
    loaded = load(Store(results))
    summary = summarise(loaded.runs)
    text = format_table(_leaderboard(loaded, summary)) + format_pairs(pairs(loaded, summary))
    broken = [f"unreadable: {reason}\n" for reason in loaded.unreadable]
    return text + "".join(broken)
